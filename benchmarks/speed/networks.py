"""Network by network: tabdl against the plain loop, in turn, in one process; what counts is the
ratio of the two."""

from dataclasses import replace

from benchmarks.speed.cases import (
    AUTHORS_BATCH,
    PLAIN,
    PRECISIONS,
    Case,
    PlainLoop,
    encoded,
    has_reference,
    timed,
)
from benchmarks.speed.limits import flop_per_row, matrix_limits
from benchmarks.speed.ratios import ratios, rows_per_second, spread

PREDICT_BATCHES = (64, 256, 1024, AUTHORS_BATCH)


def run(options, results):
    """Measure every network with every batch size."""
    for network in options.networks:
        if not has_reference(network):
            print(f"{network:14s} the authors' package is not installed: no comparison")
        for batch_size in options.batch_sizes:
            case = Case(network, n_rows=options.rows, batch_size=batch_size, device=options.device)
            entry = measure(case, options.repeats, options.epochs)
            results.put(f"networks/{network}/{batch_size}", entry)
            show(entry)


def measure(case, repeats, epochs):
    """Return a case's entry: seconds of each repeat, by who and by what, and the limits measured
    beside them."""
    best_batch = _warm_up(case)
    entry = {
        "network": case.network,
        "batch_size": case.batch_size,
        "n_rows": case.n_rows,
        "epochs": epochs,
        "best_batch": best_batch,
        "flop_per_row": flop_per_row(case) if has_reference(case.network) else None,
        "limits": [],
        "seconds": {},
    }
    X, y = case.table()
    for _ in range(repeats):
        entry["limits"].append(matrix_limits(case.device))
        once = {precision: tabdl_seconds(case, X, y, precision, epochs) for precision in PRECISIONS}
        if best_batch:
            once[PLAIN] = plain_seconds(case, X, y, epochs, best_batch)
        for who, seconds in once.items():
            entry["seconds"].setdefault(who, []).append(seconds)
    return entry


def tabdl_seconds(case, X, y, precision, epochs):
    """Return the seconds of the last epoch, of a whole fit of one epoch, and of predicting all
    rows."""
    model = case.estimator(max_epochs=epochs, precision=precision)
    whole, _ = timed(lambda: model.fit(X, y), case.device)
    train = model.history_[-1]["seconds"]
    predict, _ = timed(lambda: model.predict(X), case.device)
    if epochs > 1:
        whole, _ = timed(lambda: model.set_params(max_epochs=1).fit(X, y), case.device)
    return {"train": train, "first_epoch": whole, "predict": predict}


def plain_seconds(case, X, y, epochs, best_batch):
    """Return the same of the plain loop: its table is encoded beforehand, its network and tensors
    are made in the first epoch."""
    arrays = encoded(X, y, case.n_num)
    setup, loop = timed(lambda: PlainLoop(case, arrays), case.device)
    trained = [timed(loop.train, case.device)[0] for _ in range(epochs)]
    predict, _ = timed(loop.predict, case.device)
    best = (
        predict
        if best_batch == AUTHORS_BATCH
        else timed(lambda: loop.predict(best_batch), case.device)[0]
    )
    return {
        "train": trained[-1],
        "first_epoch": setup + trained[0],
        "predict": predict,
        "predict_best": best,
    }


def _warm_up(case):
    """Run everything once, on a CPU with few rows; return the batch in which the plain loop
    predicts fastest, or None."""
    if case.device == "cpu":
        case = replace(case, n_rows=min(case.n_rows, AUTHORS_BATCH))
    X, y = case.table()
    for precision in PRECISIONS:
        tabdl_seconds(case, X, y, precision, 1)
    if not has_reference(case.network):
        return None
    loop = PlainLoop(case, encoded(X, y, case.n_num))
    loop.train()
    loop.predict()
    seconds = {
        size: timed(lambda size=size: loop.predict(size), case.device)[0]
        for size in PREDICT_BATCHES
    }
    return min(seconds, key=seconds.get)


def show(entry):
    """Print rows a second and ratios."""
    for who in PRECISIONS:
        for what in ("train", "first_epoch", "predict"):
            line = f"{entry['network']:14s} batch {entry['batch_size']:5,d} {who:8s} {what:11s} "
            line += (
                f"{rows_per_second(entry, who, what):>11s} rows/s, ratio to the plain "
                f"loop {spread(ratios(entry, who, what))}"
            )
            if what == "predict":
                line += (
                    f", at its best batch {entry['best_batch']} "
                    f"{spread(ratios(entry, who, what, 'predict_best'))}"
                )
            print(line, flush=True)
