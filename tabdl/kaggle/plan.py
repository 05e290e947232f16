"""How the time that is left is divided among the folds that are left."""

import math
import time
from collections.abc import Callable, Sequence

SHORTEST = 1.0
"""Seconds of a fold below which a model that must be cut is not worth training."""
_SLACK = 1.1  # a fold may take that much longer than those before it
_FIRST_OVERHEAD = 0.1  # share of a fold that training does not count, until it is measured


class Plan:
    """The time of a training, and what each model took so far.

    Parameters
    ----------
    seconds : float
        From now on; infinity for no limit.
    now : callable
        ``() -> float``, the clock.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._deadline = now() + seconds
        self._costs: dict[str, list[float]] = {}
        self._is_cut: dict[str, bool] = {}
        self._overheads: dict[str, float] = {}

    def left(self) -> float:
        """Return the seconds that are left."""
        return self._deadline - self._now()

    def record(self, model: str, seconds: float, was_cut: bool, limit: float | None = None) -> None:
        """Note what a fold of a model took.

        Parameters
        ----------
        model : str
        seconds : float
        was_cut : bool
            Whether it would have taken longer.
        limit : float, optional
            The limit that its training had.
        """
        self._costs.setdefault(model, []).append(seconds)
        self._is_cut[model] = self._is_cut.get(model, False) or was_cut
        if was_cut and limit is not None:
            # The first network of a process pays for what is imported then: the latest fold counts.
            self._overheads[model] = max(0.0, seconds - limit)

    def expected(self, model: str) -> float:
        """Return the seconds that a fold of a model takes; infinity where that is not known."""
        if model not in self._costs or self._is_cut[model]:
            return math.inf
        costs = self._costs[model]
        return _SLACK * sum(costs) / len(costs)

    def share(
        self, model: str, todo: Sequence[str], n_lanes: int = 1, promised: float = 0.0
    ) -> float:
        """Return the seconds that the next fold of a model may take.

        Parameters
        ----------
        model : str
        todo : list of str
            The model of each fold that is left, this one included.
        n_lanes : int
            How many of these folds are trained side by side.
        promised : float
            Seconds, of all lanes together, that folds in training may still take.
        """
        left = self.left()
        if math.isinf(left):
            return left
        total = n_lanes * left - promised
        needs = [self.expected(name) for name in todo]
        if sum(needs) <= total:
            return min(left, total - sum(needs) + self.expected(model))
        return min(left, level(needs, total))

    def limit(self, model: str, share: float) -> float:
        """Return the time limit of a training that, with all around it, takes a share."""
        overhead = self._overheads.get(model, _FIRST_OVERHEAD * share)
        return max(share - overhead, 0.3 * share)


def level(needs: Sequence[float], total: float) -> float:
    """Return the largest share with which all needs together stay within a total.

    Each gets what it needs, or the share if that is less.

    Parameters
    ----------
    needs : list of float
        Infinity where a need has no end.
    total : float
    """
    left = max(total, 0.0)
    ordered = sorted(needs)
    for i, need in enumerate(ordered):
        share = left / (len(ordered) - i)
        if need > share:
            return share
        left -= need
    return math.inf
