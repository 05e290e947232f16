"""From the seconds and bytes of an entry to figures: medians, ranges, ratios; a dash for what was
not measured."""

import statistics

from benchmarks.speed.cases import PLAIN

NOTHING = "—"


def spread(values, form="{:.2f}"):
    """Return the median and, in brackets, the range; a dash for no values."""
    if not values:
        return NOTHING
    return (
        f"{form.format(statistics.median(values))} "
        f"({form.format(min(values))}–{form.format(max(values))})"
    )


def ratios_of(theirs, ours):
    """Return theirs over ours, repeat by repeat."""
    return [their / our for their, our in zip(theirs, ours, strict=True)]


def seconds_of(entry, who, what):
    """Return the seconds of a networks entry; none where they were not measured."""
    return [once[what] for once in entry["seconds"].get(who, [])]


def ratios(entry, who, what, plain_what=None):
    """Return how many times as fast as the plain loop ``who`` was, repeat by repeat; none without a
    plain loop."""
    plain = seconds_of(entry, PLAIN, plain_what or what)
    return ratios_of(plain, seconds_of(entry, who, what)) if plain else []


def rows_per_second(entry, who, what):
    """Return the median of rows a second as text."""
    seconds = seconds_of(entry, who, what)
    return f"{entry['n_rows'] / statistics.median(seconds):,.0f}" if seconds else NOTHING


def shares(entry, who, numbers):
    """Return the shares of the limit in ``numbers`` (a dtype's name) that training reached."""
    if entry["flop_per_row"] is None:
        return []
    flop = entry["flop_per_row"] * entry["n_rows"]
    pairs = zip(seconds_of(entry, who, "train"), entry["limits"], strict=False)
    return [flop / seconds / limits[numbers] for seconds, limits in pairs if numbers in limits]


def megabytes(n_bytes):
    """Return bytes as text."""
    return NOTHING if n_bytes is None else f"{n_bytes / 1e6:,.0f} MB"


def overhead_figures(entry):
    """Return the text of an overhead entry: what was held out, seconds, growth of memory and its
    ratio to the table."""
    beside = [fit - loop for fit, loop in zip(entry["fit"], entry["loop"], strict=True)]
    return (
        "a fifth, early stopping" if entry["early_stopping"] else "none",
        spread(entry["fit"]) + " s",
        spread(beside) + " s",
        megabytes(statistics.median(entry["growth"])),
        spread([growth / entry["table_bytes"] for growth in entry["growth"]]),
    )
