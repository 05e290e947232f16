"""Draw the figures of README and the site: ``python docs/draw.py``."""

import json
import sys
from pathlib import Path

import matplotlib

# The folder of this script has a folder benchmarks too, of pages.
sys.path[0] = str(Path(__file__).parent.parent)
matplotlib.use("Agg")
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

from benchmarks.models.registry import colour_of

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "benchmarks" / "reports" / "kept.jsonl"
STATIC = ROOT / "docs" / "_static"
LABELS = {
    "catboost": "CatBoost",
    "lightgbm": "LightGBM",
    "xgboost": "XGBoost",
    "mlp": "TabMLP",
    "tabm": "TabM",
    "tabm k8": "TabM, k=8",
}
TREES = {"catboost", "lightgbm", "xgboost"}
# The way of a row: each box with what it holds; the arrows between them carry the values below.
BOXES = [
    ("table", "any columns,\nmissing values"),
    ("encoder", "scales numbers,\ncodes categories"),
    ("embedding", "a vector of each\nfeature"),
    ("backbone", "MLP, ResNet,\nattention, …"),
    ("head", "one linear layer"),
    ("task", "classes or values"),
]
NETWORK = "the network: trained; everything else is fitted once"
ARROWS = ["X, y", "x_num (B, Fn)\nx_cat (B, Fc)", "(B, D) or\n(B, T, D)", "(B, K, D)", "(B, K, C)"]


def relative_errors():
    """Return the error of each name beside CatBoost's and the seconds of a fit, by name.

    The error is the geometric mean over the fits.
    """
    runs = pd.DataFrame(map(json.loads, KEPT.read_text().splitlines()))
    errors = runs.pivot_table("error", ["table", "rows", "seed"], "name")
    ratios = errors.div(errors["catboost"], axis=0)
    answer = pd.DataFrame(
        {
            "error": np.exp(np.log(ratios).mean()) - 1,
            "seconds": runs.groupby("name")["cpu_s"].median(),
        }
    )
    return answer.loc[list(LABELS)]


def draw_errors(path):
    """Draw error against seconds."""
    points = relative_errors()
    figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for name, point in points.iterrows():
        ax.plot(
            point["seconds"],
            100 * point["error"],
            "s" if name in TREES else "o",
            markersize=9,
            color=colour_of(name.partition(" ")[0]),
            markerfacecolor="none" if " " in name else None,
        )
        ax.annotate(
            LABELS[name],
            (point["seconds"], 100 * point["error"]),
            xytext=(8, 4),
            textcoords="offset points",
        )
    ax.axhline(0, color="0.6", linewidth=1, zorder=0)
    ax.set(xscale="log", xlim=(0.1, 60), xlabel="seconds of a fit, one thread (median)")
    ax.set_ylabel("error beside CatBoost")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_formatter("{x:+.0f} %")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_box(ax, x, y, width, name, content):
    """Draw one box of the way; x and y are its lower left corner."""
    colour = "#dbe9f6" if name in ("embedding", "backbone", "head") else "#f2f2f2"
    box = FancyBboxPatch(
        (x, y), width, 0.75, boxstyle="round,pad=0.05", facecolor=colour, edgecolor="0.4"
    )
    ax.add_patch(box)
    ax.text(x + width / 2, y + 0.61, name, ha="center", va="center", weight="bold", fontsize=10)
    ax.text(x + width / 2, y + 0.24, content, ha="center", va="center", fontsize=8)


def empty_axes(width, height):
    """Return a figure and axes without ticks, both in inches."""
    figure, ax = plt.subplots(figsize=(width, height))
    figure.subplots_adjust(0, 0, 1, 1)
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return figure, ax


def save_way(figure, path):
    """Write a drawing that is the same each time."""
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_way(path):
    """Draw the way of a row as boxes and arrows, from left to right."""
    figure, ax = empty_axes(8.4, 1.8)
    for number, (name, content) in enumerate(BOXES):
        x = 0.1 + 1.42 * number
        draw_box(ax, x, 0.95, 1.1, name, content)
        if number < len(ARROWS):
            ends = {"xy": (x + 1.4, 1.325), "xytext": (x + 1.12, 1.325)}
            ax.annotate("", **ends, arrowprops={"arrowstyle": "-|>", "color": "0.3"})
            ax.text(x + 1.26, 0.6, ARROWS[number], ha="center", va="center", fontsize=8)
    ax.text(0.1 + 1.42 * 3 + 0.55, 0.12, NETWORK, ha="center", fontsize=8, color="#1f4e79")
    save_way(figure, path)


def draw_way_down(path):
    """Draw the same way from top to bottom, for a narrow screen."""
    figure, ax = empty_axes(3.7, 8.1)
    for number, (name, content) in enumerate(BOXES):
        y = 7.25 - 1.35 * number
        draw_box(ax, 0.1, y, 1.45, name, content)
        if number < len(ARROWS):
            ends = {"xy": (0.825, y - 0.55), "xytext": (0.825, y - 0.06)}
            ax.annotate("", **ends, arrowprops={"arrowstyle": "-|>", "color": "0.3"})
            ax.text(1.0, y - 0.3, ARROWS[number], ha="left", va="center", fontsize=9)
    ax.plot([1.8, 1.9, 1.9, 1.8], [5.3, 5.3, 1.8, 1.8], color="#1f4e79", linewidth=1)
    network = NETWORK.replace("; ", ";\n").replace(" is ", "\nis ")
    ax.text(2.0, 3.55, network, ha="left", va="center", fontsize=9, color="#1f4e79")
    save_way(figure, path)


if __name__ == "__main__":
    plt.rcParams["svg.hashsalt"] = "tabdl"
    plt.rcParams["font.size"] = 9
    draw_errors(STATIC / "error_seconds.png")
    draw_way(STATIC / "way_of_a_row.svg")
    draw_way_down(STATIC / "way_of_a_row_down.svg")
