"""The command line, and what can be said about it before anything is read."""

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path

from tabdl.kaggle.devices import find_devices
from tabdl.kaggle.errors import CompetitionError
from tabdl.kaggle.metrics import METRIC_NAMES
from tabdl.kaggle.models import DEFAULT_MODELS, MODELS

_TITLE = "A competition from its files to a submission."


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="tabdl-kaggle", description=_TITLE)
    _add_files(parser.add_argument)
    _add_folds(parser.add_argument_group("folds").add_argument)
    _add_models(parser.add_argument_group("models").add_argument)
    _add_training(parser.add_argument_group("training").add_argument)
    options = parser.parse_args(argv)
    if (options.metric is None) == (options.metric_file is None):
        parser.error("give either --metric or --metric-file")
    if options.tune >= options.time_limit:
        parser.error("--tune must be less than --time-limit, of which it is a part")
    return options


def _add_files(add):
    add("train", type=_file, help="a CSV or Parquet file with the target")
    add("test", type=_file, help="the rows to predict")
    add("--target", required=True, nargs="+", metavar="COLUMN", help="several for numbers only")
    add("--metric", metavar="NAME", help=f"{', '.join(METRIC_NAMES)}, or a scorer of scikit-learn")
    add("--metric-file", type=_file, metavar="FILE", help="Python, with score(y_true, prediction)")
    add(
        "--id",
        metavar="COLUMN",
        help="the column that names rows (default: the one named id, or with a name that ends so)",
    )
    add(
        "--sample",
        type=_file,
        metavar="FILE",
        help="a sample submission: decides ids, columns, their order and format",
    )
    add("--extra", type=_file, metavar="FILE", help="more training rows, which no fold tests")
    add(
        "--out",
        type=Path,
        default=Path("submission.csv"),
        help="the submission (default submission.csv)",
    )
    add("--wait", action="store_true", help="wait for another command that works in the folder")


def _add_folds(add):
    add("--folds", type=_integer(2), default=8)
    add("--repeats", type=_integer(1), default=1, help="how often all folds are made (default 1)")
    add("--groups", metavar="COLUMN", help="rows of one value stay in one fold")
    add("--time", metavar="COLUMN", help="folds test later rows, of the later half")
    add("--folds-file", type=_file, metavar="FILE", help="a table with a column 'fold'")
    add("--seed", type=_integer(0, 2**32 - 1), default=0)


def _add_models(add):
    add(
        "--models",
        nargs="+",
        metavar="NAME",
        help=f"some of {', '.join(MODELS)}, or of the files (default: {', '.join(DEFAULT_MODELS)} "
        f"and those of the files)",
    )
    add(
        "--model-file", type=_file, metavar="FILE", help="Python, with MODELS, a dict of estimators"
    )
    add(
        "--variants",
        type=_file,
        metavar="FILE",
        help='JSON, such as {"wide": {"model": "tabm", "d_block": 768}}',
    )
    add("--seeds", type=_integer(1), default=1, help="so many of each model, averaged (default 1)")


def _add_training(add):
    add(
        "--time-limit",
        type=_minutes_or_none,
        default=30,
        metavar="MIN",
        help="minutes for the whole command (default 30), or none",
    )
    add(
        "--tune",
        type=_minutes,
        default=0.0,
        metavar="MIN",
        help="minutes of these to search parameters in (default: none)",
    )
    add(
        "--features",
        type=_integer(0),
        default=0,
        metavar="N",
        help="at most N features of two columns, chosen in each fold (default: none)",
    )
    add(
        "--refit",
        action=argparse.BooleanOptionalAction,
        help="train each model on all rows, too, after its folds (default: with --time)",
    )
    add(
        "--device",
        default="auto",
        help="of networks; several, such as cuda:0,cuda:1, train folds side by side",
    )
    add("--n-jobs", type=_integer(1), help="threads (default: as many as there are)")


def _file(text):
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no file")
    return Path(text)


def _minutes_or_none(text):
    return math.inf if text == "none" else _minutes(text)


def _minutes(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of minutes")
    return value


def _integer(low, high=None):
    limits = f"from {low}" if high is None else f"from {low} to {high}"

    def convert(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number {limits}")
        return value

    return convert


def check(options: argparse.Namespace) -> None:
    """Check that the files can be written and the device be used.

    Raises
    ------
    CompetitionError
    """
    find_devices(options.device)
    out, folder = options.out, options.out.with_suffix("")
    if out.suffix != ".csv":
        raise CompetitionError(f"--out {out}: the submission's name must end in .csv.")
    inputs = (
        options.train,
        options.test,
        options.sample,
        options.extra,
        options.folds_file,
        options.metric_file,
        options.model_file,
        options.variants,
    )
    for path in filter(None, inputs):
        is_output = out.exists() and out.samefile(path)
        if is_output or folder.resolve() in path.resolve().parents:
            raise CompetitionError(
                f"--out {out} would write over {path}, which is read: give another name."
            )
    _check_place(out, folder)


def _check_place(out, folder):
    if out.is_dir():
        raise CompetitionError(f"--out {out} is a folder; give the name of a file.")
    if folder.exists() and not folder.is_dir():
        raise CompetitionError(
            f"--out {out}: {folder} is a file, and must be a folder for reports."
        )
    place = folder if folder.exists() else folder.absolute().parent
    while not place.exists():
        place = place.parent
    for needed in {place, out.parent} if out.parent.exists() else {place}:
        if not (needed.is_dir() and os.access(needed, os.W_OK | os.X_OK)):
            raise CompetitionError(f"--out {out}: nothing can be written to {needed}.")
