"""Pictures in the manner of scikit-learn: ``Display.from_estimator(...)``, ``plot(ax=...)``."""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tabdl.inspection.importances import Importances, importances
from tabdl.inspection.plots import BLUE, GREEN, GREY, ORANGE, new_axes, shortened


class HistoryDisplay:
    """The losses, the validation score and the learning rate by epoch.

    With several members or folds a line is their mean, and the band goes from the least to the
    largest. An epoch has the mean over those that still trained.

    Parameters
    ----------
    histories : list of list of dict
        The records of each network, as in ``history_``.
    best_epochs : list of int
        The epoch that each network has kept.

    Attributes
    ----------
    ax_ : list of Axes
        Of the losses, the score and the rate; without validation rows there is no score.
    figure_ : Figure
    """

    def __init__(self, histories: list[list[dict[str, Any]]], best_epochs: list[int]) -> None:
        self.histories = histories
        self.best_epochs = best_epochs

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator of tabdl
            One with a network, or a cross-validated ensemble of such.
        ax : sequence of Axes, optional
            As many as ``ax_`` has. None: a new figure.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError
            For an estimator without a history of epochs.
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> import matplotlib; matplotlib.use("agg")
        >>> from sklearn.datasets import load_iris
        >>> from tabdl import TabMLPClassifier
        >>> from tabdl.inspection import HistoryDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> model = TabMLPClassifier(d_block=32, max_epochs=5, random_state=0).fit(X, y)
        >>> len(HistoryDisplay.from_estimator(model).ax_)
        3
        """
        check_is_fitted(estimator)
        parts = getattr(estimator, "estimators_", [estimator])
        if not all(hasattr(part, "member_results_") for part in parts):
            raise TypeError(
                f"HistoryDisplay: {type(estimator).__name__} has no history of epochs; give a "
                "network of tabdl, or a cross-validated ensemble of networks."
            )
        results = [result for part in parts for result in part.member_results_]
        display = cls([r.history for r in results], [r.best_epoch for r in results])
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : sequence of Axes, optional
            As many as ``ax_`` has. None: a new figure.

        Returns
        -------
        self
        """
        has_score = any(record["val_score"] is not None for record in self.histories[0])
        panels = ["loss", *(["val_score"] if has_score else []), "lr"]
        axes = new_axes(ax, "HistoryDisplay", (len(panels), 1), (6, 2.2 * len(panels)))
        for panel, axis in zip(panels, axes, strict=True):
            if panel == "loss":
                self._draw(axis, "train_loss", "training", GREY)
                self._draw(axis, "val_loss", "validation", BLUE)
            else:
                self._draw(axis, panel, None, BLUE if panel == "val_score" else GREEN)
            if panel != "lr":
                self._mark_best(axis, f"{'val_' if has_score else 'train_'}loss", panel)
            axis.set_ylabel({"loss": "loss", "val_score": "score", "lr": "learning rate"}[panel])
            axis.grid(alpha=0.3)
        axes[0].legend(frameon=False)
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        axes[-1].set_ylim(bottom=0)
        self.ax_, self.figure_ = axes, axes[0].figure
        return self

    def _draw(self, axis, key, label, color):
        """Draw the mean of a number over the networks, with a band where there are several."""
        values = _by_epoch(self.histories, key)
        if np.isnan(values).all():
            return
        epochs = np.arange(1, values.shape[1] + 1)
        axis.plot(epochs, _over_networks(np.mean, values), color=color, label=label)
        if len(values) > 1:
            low, high = _over_networks(np.min, values), _over_networks(np.max, values)
            axis.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)

    def _mark_best(self, axis, loss, panel):
        """Mark the kept epochs."""
        for i, epoch in enumerate(self.best_epochs):
            label = "kept" if i == 0 and panel == "loss" else None
            value = self.histories[i][epoch - 1][loss if panel == "loss" else panel]
            axis.plot(epoch, value, "o", color=ORANGE, markersize=5, label=label)


def _by_epoch(histories, key):
    """Return the numbers of a key, (networks, epochs), with NaN where a network had stopped."""
    values = np.full((len(histories), max(map(len, histories))), np.nan)
    for row, history in zip(values, histories, strict=True):
        row[: len(history)] = [np.nan if r[key] is None else r[key] for r in history]
    values[np.isinf(values)] = np.nan
    return values


def _over_networks(function, values):
    """Return a number an epoch, of the networks that trained in it; NaN where none has a number."""
    columns = [column[~np.isnan(column)] for column in values.T]
    return np.array([function(column) if len(column) else np.nan for column in columns])


