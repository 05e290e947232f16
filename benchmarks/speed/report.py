"""``speed.md``: the results as tables in Markdown; what was not measured is a dash, or says so."""

import textwrap
from pathlib import Path

from benchmarks.files import write_text
from benchmarks.models.registry import MODELS
from benchmarks.speed.cases import AUTHORS_BATCH, NETWORKS, PLAIN, PRECISIONS
from benchmarks.speed.figures import LABELS, WHO, path_of
from benchmarks.speed.opponents import INCLUDED, OPPONENTS
from benchmarks.speed.ratios import (
    NOTHING,
    megabytes,
    overhead_figures,
    ratios,
    ratios_of,
    rows_per_second,
    seconds_of,
    shares,
    spread,
)
from benchmarks.speed.results import DEVICES, Results

NOT_YET = "not measured yet"
NOTES = "speed-notes.md"
INTRODUCTION = """# Speed

Written by `python -m benchmarks.speed` from `speed-cpu.json` and `speed-cuda.json` in this folder.
Ratios of speed are of runs in turn in one process, since a machine's own speed drifts; above 1,
tabdl is faster. A figure is the median of the repeats, with their range in brackets."""
NETWORKS_TEXT = """The plain loop is what one writes by hand around the network of
`rtdl_revisiting_models` (TabM: `tabm` and `rtdl_num_embeddings`): an encoded table as tensors on
the device, batches by index, AdamW, float32, torch's default settings. *Training* is an epoch;
*first epoch* is the whole of `fit(max_epochs=1)`, with reading and encoding the data frame, against
making network, optimizer and tensors and training one epoch. *Prediction* of tabdl includes reading
and encoding the data frame; the plain loop's table is encoded already."""
LIMIT_TEXT = """The
*share of the limit* is useful FLOP of the plain network per second (its matrix products in a
training step, counted by torch's FlopCounterMode, times rows a second) over the FLOP per second of
one large matrix product on this machine, measured in the same repeat. Both have the plain network's
count above the line: work that tabdl saves by exact algebra counts as done."""


def write_report(out):
    """Write ``speed.md`` from the results, the figures and the hand-written notes in the folder
    ``out``."""
    lines = [INTRODUCTION]
    for kind, name in DEVICES.items():
        results = Results(out, kind)
        lines += [
            "",
            f"## {name}",
            "",
            *(_device(results, out, kind) if results.entries else [NOT_YET]),
        ]
    notes = Path(out) / NOTES
    lines += [
        "",
        "## What did not help",
        "",
        notes.read_text().strip() if notes.exists() else NOTHING,
    ]
    write_text(Path(out) / "speed.md", "\n".join(lines) + "\n")


def _text(text, indent=""):
    """Return a paragraph, its lines filled and, after the first, indented."""
    text = " ".join(text.split())
    return textwrap.fill(
        text, 130, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _bold(text):
    return text if text == NOTHING else f"**{text}**"


def _values(entries, name):
    """Return the numbers of all entries as text; one, unless parts of the table were measured with
    other options."""
    return " or ".join(f"{value:,}" for value in dict.fromkeys(entry[name] for entry in entries))


def _device(results, out, kind):
    parts = {
        "Networks": ("networks", _networks),
        "Against other packages' estimators": ("others", _others),
        "Peak memory of a fit of one epoch": ("memory", _memory),
        "What fit costs beside its loop": ("overhead", _overhead),
        "Scaling": ("scaling", lambda entries: _scaling(entries, out, kind)),
        "The paper's FT-Transformer on California Housing": ("california", _california),
        "Folds trained together": ("folds", _folds),
    }
    lines = [*_runs(results)]
    for title, (name, section) in parts.items():
        entries = sorted(results.part(name), key=_order)
        lines += ["", f"### {title}", ""]
        if entries:
            runs = sorted({entry["run"] + 1 for entry in entries})
            lines += [f"(Run {', '.join(map(str, runs))}.)", "", *section(entries)]
        else:
            lines += [NOT_YET]
    return lines


def _order(entry):
    return list(NETWORKS).index(entry.get("network", "ft_transformer"))


def _runs(results):
    rows = [
        (
            str(number),
            run["date"],
            run["machine"],
            str(run["threads"]),
            ", ".join(f"{name} {version}" for name, version in run["versions"].items()),
            f"`{run['command']}`",
        )
        for number, run in enumerate(results.runs, 1)
    ]
    return _table(("run", "date", "machine", "threads", "versions", "command"), rows)


def _table(headings, rows):
    return ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *rows)]


