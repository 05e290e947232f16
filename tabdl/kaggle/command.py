"""The command: a competition from its files to a submission.

``tabdl-kaggle train.csv test.csv --target y --metric auc`` trains boosted trees and networks in
folds, blends them on their out-of-fold predictions, and writes ``submission.csv``. Beside it, in a
folder of that name, stand the predictions of each model and of the blend, and ``report.html``. Each
trained fold is a file, so that a second start goes on where the first was stopped.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tabdl.kaggle import Competition
from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.files import locked
from tabdl.kaggle.models import DEFAULT_MODELS
from tabdl.kaggle.options import check, parse

_LARGEST_RESERVE = 0.2  # of the time limit, for all that comes after the training


def main(argv: Sequence[str] | None = None) -> None:
    """Go from the files to the submission.

    Raises
    ------
    SystemExit
        With a sentence, where the files or the options cannot be used, or nothing was trained.
    """
    start = time.monotonic() - (_process_age() if argv is None else 0)
    options = parse(argv)
    try:
        check(options)
        with locked(options.out.with_suffix(""), options.wait):
            _run(options, start)
    except CompetitionError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on with what is done.", file=sys.stderr)
        sys.exit(130)


def _process_age() -> float:
    """Return the seconds since this process began, which the imports took; 0 where unknown."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):  # no Linux
        return 0.0
    return max(0.0, up - ticks / os.sysconf("SC_CLK_TCK"))


def _run(options: argparse.Namespace, start: float) -> None:
    competition = Competition.read(
        options.train,
        options.test,
        target=options.target,
        metric=options.metric_file or options.metric,
        folder=options.out.with_suffix(""),
        **{name: getattr(options, name) for name in _OF_READING},
    )
    tables = competition.tables
    print(
        f"{tables.n_rows:,} rows to train on, {len(tables.X_test):,} to predict, "
        f"{tables.X.shape[1]} columns, id: {tables.id_name or 'none'}",
        flush=True,
    )
    competition.n_jobs = options.n_jobs
    _ = competition.shift  # what takes longest in the report is done when the time is planned
    end = start + 60 * options.time_limit
    n_models = len(options.models or DEFAULT_MODELS)
    reserve = min(competition.seconds_to_finish(n_models), _LARGEST_RESERVE * (end - start))
    minutes = max(end - time.monotonic() - reserve, 0.001) / 60
    competition.train(
        options.models, time_limit=minutes, **{name: getattr(options, name) for name in _OF_MODELS}
    )
    print("Blending, and writing the report.", flush=True)
    blend = competition.blend()
    path = competition.submit(options.out)
    _report(competition)
    print(
        f"blend ({blend.kind}): out-of-fold score {blend.score:.5f}; {path} and the reports in "
        f"{competition.folder} are written after {(time.monotonic() - start) / 60:.1f} minutes."
    )


_OF_READING = (
    "id",
    "sample",
    "extra",
    "folds",
    "repeats",
    "groups",
    "time",
    "folds_file",
    "seed",
)
_OF_MODELS = (
    "seeds",
    "variants",
    "model_file",
    "tune",
    "features",
    "refit",
    "device",
    "n_jobs",
)


def _report(competition: Competition) -> None:
    try:
        competition.report()
    except ImportError as error:
        print(f"report.html is not written: {error}", flush=True)
