"""A competition from its files to a submission: ``python -m benchmarks.kaggle train.csv test.csv
--target y --metric auc``.

Trains three boosted trees, TabM, ResNet and FT-Transformer in 8 folds, blends them by greedy
selection on their out-of-fold predictions, and writes ``submission.csv``. Beside it, in a folder of
that name, stand ``oof_MODEL.csv`` and ``test_MODEL.csv`` of each model and of the blend, and
``report.html``: scores, weights, learning curves. A model whose files are there is not trained
again, so that a second start goes on where the first was stopped.
"""

import sys
from collections.abc import Sequence

from benchmarks.errors import HarnessError
from benchmarks.kaggle.competition import read
from benchmarks.kaggle.files import locked
from benchmarks.kaggle.options import check, chosen_models, parse, settings_of
from benchmarks.kaggle.submission import finish
from benchmarks.kaggle.training import train_all


def main(argv: Sequence[str] | None = None) -> None:
    """Go from the files to the submission.

    Raises
    ------
    SystemExit
        With a sentence, where the files or the options cannot be used, or nothing was trained.
    """
    options = parse(argv)
    try:
        _run(options)
    except HarnessError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on with what is done.", file=sys.stderr)
        sys.exit(130)


def _run(options):
    names = chosen_models(options)
    check(options)
    competition = read(options)
    folder = options.out.with_suffix("")
    print(
        f"{len(competition.X):,} rows to train on, {len(competition.X_test):,} to predict, "
        f"{competition.X.shape[1]} columns, id: {competition.id_name or 'none'}",
        flush=True,
    )
    with locked(folder):
        settings = settings_of(options, competition.id_name)
        train_all(names, competition, settings, options, folder)
        score = finish(competition, settings, options, folder)
        print(
            f"blend: out-of-fold score {score:.5f}; {options.out} and the reports in {folder} "
            f"are written."
        )