def _name(network):
    return f"{MODELS[network].label} ({NETWORKS[network].described})"


def _networks(entries):
    size = (
        f"{_values(entries, 'n_rows')} rows, 20 numbers and 4 categories, "
        f"{len(entries[0]['limits'])} repeats."
    )
    lines = [
        _text(f"{size} {NETWORKS_TEXT}"),
        "",
        *_training(entries),
        "",
        *_prediction(entries),
        "",
        _text(LIMIT_TEXT),
        "",
    ]
    return lines + _limit(entries)


def _training(entries):
    headings = ("training", "batch", "precision", "tabdl rows/s", "plain rows/s", "ratio")
    headings += ("first epoch: tabdl s", "plain s", "ratio")
    rows = [
        (
            _name(entry["network"]),
            f"{entry['batch_size']:,}",
            who,
            rows_per_second(entry, who, "train"),
            rows_per_second(entry, PLAIN, "train"),
            _bold(spread(ratios(entry, who, "train"))),
            spread(seconds_of(entry, who, "first_epoch")),
            spread(seconds_of(entry, PLAIN, "first_epoch")),
            spread(ratios(entry, who, "first_epoch")),
        )
        for entry in entries
        for who in PRECISIONS
    ]
    return _table(headings, rows)


def _prediction(entries):
    headings = (
        "prediction",
        "batch of training",
        "precision",
        "tabdl rows/s",
        f"plain rows/s in batches of {AUTHORS_BATCH:,}",
        "ratio",
    )
    headings += ("in its best batch", "ratio")
    rows = []
    for entry in entries:
        for who in PRECISIONS:
            best = rows_per_second(entry, PLAIN, "predict_best")
            rows.append(
                (
                    MODELS[entry["network"]].label,
                    f"{entry['batch_size']:,}",
                    who,
                    rows_per_second(entry, who, "predict"),
                    rows_per_second(entry, PLAIN, "predict"),
                    _bold(spread(ratios(entry, who, "predict"))),
                    best if best == NOTHING else f"{best} ({entry['best_batch']:,})",
                    _bold(spread(ratios(entry, who, "predict", "predict_best"))),
                )
            )
    return _table(headings, rows)


def _limit(entries):
    names = list(entries[0]["limits"][0])
    headings = (
        "share of the limit",
        "batch",
        "MFLOP a row",
        "who",
        *(f"% of {name}" for name in names),
    )
    rows = [
        (
            MODELS[entry["network"]].label,
            f"{entry['batch_size']:,}",
            NOTHING if entry["flop_per_row"] is None else f"{entry['flop_per_row'] / 1e6:.2f}",
            "plain loop" if who == PLAIN else f"tabdl, {who}",
            *(
                spread([100 * share for share in shares(entry, who, name)], "{:.0f}")
                for name in names
            ),
        )
        for entry in entries
        for who in entry["seconds"]
    ]
    limits = {
        name: [once[name] / 1e9 for entry in entries for once in entry["limits"]] for name in names
    }
    measured = "; ".join(f"{name} {spread(values, '{:,.0f}')}" for name, values in limits.items())
    return [f"Limit, GFLOP/s: {measured}.", "", *_table(headings, rows)]


def _others(entries):
    text = f"""Whole fits of {_values(entries, "epochs")} epochs, divided by the epochs; {_values(entries, "n_rows")} training
rows and a quarter as many validation rows, which all evaluate after each epoch; batch {_values(entries, "batch_size")}, no
early stop. tabdl's fit includes reading and encoding the data frame."""
    lines = [
        _text(text),
        "",
        *(_text(f"- {name} {what}.", "  ") for name, what in INCLUDED.items()),
        "",
    ]
    rows = []
    for entry in entries:
        for who in (*(f"tabdl {precision}" for precision in PRECISIONS), *OPPONENTS):
            seconds = entry["seconds"].get(who, [])
            against = (
                [spread(ratios_of(seconds, entry["seconds"][f"tabdl {p}"])) for p in PRECISIONS]
                if seconds
                else [NOTHING] * 2
            )
            rows.append(
                (
                    MODELS[entry["network"]].label,
                    who,
                    f"{entry['n_parameters'][who]:,}" if seconds else "not installed",
                    spread([value / entry["epochs"] for value in seconds], "{:.3f}"),
                    *([NOTHING] * 2 if who not in OPPONENTS else (_bold(against[0]), against[1])),
                )
            )
    return lines + _table(
        (
            "network",
            "estimator",
            "parameters",
            "s an epoch",
            "tabdl auto is faster by",
            "tabdl float32 by",
        ),
        rows,
    )


