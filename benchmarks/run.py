"""Deep tabular models and boosted trees side by side: ``python -m benchmarks.run``.

Without arguments: five models with their defaults on California Housing and Adult, at most 10 minutes on two cores. A second
start with the same arguments continues where the first stopped.
"""

import argparse
import difflib
import sys

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import report
from benchmarks.datasets import DATASETS
from benchmarks.models import MODELS
from benchmarks.results import Run, execute, finished
from tabdl.devices import choose_device, is_device


def arguments(argv=None):
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), type=_one_of(DATASETS), metavar="NAME")
    parser.add_argument("--models", nargs="+", default=list(MODELS), type=_one_of(MODELS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", default=[0], type=int, metavar="SEED")
    parser.add_argument(
        "--config", default="default", choices=["default", "tuned"], help="tuned: the paper's tuned configurations"
    )
    parser.add_argument("--device", default="auto", type=_device, help="cpu, cuda, …; auto: a GPU if there is one")
    parser.add_argument(
        "--time-limit", default=120, type=float, metavar="S", help="seconds of training a fit; 0: none (default 120)"
    )
    parser.add_argument("--out", default="runs", metavar="FOLDER", help="where report.json of each run goes (default runs/)")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    return parser.parse_args(argv)


def _one_of(choices):
    def name(text):
        if text in choices:
            return text
        near = difflib.get_close_matches(text, choices, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise argparse.ArgumentTypeError(f"{text!r} is unknown (there are: {', '.join(choices)}){hint}")

    return name


def _device(text):
    if text != "auto" and not is_device(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no device (auto, cpu, cuda, cuda:1, mps)")
    try:
        return str(choose_device(text, "--device"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def plan(options):
    """Return the runs that the command line asks for; those of the tuned configurations only where the paper has one."""
    limit = options.time_limit or None
    runs = [
        Run(dataset, model, options.config, seed, str(options.device), limit)
        for dataset in options.datasets
        for model in options.models
        for seed in options.seeds
    ]
    return [run for run in runs if run.parameters() is not None]


def execute_all(runs, out, console):
    """Return the report of every run, executing those that have none."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    reports = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(runs))
        for run in runs:
            name = f"{run.dataset} {run.model} {run.config} seed {run.seed}"
            progress.update(task, description=name)
            done = finished(run, out)
            result = done or execute(run, out)
            reports.append(result)
            progress.advance(task)
            note = "found" if done else f"{result['fit_time_s']:.1f} s"
            console.print(f"{name}: {result['test_score']:.4f}{' (cut)' if result['was_cut'] else ''}, {note}", highlight=False)
    return reports


def show(reports, console):
    """Print the table."""
    table = Table(*report.HEADINGS[:3])
    for heading in report.HEADINGS[3:]:
        table.add_column(heading, justify="right")
    for row in report.rows(reports):
        table.add_row(*row)
    console.print(table)
    console.print(report.footnote(reports), highlight=False)


def main(argv=None):
    """Run what the command line asks for; return the exit status."""
    options = arguments(argv)
    console = Console()
    if not console.is_terminal:
        console.width = 180  # a file or a pipe has no width of its own
    try:
        reports = execute_all(plan(options), options.out, console)
    except KeyboardInterrupt:
        console.print("interrupted; the same command continues from here")
        return 130
    if options.markdown:
        print(report.markdown(reports))
    else:
        show(reports, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
