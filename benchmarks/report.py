"""The stage report: Markdown and one HTML page, from one table that is saved beside them."""

import base64
import html
import json
from pathlib import Path

from benchmarks import figures
from benchmarks.errors import HarnessError
from benchmarks.files import locked, new_file, write_text
from benchmarks.models.registry import MODELS
from benchmarks.table import (
    complete_scores,
    label,
    later,
    listed,
    published,
    read_sound,
    summary,
    win_rates,
)

HEADINGS = (
    "dataset",
    "model",
    "config",
    "seeds",
    "score",
    "paper: default",
    "paper: tuned",
    "fit s",
    "predict s",
    "parameters",
    "epochs",
)


def lines_of(table, experiments):
    """Return a tuple of strings for each experiment, as under :data:`HEADINGS`."""
    found = summary(table[table["stage"] == "evaluation"]).set_index(["dataset", "name"])
    return [_line(found, experiment) for experiment in experiments]


def _line(found, e):
    dataset, model, name = e.source.name, e.model, label(e.model, e.config, e.variant_name)
    config = ", ".join(filter(None, (e.config, e.variant_name)))
    paper = [_paper(published(dataset, model, kind, "evaluation")) for kind in ("default", "tuned")]
    if (dataset, name) not in found.index:
        return dataset, model, config, "0", "missing", *paper, "–", "–", "–", "–"
    figures = found.loc[(dataset, name)]
    size, length = MODELS[model].units
    return (
        dataset,
        model,
        config,
        str(figures["n"]),
        _spread(figures["mean"], figures["std"]) + (" cut" if figures["hit_time_limit"] else ""),
        *paper,
        f"{figures['fit_s']:.1f}",
        f"{figures['predict_s']:.2f}",
        f"{int(figures['n_parameters']):,}" + ("" if size == "parameters" else f" {size}"),
        f"{int(figures['n_iter'])} {length}",
    )


def _spread(mean, std):
    return f"{mean:.4f}" + (f" ± {std:.4f}" if std == std else "")


def _paper(figure):
    return "–" if figure is None else f"{figure['mean']:.4f} ± {figure['std']:.4f}"


def footnote(table, experiments):
    """Return what a reader of the printed table has to know."""
    lines = [
        "score: accuracy (classes) or minus RMSE (numbers) of the test rows; higher is "
        "better; mean ± deviation of the seeds.",
        "paper: Gorishniy et al. 2021, 15 seeds. Medians of seconds, parameters (trees: "
        "leaves) and epochs.",
    ]
    asked = {(e.source.name, label(e.model, e.config, e.variant_name)) for e in experiments}
    keys = table[["dataset", "name"]].apply(tuple, axis=1) if len(table) else []
    cut = (
        table[[key in asked for key in keys] & table["hit_time_limit"].fillna(False).to_numpy(bool)]
        if len(table)
        else table
    )
    if len(cut):
        limits = ", ".join(f"{limit:g}" for limit in sorted(cut["time_limit"].unique()))
        lines.append(
            f"cut: training was stopped after {limits} s (--time-limit 0 lifts that): not the "
            f"model's best score."
        )
    return "\n".join(lines)


def write(table, out):
    """Write ``report/`` into a results folder: table.parquet, figures, report.md, report.html;
    return the folder."""
    folder = Path(out) / "report"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            with new_file(folder / "table.parquet") as new:
                table.to_parquet(new)
            captions = figures.draw(table, folder)
            blocks = [*_blocks(table, captions), *_searches(out)]
            write_text(folder / "report.md", "\n\n".join(map(_markdown, blocks)) + "\n")
            write_text(folder / "report.html", _page(blocks, folder))
    except OSError as error:
        raise HarnessError(f"{folder} could not be written ({error})") from error
    return folder


