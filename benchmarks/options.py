"""What is each training option worth? ``python -m benchmarks.options --data FOLDER --tables NAME
…``.

Fits a small network without and with each option on the same rows and seeds, and prints how the
test error (log loss, RMSE) changes: the mean over the tables of the mean over the seeds, in percent
of the error without (negative is better), with the numbers of tables on which the change is larger
than the standard error of the seeds' differences, better / neither / worse, and the ratio of the
seconds. ``--read FILE`` prints the table of runs that are there. Tables are parquet files with the
column ``target``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.files import append_json_line, read_json_lines, writable_file
from benchmarks.models.registry import MODELS
from benchmarks.peers import read, scores

SMALL = {"numeric_embedding": "piecewise", "batch_size": 128}
PARAMETERS = {
    "mlp": SMALL | {"d_block": 256},
    "resnet": SMALL | {"n_blocks": 4, "d_block": 128},
    "tabm": {"k": 8, "d_block": 128},
}
GENERAL = {
    "lr_schedule='cosine', max_epochs=60": {"lr_schedule": "cosine", "max_epochs": 60},
    "lr_schedule='coslog4', max_epochs=60, patience=60": {
        "lr_schedule": "coslog4",
        "max_epochs": 60,
        "patience": 60,
    },
    "warmup_epochs=3": {"warmup_epochs": 3},
    "ema_decay=0.95": {"ema_decay": 0.95},
    "ema_decay=0.99": {"ema_decay": 0.99},
    "optimizer='muon'": {"optimizer": "muon"},
    "optimizer='muon', ema_decay=0.95": {"optimizer": "muon", "ema_decay": 0.95},
    "hidden_mix=True": {"hidden_mix": True},
}
OPTIONS = {
    "mlp": GENERAL | {"clip_norm=1.0": {"clip_norm": 1.0}},
    "resnet": {f"stochastic_depth={rate}": {"stochastic_depth": rate} for rate in (0.1, 0.3)},
    "tabm": {name: value for name, value in GENERAL.items() if "0.99" not in name},
}


def measure(path, network, option, seed, n_rows):
    """Return a record: the test error and the seconds of a fit, and the number of its epochs."""
    is_classification, ((X, y), (X_val, y_val), (X_test, y_test)) = read(path, n_rows, seed)
    changes = {} if option is None else OPTIONS[network][option]
    model = MODELS[network].estimator(not is_classification)(
        random_state=seed, n_jobs=1, **{**PARAMETERS[network], **changes}
    )
    start = time.perf_counter()
    model.fit(X, y, X_val=X_val, y_val=y_val)
    seconds = time.perf_counter() - start
    predictions = model.predict_proba(X_test) if is_classification else model.predict(X_test)
    found = scores(is_classification, predictions, y, y_test)
    run = {"table": path.stem, "network": network, "option": option, "seed": seed, "rows": len(X)}
    return run | {
        "error": found.get("log loss", found.get("rmse")),
        "seconds": seconds,
        "epochs": model.n_iter_,
    }


def summary(records):
    """Return a Markdown table, a line an option."""
    runs = {(r["network"], r["option"], r["table"], r["seed"]): r for r in records}
    lines = [
        "| network | option | tables | change of the error | better / neither / worse | seconds |",
        "|" + " --- |" * 6,
    ]
    for network, option in dict.fromkeys(
        (r["network"], r["option"]) for r in records if r["option"] is not None
    ):
        changes, seconds = {}, []
        for (_, _, table, seed), run in [
            item for item in runs.items() if item[0][:2] == (network, option)
        ]:
            base = runs.get((network, None, table, seed))
            if base is not None:
                changes.setdefault(table, []).append(100 * (run["error"] / base["error"] - 1))
                seconds.append(run["seconds"] / base["seconds"])
        means = np.array([np.mean(values) for values in changes.values()])
        errors = np.array(
            [
                np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0
                for values in changes.values()
            ]
        )
        counts = [(means < -errors).sum(), (np.abs(means) <= errors).sum(), (means > errors).sum()]
        spread = f"{means.mean():+.2f} % ({means.min():+.1f} to {means.max():+.1f})"
        lines.append(
            f"| {network} | {option} | {len(means)} | {spread} | {' / '.join(map(str, counts))} | "
            f"{np.median(seconds):.2f} |"
        )
    return "\n".join(lines)


def main(argv=None):
    """Run what the command line asks for, and print the table of all runs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.options", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", help="a folder of parquet files")
    parser.add_argument("--tables", nargs="+", default=[], metavar="NAME")
    parser.add_argument(
        "--networks", nargs="+", default=["mlp", "resnet"], choices=list(PARAMETERS)
    )
    parser.add_argument(
        "--options",
        nargs="+",
        help="which ones, for example \"optimizer='muon'\" (default: all of a network's)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--rows", type=int, default=2000, help="training rows at most")
    parser.add_argument(
        "--out", type=writable_file, help="a file of JSON lines, one a run, that grows"
    )
    parser.add_argument(
        "--read", nargs="+", default=[], metavar="FILE", help="runs that were made before"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    records = [record for file in options.read for record in read_json_lines(file)]
    for table in options.tables:
        for network in options.networks:
            for seed in options.seeds:
                chosen = [
                    name
                    for name in OPTIONS[network]
                    if options.options is None or name in options.options
                ]
                for option in (None, *chosen):
                    path = Path(options.data) / f"{table}.parquet"
                    records.append(measure(path, network, option, seed, options.rows))
                    if options.out:
                        append_json_line(options.out, records[-1])
    print(summary(records))


if __name__ == "__main__":
    main()
