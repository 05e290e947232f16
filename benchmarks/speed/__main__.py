"""Training and prediction speed beside a plain loop and other packages: ``python -m
benchmarks.speed``.

Prints what it measures, keeps it in ``speed-cpu.json`` or ``speed-cuda.json``, and writes
``speed.md`` and its figures from these two files; a part that is measured again replaces its own
results only. Needs rtdl_revisiting_models for the comparison with the plain loop.
"""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.errors import HarnessError
from benchmarks.files import locked, writable_folder
from benchmarks.report.table import markdown
from benchmarks.speed import folds, memory, networks, opponents, scaling
from benchmarks.speed.cases import NETWORKS, PACKAGED, table
from benchmarks.speed.report import table_of, write_report
from benchmarks.speed.results import DEVICES, Results, describe_run
from tabdl.training.devices import choose_device, is_device

__all__ = ["NETWORKS", "main", "table"]

PARTS = {
    "networks": networks.run,
    "others": opponents.run,
    "memory": memory.run_memory,
    "overhead": memory.run_overhead,
    "scaling": scaling.run,
    "folds": folds.run,
}
REPORT = "report"
DEFAULT_PARTS = {
    "cpu": ["networks", "others", "memory", "overhead", "scaling"],
    "cuda": ["networks", "memory", "overhead", "scaling"],
}


def arguments(argv=None):
    """Return the parsed command line, its defaults chosen by the device."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__.splitlines()[0]
    )
    add, axes = parser.add_argument, list(scaling.AXES)
    help = "default: all but folds; others on a CPU only"
    add("--parts", nargs="+", choices=[*PARTS, REPORT], help=help)
    help = f"default: those with a package, {', '.join(PACKAGED)}"
    add("--networks", nargs="+", default=PACKAGED, choices=list(NETWORKS), help=help)
    add("--device", default="cpu", type=_device, help="cpu, cuda, cuda:1")
    add("--rows", type=int, default=16_000, help="training rows of networks, others and memory")
    help = "others and scaling take the first (default 256; GPU: 256 4096)"
    add("--batch-sizes", type=int, nargs="+", help=help)
    add("--repeats", type=int, default=3)
    help = "epochs of a fit of networks and scaling; the last is timed (default 1; GPU: 6)"
    add("--epochs", type=int, help=help)
    add("--fit-epochs", type=int, default=2, help="epochs of a fit of others and folds")
    add("--overhead-rows", type=int, default=500_000)
    add("--axes", nargs="+", default=axes, choices=axes, help="of scaling")
    help = "what an epoch of a point of scaling is meant to take"
    add("--point-seconds", type=float, default=3, help=help)
    help = "seconds beyond which a point of scaling is left out"
    add("--budget", type=float, default=120, help=help)
    reports = Path(__file__).parent.parent / "reports"
    help = "folder of results, figures and speed.md"
    add("--out", default=reports, type=writable_folder, help=help)
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
    try:
        with locked(options.out, wait=False):
            if options.parts != [REPORT]:
                measure(options, argv)
            write_report(options.out)
    except HarnessError as error:
        sys.exit(f"error: {error}")


def measure(options, argv):
    """Measure the parts that are asked for; each entry is kept as soon as it is there."""
    results = Results(options.out, torch.device(options.device).type)
    run = describe_run(options.device, argv)
    results.begin(run)
    print(f"{run['machine']}, {run['threads']} threads; median (range) of {options.repeats}")
    for part in (part for part in options.parts if part != REPORT):
        for key, entry in PARTS[part](options):
            results.put(key, entry)
            print(f"{key}\n{markdown(table_of(part, [entry]))}", flush=True)


if __name__ == "__main__":
    main()
