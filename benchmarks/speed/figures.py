"""The curves of ``benchmarks.speed.scaling`` as figures, one an axis: training beside prediction, a
colour a network."""

import importlib.util
from pathlib import Path

from benchmarks.files import new_file
from benchmarks.models.registry import MODELS
from benchmarks.speed.cases import PLAIN
from benchmarks.speed.results import DEVICES

LABELS = {
    "rows": "rows of the table",
    "features": "features (4 of them categories)",
    "cardinality": "categories of one column (beside 20 numbers)",
    "batch_size": "rows a training step",
}
STYLES = {
    "tabdl": {"linestyle": "-", "marker": "o"},
    PLAIN: {"linestyle": "--", "marker": "o", "markerfacecolor": "white"},
}
WHO = {"tabdl": "tabdl", PLAIN: "plain loop"}


def path_of(out, kind, axis):
    """Return where the figure of an axis is."""
    return Path(out) / f"speed_{kind}_{axis}.png"


def draw(out, kind, entries):
    """Draw a figure for each axis that has points; without matplotlib, say so."""
    drawn = [entry for entry in entries if entry["points"]]
    if drawn and importlib.util.find_spec("matplotlib") is None:
        print("matplotlib is not installed: no figures")
        return
    for axis in dict.fromkeys(entry["axis"] for entry in drawn):
        _draw_axis(
            path_of(out, kind, axis),
            kind,
            axis,
            [entry for entry in drawn if entry["axis"] == axis],
        )


def _draw_axis(path, kind, axis, entries):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for panel, what, title in zip(
        panels, ("train", "predict"), ("Training", "Prediction"), strict=True
    ):
        for entry in entries:
            _draw_network(panel, entry, what)
        panel.set(
            xscale="log",
            yscale="log",
            title=f"{title}, {DEVICES[kind]}",
            xlabel=LABELS[axis],
            ylabel="rows per second",
        )
        _plain_ticks(
            panel, sorted({point["value"] for entry in entries for point in entry["points"]})
        )
        panel.grid(True, which="major", alpha=0.3)
    handles, labels = _legend(entries)
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    with new_file(path) as new:
        figure.savefig(new, dpi=150, format="png")


def _draw_network(panel, entry, what):
    for who, style in STYLES.items():
        points = [(point["value"], point[what]) for point in entry["points"] if point["who"] == who]
        if points:
            colour = MODELS[entry["network"]].colour
            panel.plot(*zip(*points, strict=True), color=colour, markersize=5, **style)


def _legend(entries):
    """Return a handle and a label for each network, and for each of the two lines."""
    from matplotlib.lines import Line2D

    networks = dict.fromkeys(entry["network"] for entry in entries)
    whos = [
        who
        for who in STYLES
        if any(point["who"] == who for entry in entries for point in entry["points"])
    ]
    handles = [Line2D([], [], color=MODELS[network].colour, linewidth=4) for network in networks]
    handles += [Line2D([], [], color="black", **STYLES[who]) for who in whos]
    return handles, [MODELS[network].label for network in networks] + [WHO[who] for who in whos]


def _plain_ticks(panel, values):
    """Write the numbers of the horizontal axis out, and those of the vertical axis with commas."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    panel.set_xticks(
        values, [f"{value:,}" for value in values], rotation=30 if len(values) > 6 else 0
    )
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
