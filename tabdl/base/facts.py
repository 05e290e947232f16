"""A fitted network in a few lines, for people: rows, columns, epochs, parameters, device."""

import html
from collections.abc import Iterable
from typing import Any

_KINDS = {
    "number": "numbers",
    "category": "categories",
    "datetime": "dates",
    "empty": "without a value",
}
_REASONS = {
    "patience": "no better score for as many epochs as patience says",
    "max_epochs": "max_epochs reached",
    "time_limit": "time_limit reached",
    "callback": "a callback returned True",
    "interrupted": "interrupted with Ctrl-C",
}
_SHOWN_NAMES = 12


def facts(estimator: Any) -> dict[str, str]:
    """Return what there is to say of a fitted network, by heading.

    Parameters
    ----------
    estimator : fitted TabularEstimator
    """
    encoder = estimator.encoder_
    net = estimator.module_
    kinds = {
        f"Columns: {words}": _listed(
            name
            for name, own in zip(encoder.column_names, encoder.kinds, strict=True)
            if own == kind
        )
        for kind, words in _KINDS.items()
        if kind in encoder.kinds
    }
    members = f", the mean of {estimator.n_members} networks" if estimator.n_members > 1 else ""
    return {
        "Rows": f"{estimator.n_train_rows_:,} to train, {estimator.n_val_rows_:,} for validation",
        **kinds,
        "Epochs": f"{estimator.n_iter_:,}, weights are those of epoch {estimator.best_epoch_:,}",
        "Stopped by": _REASONS[estimator.stop_reason_],
        "Parameters": f"{estimator.n_parameters_:,}{members}",
        "Width": f"{net.width:,}",
        "Multiplications a row": f"{net.n_macs:,}",
        "Device": str(next(net.parameters()).device),
    }


def _listed(names: Iterable[str]) -> str:
    """Return the number of names, and the names where they are few."""
    names = [str(name) for name in names]
    more = f", and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else ""
    return f"{len(names):,} ({', '.join(names[:_SHOWN_NAMES])}{more})"


def facts_html(estimator: Any) -> str:
    """Return :func:`facts` as a table of HTML; names of columns are escaped."""
    cell = "text-align: left; padding: 1px 12px 1px 0; vertical-align: top; font-weight: normal"
    rows = "".join(
        f'<tr><th style="{cell}; opacity: 0.7; white-space: nowrap">{html.escape(heading)}</th>'
        f'<td style="{cell}">{html.escape(text)}</td></tr>'
        for heading, text in facts(estimator).items()
    )
    return (
        '<table class="tabdl-fit" style="font-size: 0.85em; border: none; margin: 4px 0 8px 12px; '
        f'border-collapse: collapse; background: none"><tbody>{rows}</tbody></table>'
    )
