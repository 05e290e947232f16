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
    figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
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
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_way(path):
    """Draw the way of a row as boxes and arrows."""
    figure, ax = plt.subplots(figsize=(11, 2.3))
    figure.subplots_adjust(0, 0, 1, 1)
    ax.set(xlim=(0, 12.1), ylim=(0, 2.3))
    ax.axis("off")
    for number, (name, content) in enumerate(BOXES):
        x = 0.1 + 2.06 * number
        colour = "#dbe9f6" if name in ("embedding", "backbone", "head") else "#f2f2f2"
        box = FancyBboxPatch(
            (x, 0.9), 1.45, 1.1, boxstyle="round,pad=0.05", facecolor=colour, edgecolor="0.4"
        )
        ax.add_patch(box)
        ax.text(x + 0.72, 1.75, name, ha="center", va="center", weight="bold", fontsize=11)
        ax.text(x + 0.72, 1.27, content, ha="center", va="center", fontsize=9)
        if number < len(ARROWS):
            ends = {"xy": (x + 2.0, 1.45), "xytext": (x + 1.51, 1.45)}
            ax.annotate("", **ends, arrowprops={"arrowstyle": "-|>", "color": "0.3"})
            ax.text(x + 1.76, 0.5, ARROWS[number], ha="center", va="center", fontsize=8.5)
    network = "the network: trained; everything else is fitted once"
    ax.text(0.1 + 2.06 * 3 + 0.72, 0.15, network, ha="center", fontsize=9, color="#1f4e79")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    plt.rcParams["svg.hashsalt"] = "tabdl"
    draw_errors(STATIC / "error_seconds.png")
    draw_way(STATIC / "way_of_a_row.svg")
