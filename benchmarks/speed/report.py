"""``speed.md``: one table a part of the results; what was not measured is a dash, or says so."""

import statistics
import tomllib
from pathlib import Path

import pandas as pd

from benchmarks.files import write_text
from benchmarks.models.registry import MODELS
from benchmarks.report.figures import new_axes, save
from benchmarks.report.table import markdown
from benchmarks.speed.cases import NETWORKS, PLAIN, PRECISIONS
from benchmarks.speed.opponents import OPPONENTS
from benchmarks.speed.results import DEVICES, Results

NOT_YET = "not measured yet"
NOTHING = "—"
NOTES = "speed-notes.md"
WHO = {PLAIN: "plain loop"} | {name: f"tabdl, {name}" for name in PRECISIONS}
TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
"""The introduction, and title and text of each part."""


def write_report(out):
    """Write ``speed.md`` and its figures from the results and the hand-written notes in the folder
    ``out``."""
    parts = [TEXTS["introduction"].strip()]
    for kind, name in DEVICES.items():
        results = Results(out, kind)
        parts += [f"## {name}", *(_device(results, out, kind) if results.entries else [NOT_YET])]
    notes = Path(out) / NOTES
    parts += ["## What did not help", notes.read_text().strip() if notes.exists() else NOTHING]
    write_text(Path(out) / "speed.md", "\n\n".join(parts) + "\n")


def _device(results, out, kind):
    runs = pd.DataFrame(results.runs).assign(run=range(1, len(results.runs) + 1))
    runs["command"] = [f"`{command}`" for command in runs["command"]]
    runs["versions"] = [", ".join(f"{k} {v}" for k, v in each.items()) for each in runs["versions"]]
    yield markdown(runs[["run", "date", "machine", "threads", "versions", "command"]])
    for name in LINES:
        yield f"### {TEXTS[name]['title']}"
        entries = sorted(results.part(name), key=lambda e: list(NETWORKS).index(e["network"]))
        if not entries:
            yield NOT_YET
            continue
        numbers = sorted({entry["run"] + 1 for entry in entries})
        yield f"(Run {', '.join(map(str, numbers))}.)"
        yield TEXTS[name]["text"].strip()
        if name == "scaling":
            yield from draw(entries, out, kind)
        table = table_of(name, entries)
        if len(table):
            yield markdown(table)


def table_of(part, entries):
    """Return the table of the entries of a part, a DataFrame."""
    titles = {"n_rows": "rows", "batch_size": "batch"}
    lines = [
        {"network": MODELS[entry["network"]].label}
        | {title: entry[name] for name, title in titles.items() if name in entry}
        | line
        for entry in entries
        for line in LINES[part](entry)
    ]
    return pd.DataFrame(lines).fillna(NOTHING)


def spread(values, form="{:.2f}"):
    """Return the median and, in brackets, the range; a dash for no values."""
    if not values:
        return NOTHING
    numbers = statistics.median(values), min(values), max(values)
    return "{} ({}–{})".format(*map(form.format, numbers))


def ratios(theirs, ours):
    """Return theirs over ours, repeat by repeat."""
    return [their / our for their, our in zip(theirs, ours, strict=True)]


def _networks(entry):
    plain = entry["seconds"].get(PLAIN, [])
    for who, ours in entry["seconds"].items():
        line = {"who": WHO[who]}
        others = plain if who != PLAIN else []
        for what, title in (("train", "training"), ("predict", "prediction")):
            median = statistics.median(once[what] for once in ours)
            line[f"{title} rows/s"] = f"{entry['n_rows'] / median:,.0f}"
            line[f"{title}, ratio"] = _to_plain(others, ours, what, what)
            if what == "train":
                line["first epoch s"] = spread([once["first_epoch"] for once in ours])
                line["first epoch, ratio"] = _to_plain(others, ours, "first_epoch", "first_epoch")
        line["to its best batch"] = _to_plain(others, ours, "predict_best", "predict")
        for name in entry["limits"][0] if entry["flop_per_row"] else ():
            line[f"% of {name}"] = spread([100 * s for s in shares(entry, who, name)], "{:.0f}")
        yield line | {"best batch": entry["best_batch"] if who == PLAIN else NOTHING}