class ImportanceDisplay:
    """The importance of each column, the largest first.

    Parameters
    ----------
    importances : Importances
        What :func:`tabdl.inspection.importances` and the functions beside it return.

    Attributes
    ----------
    ax_ : Axes
        Where the bars are.
    figure_ : Figure
        What the axes are a part of.
    bars_ : BarContainer
        A bar for each column that is shown.
    """

    def __init__(self, importances: Importances) -> None:
        self.importances = importances

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        method: str = "gradient",
        max_columns: int = 20,
        ax: Any = None,
    ) -> Self:
        """Compute importances and draw them.

        Parameters
        ----------
        estimator : fitted estimator
            One that :func:`tabdl.inspection.importances` takes.
        X : {array-like, data frame} of shape (N, F)
            The rows to look at.
        y : array-like of shape (N,) or (N, C), optional
            As for :func:`tabdl.inspection.importances`.
        method : {"gradient", "attention", "permutation"}
            As for :func:`tabdl.inspection.importances`.
        max_columns : int
            How many columns are shown.
        ax : Axes, optional
            None: a new figure.

        Returns
        -------
        ImportanceDisplay

        Raises
        ------
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> import matplotlib; matplotlib.use("agg")
        >>> from sklearn.datasets import load_iris
        >>> from tabdl import TabMLPClassifier
        >>> from tabdl.inspection import ImportanceDisplay
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> model = TabMLPClassifier(d_block=32, max_epochs=5, random_state=0).fit(X, y)
        >>> len(ImportanceDisplay.from_estimator(model, X).bars_)
        4
        """
        display = cls(importances(estimator, X, y, method=method))
        return display.plot(ax=ax, max_columns=max_columns)

    def plot(self, ax: Any = None, *, max_columns: int = 20) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : Axes, optional
            None: a new figure.
        max_columns : int
            How many columns are shown.

        Returns
        -------
        self
        """
        values = self.importances.values
        chosen = np.argsort(-values, kind="stable")[:max_columns][::-1]
        [ax] = new_axes(ax, "ImportanceDisplay", size=(6, 1.2 + 0.28 * len(chosen)))
        colors = [BLUE if value >= 0 else ORANGE for value in values[chosen]]
        self.bars_ = ax.barh(np.arange(len(chosen)), values[chosen], color=colors)
        ax.set_yticks(
            np.arange(len(chosen)), [shortened(self.importances.names[j]) for j in chosen]
        )
        ax.set_xlabel(f"importance ({self.importances.method.replace('_', ' ')})")
        if len(chosen) < len(values):
            ax.set_title(f"{len(chosen)} of {len(values)} columns", fontsize="medium")
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)
        self.ax_, self.figure_ = ax, ax.figure
        return self


class EnsembleDisplay:
    """The weights of a greedy ensemble's members, and its score after each round.

    Parameters
    ----------
    weights : dict from name to float
        The weight of each member.
    member_scores : dict from name to float
        The score of each member alone.
    score_path : list of float
        The score of the ensemble after each round.

    Attributes
    ----------
    ax_ : list of two Axes
        Of the weights, and of the score path.
    figure_ : Figure
    """

    def __init__(
        self, weights: dict[str, float], member_scores: dict[str, float], score_path: list[float]
    ) -> None:
        self.weights = weights
        self.member_scores = member_scores
        self.score_path = score_path

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw a fitted greedy ensemble.

        Parameters
        ----------
        estimator : fitted GreedyEnsembleClassifier or GreedyEnsembleRegressor
            Its weights and scores are drawn.
        ax : sequence of two Axes, optional
            None: a new figure.

        Returns
        -------
        EnsembleDisplay

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError
            For another estimator.
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> import matplotlib; matplotlib.use("agg")
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from tabdl import GreedyEnsembleClassifier, TabMLPClassifier
        >>> from tabdl.inspection import EnsembleDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> network = TabMLPClassifier(d_block=32, max_epochs=2)
        >>> members = [network, LogisticRegression(C=0.1)]
        >>> blend = GreedyEnsembleClassifier(members, cv=2, random_state=0).fit(X, y)
        >>> len(EnsembleDisplay.from_estimator(blend).ax_)
        2
        """
        if not hasattr(estimator, "n_rounds"):
            raise TypeError(
                "EnsembleDisplay: estimator must be a greedy ensemble, got "
                f"{type(estimator).__name__}; HistoryDisplay shows the networks themselves."
            )
        check_is_fitted(estimator)
        parts = estimator.weights_, estimator.member_scores_, estimator.score_path_
        return cls(*parts).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the weights and the scores.

        Parameters
        ----------
        ax : sequence of two Axes, optional
            None: a new figure.

        Returns
        -------
        self
        """
        axes = new_axes(ax, "EnsembleDisplay", (1, 2), (10, 3 + 0.2 * len(self.weights)))
        self._draw_weights(axes[0])
        self._draw_path(axes[1])
        self.ax_, self.figure_ = axes, axes[0].figure
        return self

    def _draw_weights(self, ax):
        names = sorted(self.weights, key=lambda name: self.weights[name])
        bars = ax.barh(range(len(names)), [self.weights[name] for name in names], color=BLUE)
        ax.bar_label(bars, [f"{self.weights[name]:.2f}" for name in names], padding=3)
        ax.set_yticks(range(len(names)), [shortened(name, 22) for name in names])
        ax.set_xlim(0, 1.2 * max(self.weights.values()))
        ax.set_xlabel("weight")

    def _draw_path(self, ax):
        rounds = range(1, len(self.score_path) + 1)
        ax.plot(rounds, self.score_path, "o-", color=BLUE, markersize=4, label="ensemble")
        best = np.nanmax(list(self.member_scores.values()))
        ax.axhline(best, color=GREY, linestyle="--", label="best member alone")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel("round")
        ax.set_ylabel("out-of-fold score")
        ax.grid(alpha=0.3)
        ax.legend(frameon=False)
