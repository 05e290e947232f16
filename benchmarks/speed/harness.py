"""What the harness adds to the time of its fits: ``python -m benchmarks.speed.harness``.

Evaluates the paper's tuned configurations on California Housing in this process and compares the
whole command with the seconds of the fits in it, and of the models' predictions of the three parts.
What is left is the harness: reading and hashing the table, metrics, reports.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks import run


def overhead(model, seeds):
    """Return the seconds of the whole command, of the fits and of the predictions in it."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            "evaluate",
            "--datasets",
            "california_housing",
            "--models",
            model,
            "--config",
            "paper-tuned",
        ]
        start = time.perf_counter()
        if run.main(
            [
                *command,
                "--seeds",
                *map(str, seeds),
                "--time-limit",
                "0",
                "--device",
                "cpu",
                "--out",
                out,
            ]
        ):
            raise SystemExit(1)
        whole = time.perf_counter() - start
        reports = [json.loads(path.read_text()) for path in Path(out).rglob("report.json")]
    seconds = [report["seconds"] for report in reports]
    return (
        whole,
        sum(s["fit"] for s in seconds),
        sum(s["predict"] + s["predict_others"] for s in seconds),
    )


def main(argv=None):
    """Print the share of each model."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.harness", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--models", nargs="+", default=["mlp", "xgboost", "catboost"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args(argv)
    for model in options.models:
        whole, fits, predictions = overhead(model, options.seeds)
        harness = whole - fits - predictions
        shares = f"predictions {predictions / fits:.1%}, the harness {harness / fits:.1%}"
        print(f"{model}: {whole:.2f} s; fits {fits:.2f} s; on top {shares}", flush=True)


if __name__ == "__main__":
    main()
