"""Training and prediction speed beside a plain loop and other packages: ``python -m
benchmarks.speed``.

Prints what it measures, keeps it in ``speed-cpu.json`` or ``speed-cuda.json``, and writes
``speed.md`` and its figures from these two files; a part that is measured again replaces its own
results only. Needs torch, scikit-learn, numpy, pandas and narwhals; rtdl_revisiting_models for the
comparison with the plain loop, matplotlib for the figures.
"""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.errors import HarnessError
from benchmarks.files import locked, writable_folder
from benchmarks.speed import california, folds, memory, networks, others, scaling
from benchmarks.speed.cases import NETWORKS, table
from benchmarks.speed.figures import draw
from benchmarks.speed.report import write_report
from benchmarks.speed.results import DEVICES, Results, describe_run
from tabdl.training.devices import choose_device, is_device

__all__ = ["NETWORKS", "main", "table"]

PARTS = {
    "networks": networks.run,
    "others": others.run,
    "memory": memory.run_memory,
    "overhead": memory.run_overhead,
    "scaling": scaling.run,
    "california": california.run,
    "folds": folds.run,
}
REPORT = "report"
DEFAULT_PARTS = {
    "cpu": ["networks", "others", "memory", "overhead", "scaling"],
    "cuda": ["networks", "memory", "overhead", "scaling", "california"],
}


def arguments(argv=None):
    """Return the parsed command line, its defaults chosen by the device."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add(
        "--parts",
        nargs="+",
        choices=[*PARTS, REPORT],
        help="default: all but folds; california on a GPU only, others on a CPU only",
    )
    add("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    add("--device", default="cpu", type=_device, help="cpu, cuda, cuda:1")
    add("--rows", type=int, default=16_000, help="training rows of networks, others and memory")
    add(
        "--batch-sizes",
        type=int,
        nargs="+",
        help="others and scaling take the first (default 256; GPU: 256 4096)",
    )
    add("--repeats", type=int, default=3)
    add(
        "--epochs",
        type=int,
        help="epochs of a fit of networks and scaling; the last is timed (default 1; GPU: 6)",
    )
    add("--fit-epochs", type=int, default=2, help="epochs of a fit of others")
    add("--overhead-rows", type=int, default=500_000)
    add(
        "--axes",
        nargs="+",
        default=list(scaling.AXES),
        choices=list(scaling.AXES),
        help="of scaling",
    )
    add(
        "--point-seconds",
        type=float,
        default=3,
        help="what an epoch of a point of scaling is meant to take",
    )
    add(
        "--budget",
        type=float,
        default=120,
        help="seconds beyond which a point of scaling is left out",
    )
    add(
        "--out",
        default=Path(__file__).parent.parent / "reports",
        type=writable_folder,
        help="folder of results, figures and speed.md",
    )
    add(
        "--reference-path",
        help="a folder with rtdl_revisiting_models.py, where that is not installed",
    )
    add(
        "--california-csv",
        help="the table of california as a CSV file, where pyarrow is not installed",
    )
    options = parser.parse_args(argv)
    kind = torch.device(options.device).type
    options.parts = options.parts or DEFAULT_PARTS[kind]
    options.batch_sizes = options.batch_sizes or ([256, 4096] if kind == "cuda" else [256])
    options.epochs = options.epochs or (6 if kind == "cuda" else 1)
    return options


def _device(text):
    if not is_device(text) or torch.device(text).type not in DEVICES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(DEVICES)}")
    try:
        return str(choose_device(text, "--device"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(argv=None):
    """Measure what the command line asks for, and write the report."""
    argv = sys.argv[1:] if argv is None else argv
    options = arguments(argv)
    if options.reference_path:
        sys.path.insert(0, str(Path(options.reference_path).resolve()))
    try:
        with locked(options.out, wait=False):
            _measure_and_write(options, argv)
    except HarnessError as error:
        sys.exit(f"error: {error}")


def _measure_and_write(options, argv):
    measured = [part for part in options.parts if part != REPORT]
    if measured:
        results = Results(options.out, torch.device(options.device).type)
        run = describe_run(options.device, argv)
        results.begin(run)
        print(
            f"{run['machine']}, {run['threads']} threads, torch {torch.__version__}; median "
            f"(range) of {options.repeats}"
        )
        for part in measured:
            PARTS[part](options, results)
    for kind in DEVICES:
        draw(options.out, kind, Results(options.out, kind).part("scaling"))
    write_report(options.out)


if __name__ == "__main__":
    main()
