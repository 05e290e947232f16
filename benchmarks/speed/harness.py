"""What the harness adds to the time of its fits: ``python -m benchmarks.speed.harness``.

Evaluates the paper's tuned configurations on California Housing in this process and compares the whole command (reading and
hashing the table, predictions of three parts, metrics, reports) with the seconds of the fits in it.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks import run


def overhead(model, seeds):
    """Return the seconds of the whole command and of the fits in it."""
    with tempfile.TemporaryDirectory() as out:
        command = ["evaluate", "--datasets", "california_housing", "--models", model, "--config", "paper-tuned"]
        start = time.perf_counter()
        if run.main([*command, "--seeds", *map(str, seeds), "--time-limit", "0", "--device", "cpu", "--out", out]):
            raise SystemExit(1)
        whole = time.perf_counter() - start
        reports = [json.loads(path.read_text()) for path in Path(out).rglob("report.json")]
    return whole, sum(report["seconds"]["fit"] for report in reports)


def main(argv=None):
    """Print the share of each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.harness", description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["mlp", "xgboost", "catboost"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args(argv)
    for model in options.models:
        whole, fits = overhead(model, options.seeds)
        print(f"{model}: {whole:.2f} s, of which fits {fits:.2f} s: {whole / fits - 1:.1%} on top", flush=True)


if __name__ == "__main__":
    main()