def _to_plain(plain, ours, theirs, own):
    return spread(ratios([once[theirs] for once in plain], [o[own] for o in ours]) if plain else [])


def shares(entry, who, numbers):
    """Return the shares of the limit in ``numbers`` (a dtype's name) that training reached."""
    flop = entry["flop_per_row"] * entry["n_rows"]
    pairs = zip(entry["seconds"][who], entry["limits"], strict=False)
    return [flop / once["train"] / limits[numbers] for once, limits in pairs]


def _others(entry):
    for who in [*entry["seconds"], *entry["not_installed"]]:
        seconds = entry["seconds"].get(who, [])
        line = {"estimator": who}
        line["parameters"] = f"{entry['n_parameters'][who]:,}" if seconds else "not installed"
        line["s an epoch"] = spread([value / entry["epochs"] for value in seconds], "{:.3f}")
        for precision in PRECISIONS if who in OPPONENTS and seconds else ():
            ours = entry["seconds"][f"tabdl {precision}"]
            line[f"tabdl {precision} is faster by"] = spread(ratios(seconds, ours))
        yield line


def _memory(entry):
    yield {"who": WHO.get(entry["who"], entry["who"])} | {
        title: NOTHING if entry[name] is None else megabytes(entry[name])
        for name, title in (("peak", "peak"), ("before", "before"), ("gpu_peak", "peak on the GPU"))
    }


def megabytes(n_bytes):
    """Return bytes as text."""
    return f"{n_bytes / 1e6:,.0f} MB"


def _overhead(entry):
    beside = [fit - loop for fit, loop in zip(entry["fit"], entry["loop"], strict=True)]
    yield {
        "columns": f"{entry['n_columns']} ({megabytes(entry['table_bytes'])})",
        "held out": "a fifth, early stopping" if entry["early_stopping"] else "none",
        "fit s": spread(entry["fit"]),
        "beside the loop s": spread(beside),
        "growth": megabytes(statistics.median(entry["growth"])),
        "growth to the table": spread([value / entry["table_bytes"] for value in entry["growth"]]),
    }


def _scaling(entry):
    """Yield what was left out; the points are in the figure."""
    for gap in entry["missing"]:
        who = WHO.get(gap["who"], gap["who"])
        yield {"axis": entry["axis"], "not measured from": gap["value"], "who": who} | {
            "why": gap["why"]
        }


def _folds(entry):
    yield {"times as quick": spread(entry["ratios"])}


def draw(entries, out, kind):
    """Draw a figure for each axis: training beside prediction, a colour a network, the plain loop
    dashed; yield the links to them."""
    for axis in dict.fromkeys(entry["axis"] for entry in entries if entry["points"]):
        figure, panels = new_axes(1, 2, 9, 4.6)
        for panel, what in zip(panels[0], ("train", "predict"), strict=True):
            for entry in (entry for entry in entries if entry["axis"] == axis):
                _draw_network(panel, entry, what)
            title = {"train": "Training", "predict": "Prediction"}[what]
            panel.set(xscale="log", yscale="log", title=f"{title}, {DEVICES[kind]}")
            panel.set(xlabel=axis.replace("_", " "), ylabel="rows per second")
            panel.grid(alpha=0.3)
        how = {"loc": "outside lower center", "ncols": 3, "frameon": False, "fontsize": 8}
        figure.legend(*panels[0, 0].get_legend_handles_labels(), **how)
        path = Path(out) / f"speed_{kind}_{axis}.png"
        save(figure, path)
        yield f"![rows per second over {axis}]({path.name})"


def _draw_network(panel, entry, what):
    model = MODELS[entry["network"]]
    for who, style in (("tabdl", "o-"), (PLAIN, "o--")):
        points = [point for point in entry["points"] if point["who"] == who]
        label = model.label if who == "tabdl" else f"{model.label}, {WHO[who]}"
        x, y = ([point[name] for point in points] for name in ("value", what))
        panel.plot(x, y, style, color=model.colour, markersize=4, label=label)


LINES = {"networks": _networks, "others": _others, "memory": _memory}
LINES |= {"overhead": _overhead, "scaling": _scaling, "folds": _folds}
"""By the name of a part: the lines of its table by an entry."""