def _blocks(table, captions):
    """Return the report as (kind, contents): heading, text, table, figure."""
    yield "heading", "Deep tabular models and boosted trees"
    if table.empty:
        yield "text", "Nothing has been run in this folder yet."
        return
    yield "text", _made_with(table)
    if (table["protocol"] == "paper").any():
        yield "text", PROTOCOL
    yield from _scores(table)
    yield from (
        ("figure", (name, captions[name]))
        for name in ("scores.png", "time.png")
        if name in captions
    )
    yield from _ranking(table, captions)
    yield from _anchors(table)
    if "tuning.png" in captions:
        yield "heading", "Searches"
        yield "figure", ("tuning.png", captions["tuning.png"])


def _made_with(table):
    tabdl, commits, processors = (
        listed(table[name]) or "unknown" for name in ("tabdl", "commit", "processor")
    )
    return (
        f"tabdl {tabdl}, commit {commits}. Processor: {processors}. Scores are of the test rows: "
        "accuracy, or minus RMSE in the target's units; higher is better; mean ± standard "
        "deviation of n fits with different seeds, or of n ensembles of five. Paper: Gorishniy et "
        "al. 2021, 15 seeds and 3 ensembles. Difference: ours minus the paper's mean, in the "
        "paper's standard deviations."
    )


PROTOCOL = (
    "Under the paper's protocol: its splits, transform with noise, patience and score to stop by; "
    "CatBoost evaluated on the CPU; deviations of the population, as in its tables. What differs: "
    "weight decay spares biases, norms and embeddings of MLP and ResNet; newer XGBoost, CatBoost "
    "and Optuna (its univariate TPE, a sampler a trial); LightGBM's space is the paper's, its runs "
    "are ours on all tables; a missing number is the middle of the training values; bfloat16 where "
    "the processor has it."
)


def _scores(table):
    found, trials = summary(table), table[table["stage"] == "trial"]
    names = dict.fromkeys([*found["name"], *trials["name"]])
    indexed = found.set_index(["dataset", "name", "stage"])
    scores = ("score", "paper", "difference in its deviations")
    headings = ("model", "n", *scores, "device", "fit s", "ensembles", *scores)
    for dataset in table["dataset"].unique():
        yield "heading", dataset
        lines = []
        for name in names:
            single = _cells(indexed, (dataset, name, "evaluation"))
            several = _cells(indexed, (dataset, name, "ensemble"))
            lines.append((name, *single, *several[:-2]))
        yield "table", (headings, lines)


def _cells(found, key):
    """Return n, score, paper, difference, device and seconds of one kind of run."""
    if key not in found.index:
        return "0", "missing", "–", "–", "–", "–"
    row = found.loc[key]
    known = row["paper_mean"] == row["paper_mean"]
    paper = _spread(row["paper_mean"], row["paper_std"]) if known else "–"
    difference = f"{row['difference']:+.1f}" if row["difference"] == row["difference"] else "–"
    cut = " cut" if row["hit_time_limit"] else ""
    return (
        str(row["n"]),
        _spread(row["mean"], row["std"]) + cut,
        paper,
        difference,
        row["device"],
        f"{row['fit_s']:.1f}",
    )


def _ranking(table, captions):
    yield "heading", "Ranks and wins"
    scores = complete_scores(table)
    if "ranks.png" in captions:
        yield "figure", ("ranks.png", captions["ranks.png"])
    else:
        needs = f"{figures.MIN_DATASETS} datasets and 3 models that were run on all of them"
        there = f"{len(scores)} and {scores.shape[1]}"
        yield "text", f"No critical-difference figure: it needs {needs}; here are {there}."
    if scores.size:
        ranks = scores.rank(axis="columns", ascending=False).mean().sort_values()
        yield (
            "table",
            (("model", "average rank"), [(name, f"{rank:.2f}") for name, rank in ranks.items()]),
        )
    wins = win_rates(table)
    if len(wins):
        yield (
            "text",
            "How often a fit beats one of CatBoost with the same kind of configuration, mean "
            "over datasets (a tie is half).",
        )
        lines = [(row.name, str(row.datasets), f"{row.rate:.0%}") for row in wins.itertuples()]
        yield "table", (("model", "datasets", "wins"), lines)


