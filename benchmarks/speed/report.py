"""``speed.md``: one table a part of the results; what was not measured is a dash, or says so."""

import statistics
from pathlib import Path

import pandas as pd

from benchmarks.files import write_text
from benchmarks.models.registry import MODELS
from benchmarks.report.figures import new_axes, save
from benchmarks.report.table import markdown
from benchmarks.speed.cases import NETWORKS, PLAIN, PRECISIONS
from benchmarks.speed.opponents import INCLUDED, OPPONENTS
from benchmarks.speed.results import DEVICES, Results

NOT_YET = "not measured yet"
NOTHING = "—"
NOTES = "speed-notes.md"
WHO = {PLAIN: "plain loop"} | {name: f"tabdl, {name}" for name in PRECISIONS}
INTRODUCTION = """# Speed

Written by `python -m benchmarks.speed` from `speed-cpu.json` and `speed-cuda.json` in this folder.
Ratios of speed are of runs in turn in one process, since a machine's own speed drifts; above 1,
tabdl is faster. A figure is the median of the repeats, with their range in brackets."""


def write_report(out):
    """Write ``speed.md`` and its figures from the results and the hand-written notes in the folder
    ``out``."""
    parts = [INTRODUCTION]
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
    for name, (title, text, _) in PARTS.items():
        yield f"### {title}"
        entries = sorted(results.part(name), key=lambda e: list(NETWORKS).index(e["network"]))
        if not entries:
            yield NOT_YET
            continue
        numbers = sorted({entry["run"] + 1 for entry in entries})
        yield f"(Run {', '.join(map(str, numbers))}.)"
        yield text.strip()
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
        for line in PARTS[part][2](entry)
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


NETWORKS_TEXT = """
20 numbers and 4 categories; the paper's default FT-Transformer, ResNet of 4 blocks of 256, MLP of 4
layers of 384, TabM-mini of 3 layers of 512 with piecewise-linear embeddings. The plain loop is
what one writes by hand around the network of `rtdl_revisiting_models` (TabM: `tabm` and
`rtdl_num_embeddings`): an encoded table as tensors on the device, batches by index, AdamW, float32,
torch's default settings. *Training* is an epoch;
*first epoch* is the whole of `fit(max_epochs=1)`, with reading and encoding the data frame, against
making network, optimizer and tensors and training one epoch. *Prediction* of tabdl includes reading
and encoding the data frame; the plain loop's table is encoded already, and predicted in batches of
4,000 rows or in its best batch.

The last columns are the share of the limit: useful FLOP of the plain network per second (its matrix
products in a training step, counted by torch's FlopCounterMode) over the FLOP per second of one
large matrix product on this machine, measured in the same repeat. Both have the plain network's
count above the line: work that tabdl saves by exact algebra counts as done."""
OTHERS_TEXT = f"""
Whole fits, divided by their epochs, with a quarter as many validation rows, which all evaluate
after each epoch; no early stop. tabdl's fit includes reading and encoding the data frame.
{INCLUDED}"""
MEMORY_TEXT = """
Each in a process of its own, one run each. *Peak* is the largest resident memory of the process in
the fit; *before* has Python, the imported packages and the table in it (packages other than tabdl
and torch are imported in the fit)."""
OVERHEAD_TEXT = """
A small network (one block of 64, batch 4,096, one epoch), each fit in a process of its own. *Beside
the loop* is the whole fit less the epoch's seconds; *growth* is the peak of memory in the fit less
what was in use before it, when the table was there already."""
SCALING_TEXT = """
One epoch and one prediction a point, by the same rules for both, not repeated. FT-Transformer over
features on a CPU trains in batches of 32, all else in 256 or what the axis says; the rows of every
point are in the JSON file."""
FOLDS_TEXT = "Eight folds together against one after the other: how many times as quick."
PARTS = {
    "networks": ("Networks", NETWORKS_TEXT, _networks),
    "others": ("Against other packages' estimators", OTHERS_TEXT, _others),
    "memory": ("Peak memory of a fit of one epoch", MEMORY_TEXT, _memory),
    "overhead": ("What fit costs beside its loop", OVERHEAD_TEXT, _overhead),
    "scaling": ("Scaling", SCALING_TEXT, _scaling),
    "folds": ("Folds trained together", FOLDS_TEXT, _folds),
}
"""By the name of a part: its title, its text, and the lines of its table by an entry."""
