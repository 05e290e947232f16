"""Estimator against estimator: whole fits of the same network by tabdl and by the packages that are
installed, in turn."""

import statistics
from dataclasses import replace

from benchmarks.speed.cases import PRECISIONS, Case, timed
from benchmarks.speed.opponents import COMMON, OPPONENTS, is_installed
from benchmarks.speed.ratios import ratios_of, spread


def run(options, results):
    """Measure every network that all packages have; a package that is not installed is named and
    left out."""
    for network in filter(COMMON.__contains__, options.networks):
        case = Case(
            network, n_rows=options.rows, batch_size=options.batch_sizes[0], device=options.device
        )
        entry = measure(case, options.repeats, options.fit_epochs)
        results.put(f"others/{network}", entry)
        show(entry)


def measure(case, repeats, epochs):
    """Return a network's entry: the seconds of every estimator's fits and the size of its
    network."""
    entry = {
        "network": case.network,
        "n_rows": case.n_rows,
        "batch_size": case.batch_size,
        "epochs": epochs,
    }
    entry |= {
        "seconds": {},
        "n_parameters": {},
        "not_installed": [name for name in OPPONENTS if not is_installed(name)],
    }
    fits = {f"tabdl {precision}": fit_tabdl(precision) for precision in PRECISIONS}
    fits |= {name: fit for name, fit in OPPONENTS.items() if is_installed(name)}
    few = train_val(replace(case, n_rows=min(case.n_rows, 4 * case.batch_size)))
    for fit in fits.values():  # imports what a package imports late
        fit(case, few, 1)
    all_rows = train_val(case)
    for _ in range(repeats):
        for name, fit in fits.items():
            seconds, n_parameters = fit(case, all_rows, epochs)
            entry["seconds"].setdefault(name, []).append(seconds)
            entry["n_parameters"][name] = n_parameters
    return entry


def train_val(case):
    """Return X, y, X_val and y_val: the case's training rows, and a quarter as many validation
    rows."""
    X, y = replace(case, n_rows=case.n_rows + case.n_rows // 4).table()
    return X.iloc[: case.n_rows], y[: case.n_rows], X.iloc[case.n_rows :], y[case.n_rows :]


def fit_tabdl(precision):
    """Return the function that fits tabdl's estimator as those of :mod:`benchmarks.speed.opponents`
    fit theirs."""

    def fit(case, tables, epochs):
        X, y, X_val, y_val = tables
        model = case.estimator(
            max_epochs=epochs, early_stopping=True, patience=epochs, precision=precision
        )
        seconds, _ = timed(lambda: model.fit(X, y, X_val=X_val, y_val=y_val), case.device)
        return seconds, model.n_parameters_

    return fit


def show(entry):
    """Print seconds an epoch, and how many times as fast tabdl's fit is."""
    for name, seconds in entry["seconds"].items():
        line = f"{entry['network']:14s} {name:13s} {entry['n_parameters'][name]:9,} parameters "
        line += f"{statistics.median(seconds) / entry['epochs']:8.3f} s an epoch"
        if name in OPPONENTS:
            ratios = [
                spread(ratios_of(seconds, entry["seconds"][f"tabdl {precision}"]))
                for precision in PRECISIONS
            ]
            line += f"   tabdl is {ratios[0]} times as fast, in float32 {ratios[1]}"
        print(line, flush=True)
    for name in entry["not_installed"]:
        print(f"{entry['network']:14s} {name}: not installed", flush=True)