def _anchors(table):
    """Our single fits beside later papers' figures: of the same model, and the best of each
    study."""
    headings = ("study", "model", "single", "ensemble of 5")
    headings += ("ours minus it, in our standard deviations",)
    ours = summary(table[table["stage"] == "evaluation"])
    for dataset in table["dataset"].unique():
        anchors = later(dataset).sort_values("single", ascending=False)
        if anchors.empty:
            continue
        best = anchors.groupby("study").head(3)
        is_shown = anchors["model"].isin(ours["model"]) | anchors.index.isin(best.index)
        mine = ours[ours["dataset"] == dataset]
        lines = [
            (
                anchor.study,
                anchor.model,
                _number(anchor.single),
                _number(anchor.ensemble_of_5),
                _differences(mine, anchor),
            )
            for anchor in anchors[is_shown].dropna(subset=["single"]).itertuples()
        ]
        yield "heading", f"{dataset}: later papers"
        yield "table", (headings, lines)


def _number(value):
    return "–" if value != value else f"{value:.4f}"


def _differences(mine, anchor):
    same = mine[(mine["model"] == anchor.model) & (mine["std"] > 0)]
    figures = zip(same["name"], same["mean"], same["std"], strict=True)
    texts = [f"{name} {(mean - anchor.single) / std:+.1f}" for name, mean, std in figures]
    return ", ".join(texts) or "–"


def _searches(out):
    """The best configuration of each search."""
    for path in sorted(Path(out).glob("*/*/tuning/report.json")):
        report = read_sound(path.parent)
        if report is None:
            continue
        best, identity, counted = report["best"], report["identity"], report["trials"]
        states = ", ".join(
            f"{number} {state.lower()}" for state, number in counted.items() if number
        )
        yield (
            "text",
            f"{identity['dataset']}, {path.parent.parent.name}: {states}; best validation score "
            f"{best['val_score']:.4f} in trial {best['number']}; "
            f"{report['seconds']['fit'] / 60:.1f} minutes of fitting.",
        )
        yield "code", json.dumps(report["parameters"])


def as_markdown(headings, lines):
    """Return a table in Markdown."""
    return "\n".join(
        "| " + " | ".join(line) + " |" for line in [headings, ["---"] * len(headings), *lines]
    )


def _markdown(block):
    kind, contents = block
    if kind == "heading":
        return f"## {contents}"
    if kind == "table":
        return as_markdown(*contents)
    if kind == "figure":
        return f"![{contents[1]}]({contents[0]})\n\n{contents[1]}"
    return f"`{contents}`" if kind == "code" else contents


STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0
1em;color:#222} table{border-collapse:collapse;margin:1em
0;font-size:13px;display:block;overflow-x:auto} th,td{padding:.25em
.7em;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}
img{max-width:100%}figure{margin:1.5em 0}figcaption{color:#555;font-size:13px}
code{font-size:12px;overflow-wrap:anywhere}.missing{color:#b00}"""


def _page(blocks, folder):
    body = "\n".join(_html(block, folder) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>tabdl: the comparison</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _html(block, folder):
    kind, contents = block
    if kind == "table":
        headings, lines = contents
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in headings)
        return f"<table><tr>{head}</tr>{''.join(map(_html_line, lines))}</table>"
    if kind == "figure":
        name, caption = contents
        data = base64.b64encode((folder / name).read_bytes()).decode()
        text = html.escape(caption)
        return (
            f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
            f"<figcaption>{text}</figcaption></figure>"
        )
    tag = {"heading": "h2", "text": "p", "code": "code"}[kind]
    return f"<{tag}>{html.escape(contents)}</{tag}>"


def _html_line(cells):
    marked = (
        f'<td class="missing">{cell}</td>' if cell == "missing" else f"<td>{html.escape(cell)}</td>"
        for cell in cells
    )
    return f"<tr>{''.join(marked)}</tr>"