def _memory(entries):
    text = f"""{_values(entries, "n_rows")} rows; each in a process of its own, one run each. *Peak* is the largest resident
memory of the process in the fit; *before* has Python, the imported packages and the table in it (packages other than tabdl and
torch are imported in the fit)."""
    plain = {
        (entry["network"], entry["batch_size"]): entry["peak"]
        for entry in entries
        if entry["who"] == PLAIN
    }
    rows = []
    for entry in entries:
        to_plain = plain.get((entry["network"], entry["batch_size"]))
        rows.append(
            (
                MODELS[entry["network"]].label,
                f"{entry['batch_size']:,}",
                f"tabdl, {entry['who']}"
                if entry["who"] in PRECISIONS
                else WHO.get(entry["who"], entry["who"]),
                megabytes(entry["peak"]),
                megabytes(entry["before"]),
                f"{entry['peak'] / to_plain:.2f}" if to_plain else NOTHING,
                megabytes(entry["gpu_peak"]),
            )
        )
    headings = (
        "network",
        "batch",
        "who",
        "peak",
        "before",
        "peak to the plain loop's",
        "peak on the GPU",
    )
    return [_text(text), "", *_table(headings, rows)]


def _overhead(entries):
    size = (
        f"{_values(entries, 'n_rows')} rows × {entries[0]['n_columns']} float32 columns "
        f"({megabytes(entries[0]['table_bytes'])})"
    )
    text = f"""{size}, a small network (one block of 64, batch 4,096, one epoch), each fit in a process of its own. *Beside the
loop* is the whole fit less the epoch's seconds; *growth* is the peak of memory in the fit less what was in use before it, when
the table was there already."""
    rows = [(MODELS[entry["network"]].label, *overhead_figures(entry)) for entry in entries]
    return [
        _text(text),
        "",
        *_table(
            ("network", "held out", "fit", "beside the loop", "growth", "growth to the table"), rows
        ),
    ]


def _scaling(entries, out, kind):
    text = """One epoch and one prediction a point, by the same rules for both, not repeated.
    FT-Transformer over features on a
CPU trains in batches of 32, all else in 256 or what the axis says; the rows of every point are in
the JSON file."""
    lines = [_text(text)]
    measured = {entry["axis"] for entry in entries}
    for axis in (axis for axis in LABELS if axis in measured):
        path = path_of(out, kind, axis)
        lines += [
            "",
            f"![rows per second over {axis}]({path.name})"
            if path.exists()
            else f"{axis}: no figure",
        ]
        missing = [
            f"{MODELS[entry['network']].label}, {WHO[gap['who']]}, from {gap['value']:,} on ({gap['why']})"
            for entry in entries
            if entry["axis"] == axis
            for gap in entry["missing"]
        ]
        if missing:
            lines += ["", _text(f"Not measured over {axis}: {'; '.join(missing)}.")]
    return lines


def _california(entries):
    paper = "The paper: RMSE 0.4688 ± 0.0038 (15 seeds); 107 s on a V100."
    rows = [
        (
            entry["precision"],
            str(len(entry["seconds"])),
            spread(entry["seconds"], "{:.1f}"),
            spread(entry["rmse"], "{:.4f}"),
            spread(entry["epochs"], "{:.0f}"),
        )
        for entry in entries
    ]
    return [
        f"Defaults, to the early stop. {paper}",
        "",
        *_table(("precision", "seeds", "fit s", "RMSE", "epochs"), rows),
    ]


def _folds(entries):
    rows = [
        (MODELS[entry["network"]].label, f"{entry['batch_size']}", spread(entry["ratios"]))
        for entry in entries
    ]
    text = "Eight folds together against one after the other: how many times as quick."
    return [text, "", *_table(("network", "batch", "ratio"), rows)]
