"""The base class of all networks, and the one way from checked rows to a trained network.

``fit`` makes values that several fits can share::

    dataset     = read_training_data(estimator, X, y, sample_weight)        # checked once
    preparation = prepare(estimator, train, start, order)                   # target, encoder, table
    fit         = Fit(estimator, preparation, train, val, seeds)            # its networks
    train_fits([fit, …])                                                    # one training for all

A single fit is this with one :class:`Fit`; folds that are trained together are several.
An architecture adds parameters and ``_build_net``; a task (``mixins.py``) adds what to do
with ``y`` and with the outputs. What a network does after its fit stands in ``fitted.py``.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch

from tabdl.base.augmentation import check_mixing, feature_dropout_of, find_neighbours
from tabdl.base.checkpoint import checkpoint_of
from tabdl.base.fitted import (
    FittedNetwork,
    count_parameters,
    joined_nets,
    new_net,
    with_pretraining,
)
from tabdl.base.going_on import (
    Kept,
    check_streamable,
    check_unchanged,
    copied_nets,
    one_pass,
    seeds_after,
)
from tabdl.base.isolation import isolated_torch
from tabdl.base.post_training import wanted_steps
from tabdl.base.preparation import Preparation, split_off_validation
from tabdl.base.pretraining import (
    check_pretraining,
    columns_of_pretraining,
    pretrain_networks,
)
from tabdl.base.progress import progress
from tabdl.base.seeds import MemberSeeds
from tabdl.data.dataset import Dataset, Subset
from tabdl.data.encoding import FeatureEncoder
from tabdl.data.statistics import needs_target
from tabdl.data.table import Table, TableView
from tabdl.data.validation import read_dataset
from tabdl.exceptions import FitInterruptedWarning
from tabdl.network.contract import TabularNet, check_draws
from tabdl.params import check_params
from tabdl.tasks.scoring import ValidationScore
from tabdl.tasks.targets import Loss, Target
from tabdl.training.defaults import choose_batch_size, choose_patience
from tabdl.training.devices import (
    Precision,
    choose_compile,
    choose_precision,
    threads,
)
from tabdl.training.loop import train_with_float32_fallback
from tabdl.training.run import TrainingConfig, TrainingResult, TrainingRun
from tabdl.training.short_fits import with_fewer_predictions
from tabdl.training.stacking import is_faster_together


class TabularEstimator(FittedNetwork):
    """What all estimators with a network share; their pages describe the parameters."""

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        X_unlabelled: Any = None,
    ) -> Self:
        """Train the network.

        With ``warm_start=True`` a fitted network goes on from its weights.

        Ctrl-C ends training and keeps the best weights so far, with a ``FitInterruptedWarning``.
        A search such as GridSearchCV then goes on, and the score of the cut fit counts. To stop a
        search with Ctrl-C, give it ``error_score="raise"`` and make the warning an error:
        ``warnings.simplefilter("error", tabdl.exceptions.FitInterruptedWarning)``.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
            Numbers, strings, booleans, categories and dates; missing values anywhere.
        y : array-like of shape (N,) or (N, C)
            Labels, or values. (N, C): 0 or 1 for each of several labels, or several targets.
        sample_weight : array-like of shape (N,), optional
            Non-negative weights of the rows in the loss. A row of weight 0 takes no part at all.
        X_val, y_val : like X and y, optional
            Validation rows for early stopping, instead of a part of X.
        sample_weight_val : array-like, optional
            Weights of the validation rows in the validation loss and score.
        X_unlabelled : like X, optional
            Rows without labels, with the columns of X. They take part in pretraining, see the
            parameter ``pretrain``, and in nothing else: scales and categories are those of X.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For a parameter, a table or a target that cannot be used; the message names it. For a
            ``scoring`` that cannot score the validation rows, before any training.
        NonFiniteLossError
            When the loss is no longer finite.
        KeyboardInterrupt
            When Ctrl-C comes before the first epoch is done.
        """
        start = time.perf_counter()
        check_params(self)
        with isolated_torch():
            kept = self._kept() if self.warm_start and self.__sklearn_is_fitted__() else None
            seeds = MemberSeeds(self.random_state, self.n_members)
            check_pretraining(self, X_unlabelled, kept is not None)
            dataset = read_training_data(self, X, y, sample_weight, kept)
            train, val = self._given_or_held_out(dataset, (X_val, y_val, sample_weight_val), seeds)
            if kept is None:
                preparation = prepare(self, train, start, seeds.order, X_unlabelled)
                fit = Fit(self, preparation, train, val, seeds)
            else:
                fit = self._next_fit(kept, train, val, seeds, start)
            with progress(self._name, self.verbose, self.max_epochs, self.n_members) as callbacks:
                train_fits([fit], callbacks)
        if self.stop_reason_ == "interrupted":
            warnings.warn(self._what_was_interrupted(), FitInterruptedWarning, stacklevel=2)
        return self

    # --- what a task adds

    def _check_y(self, y: Any, name: str) -> np.ndarray:
        """Return ``y`` as an array, (N,) or (N, C); raise ValueError for what cannot be learned."""
        raise NotImplementedError(f"{self._name} has no task")

    def _make_target(self, train: Subset) -> Target:
        """Return the target that encodes y for the loss."""
        raise NotImplementedError(f"{self._name} has no task")

    def _kept_target(self, target: Target, train: Subset) -> Target:
        """Return the target of an earlier fit with the parameters of the loss of this one."""
        raise NotImplementedError(f"{self._name} has no task")

    def _train_loss(self, target: Target) -> Loss:
        """Return the loss in training, ``(outputs (B, K, C), y) -> (B,)``."""
        return target.loss

    def _training_config(
        self,
        n_rows: int,
        device: torch.device,
        precision: Precision,
        callbacks: Sequence[Callable[[dict], bool | None]],
    ) -> TrainingConfig:
        """Return the :class:`TrainingConfig` for ``n_rows`` training rows."""
        batch_size = rows_of_step(self, n_rows)
        n_steps = math.ceil(n_rows / batch_size)
        patience = (
            choose_patience(n_steps, self.lr_schedule)
            if self.patience == "auto"
            else int(self.patience)
        )
        # Early stopping takes patience + 1 epochs at least.
        n_epochs = min(self.max_epochs, patience + 1) if self.early_stopping else self.max_epochs
        return TrainingConfig(
            lr=self.lr,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            optimizer=self.optimizer,
            lr_schedule=self.lr_schedule,
            warmup_epochs=self.warmup_epochs,
            ema_decay=self.ema_decay,
            hidden_mix=self.hidden_mix,
            mixup=self.mixup,
            swap_noise=self.swap_noise,
            batch_size=batch_size,
            adapts_batch=self.batch_size == "auto",
            max_epochs=self.max_epochs,
            patience=patience if self.early_stopping else None,
            time_limit=self.time_limit,
            precision=precision,
            is_compiled=bool(choose_compile(self.compile, device, n_epochs * n_steps)),
            callbacks=[*callbacks, *(self.callbacks or ())],
        )

    # --- fitting

    def _kept(self) -> Kept:
        """Return what a fit that goes on keeps of the one before.

        Raises
        ------
        ValueError
            For a parameter that has changed and may not.
        """
        if not self._goes_on:
            raise ValueError(
                f"{self._name}: warm_start must be False: its networks are added one by one, and a "
                "fit that is done cannot go on."
            )
        if needs_target(self.categorical_statistics):
            raise ValueError(
                f"{self._name}: categorical_statistics={self.categorical_statistics!r} cannot go "
                "on with warm_start or partial_fit: its numbers know the targets of the rows "
                "before, which may come again; use 'none' or 'count'."
            )
        check_unchanged(self, self._params_at_fit, self.encoder_)
        optimizer, states = self._optimizer_states
        return Kept(
            self.encoder_,
            self._target,
            copied_nets(self.module_, self.n_members, self._name),
            states if optimizer == self.optimizer else [],
        )

    def _next_fit(
        self, kept: Kept, train: Subset, val: Subset | None, seeds: MemberSeeds, start: float
    ) -> "Fit":
        """Return a fit that goes on from an earlier one."""
        target = self._kept_target(kept.target, train)
        preparation = Preparation(self, train, start, seeds.order, target, kept.encoder)
        seeds.training = seeds_after(kept.nets, seeds.training)
        return Fit(self, preparation, train, val, seeds, kept)

    def _pass(self, X: Any, y: Any, sample_weight: Any, first_target: Callable) -> Self:
        """Train for one epoch over the rows given; see ``partial_fit`` of the tasks.

        ``first_target`` makes the target of the first call from its rows.
        """
        start = time.perf_counter()
        check_params(self)
        check_streamable(self)
        with isolated_torch():
            kept = self._kept() if self.__sklearn_is_fitted__() else None
            seeds = MemberSeeds(self.random_state, self.n_members)
            train = read_training_data(self, X, y, sample_weight, kept).used
            if kept is None:
                preparation = Preparation(self, train, start, seeds.order, first_target(train))
                fit = Fit(self, preparation, train, None, seeds)
            else:
                fit = self._next_fit(kept, train, None, seeds, start)
            with progress(self._name, self.verbose, 1, self.n_members) as callbacks:
                train_pass(fit, callbacks)
        self._optimizer_states = (self.optimizer, [run.optimizer_state for run in fit.runs])
        return self

    def _given_or_held_out(
        self, dataset: Dataset, given: tuple[Any, Any, Any], seeds: MemberSeeds
    ) -> tuple[Subset, Subset | None]:
        """Return the rows that train, and the validation rows or None, as subsets."""
        X_val, y_val, weight_val = given
        if (X_val is None) != (y_val is None) or (X_val is None and weight_val is not None):
            raise ValueError(
                f"{self._name}: X_val and y_val belong together, and sample_weight_val to them; "
                "got only some."
            )
        if X_val is None:
            return split_off_validation(self, dataset.used, seeds)
        names = ("X_val", "y_val", "sample_weight_val")
        fitted = {
            "kinds": [column.kind for column in dataset.columns],
            "column_names": [column.name for column in dataset.columns],
        }
        val = read_dataset(self, *given, check_y=self._check_y, names=names, **fitted)
        return dataset.used, val.used

    def _score(self, target: Target, val: Subset | None) -> ValidationScore | None:
        """Return the score of the validation rows, or None without such rows."""
        if val is None:
            return None
        X = val.X if callable(self.scoring) else None
        return ValidationScore(self.scoring, target, X, val.y, val.sample_weight, self._name)

    def _keep(
        self,
        nets: list[TabularNet],
        encoder: FeatureEncoder,
        target: Target,
        results: list[TrainingResult],
    ) -> None:
        """Set the fitted attributes; ``nets`` and ``results`` are those that had an epoch."""
        self._params_at_fit = self._architecture_params()
        self.module_ = joined_nets(nets, self.n_members)
        self._set_fitted(encoder, target, results, self.n_members)

    def _what_was_interrupted(self) -> str:
        results = self.member_results_
        n_epochs = max(r.n_iter for r in results if r.stop_reason == "interrupted")
        only = f" of {len(results)} of n_members={self.n_members} members"
        return (
            f"{self._name}: interrupted after epoch {n_epochs}; fitted with the "
            f"{'best' if self.early_stopping else 'latest'} weights so far"
            f"{only if self.n_members > 1 else ''}."
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.input_tags.sparse = True
        return tags


def read_training_data(
    estimator: TabularEstimator, X: Any, y: Any, sample_weight: Any, kept: Kept | None = None
) -> Dataset:
    """Return the checked training rows as a Dataset, whose columns are read.

    With ``kept`` the kinds and the names of columns are those of the earlier fit.
    """
    names = ("X", "y", "sample_weight")
    fitted = {}
    encoder = kept.encoder if kept is not None else columns_of_pretraining(estimator, X)
    if encoder is not None:
        fitted = {"kinds": encoder.kinds, "column_names": encoder.column_names}
    check_y = estimator._check_y
    return read_dataset(estimator, X, y, sample_weight, check_y=check_y, names=names, **fitted)


def prepare(
    estimator: TabularEstimator, train: Subset, start: float, order: int, X_unlabelled: Any = None
) -> Preparation:
    """Return what a new fit learns of its rows before its networks; see :class:`Preparation`."""
    target = estimator._make_target(train)
    return Preparation(estimator, train, start, order, target, X_unlabelled=X_unlabelled)


class Fit:
    """The training of one estimator: networks and rows before, the fitted estimator after.

    Where ``train`` is only a part of the rows of the preparation, the networks are trained on a
    view of its table. Categories that the part lacks are unknown to these networks.

    Parameters
    ----------
    estimator : TabularEstimator
    preparation : Preparation
    train : Subset
    val : Subset or None
    seeds : MemberSeeds
    kept : Kept, optional
        Its networks go on; None: new networks.

    Attributes
    ----------
    runs : list of TrainingRun, length ``n_members``
    is_trained : bool
        False before training, and after an interrupt that left no epoch.
    is_going_on : bool
        Whether its networks are those of an earlier fit.
    pretrain_history : list of dict
    donors : Table or None
        Rows whose cells others may take in training, see ``data/neighbours.py``.
    """

    def __init__(
        self,
        estimator: TabularEstimator,
        preparation: Preparation,
        train: Subset,
        val: Subset | None,
        seeds: MemberSeeds,
        kept: Kept | None = None,
    ) -> None:
        self.estimator = estimator
        self.preparation = preparation
        # Calibration changes the target of one fit only.
        self.target = copy.copy(preparation.target)
        self.is_trained = False
        self.is_going_on = kept is not None
        self.pretrain_history: list[dict[str, Any]] = []
        self.donors: Table | None = None
        if train is preparation.train:
            self.encoder, table, index = preparation.encoder, preparation.table, None
            self.val = None if val is None else preparation.encode(val)
        else:
            codes = preparation.table.x_cat.numpy()[preparation.positions(train)]
            self.encoder = preparation.encoder.narrowed(codes)
            table, index = preparation.shared_table, preparation.index(train)
            self.val = None if val is None else self._view(val)
        self.score = estimator._score(self.target, val)
        nets = map(self._new_net, seeds.weights) if kept is None else kept.nets
        self.runs = [
            TrainingRun(self._ready(net), table, self.val, self.score, seed, index)
            for net, seed in zip(nets, seeds.training, strict=True)
        ]
        for run, state in zip(self.runs, kept.optimizer_states if kept else (), strict=False):
            run.optimizer_state = state

    def _view(self, subset: Subset) -> TableView:
        """Return rows of the shared table with the codes of this fit."""
        index = self.preparation.index(subset)
        codes = [torch.from_numpy(known).to(index.device) for known in self.encoder.known_codes()]
        return TableView(self.preparation.shared_table, index, codes)

    def _new_net(self, seed: int) -> TabularNet:
        preparation = self.preparation
        generator = torch.Generator().manual_seed(seed)
        net = self.initial_net(generator, self.target.n_outputs)
        net.init_from_data(preparation.table, generator)
        some = preparation.table.take(slice(0, 2))
        check_draws(net, some.x_num.float(), some.x_cat)
        schema = preparation.encoder.schema
        return with_pretraining(net, self.estimator, schema, self.target.n_outputs)

    def initial_net(self, generator: torch.Generator, n_outputs: int) -> TabularNet:
        """Return a network with its first weights, on the CPU, and ``n_outputs`` outputs."""
        schema, table = self.preparation.encoder.schema, self.preparation.table
        return new_net(self.estimator, schema, n_outputs, table, generator)

    def _ready(self, net: TabularNet) -> TabularNet:
        """Return a network where it is trained; raise ValueError where it cannot be so."""
        check_mixing(self.estimator, net)
        return net.to(self.preparation.device, self.preparation.dtype)

    def precision(self, net: Any) -> Precision:
        """Return the :class:`Precision` in which ``net`` computes."""
        return choose_precision(self.estimator.precision, self.preparation.device, net)

    def config(
        self, n_rows: int, net: Any, callbacks: Sequence[Callable[[dict], Any]]
    ) -> TrainingConfig:
        """Return how ``net`` is trained on ``n_rows`` rows."""
        estimator, preparation = self.estimator, self.preparation
        device, precision = preparation.device, self.precision(net)
        config = estimator._training_config(n_rows, device, precision, callbacks)
        hidden = feature_dropout_of(estimator, preparation.encoder, preparation.table)
        return replace(config, feature_dropout=hidden, donors=self.donors)

    def finish(self, results: list[TrainingResult]) -> None:
        """Give the estimator its fitted state, and take the post-training steps.

        Parameters
        ----------
        results : list of TrainingResult, one for each run
        """
        pairs = zip(self.runs, results, strict=True)
        begun = [(run.net, result) for run, result in pairs if result.history]
        if not begun:
            return
        estimator = self.estimator
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.preparation.estimator, name):
                setattr(estimator, name, getattr(self.preparation.estimator, name))
        results = [result for _, result in begun]
        estimator._keep([net for net, _ in begun], self.encoder, self.target, results)
        estimator.pretrain_history_ = self.pretrain_history
        for step in wanted_steps(estimator):
            assert self.val is not None  # a fit without validation rows refuses these steps
            net = estimator.module_
            step.apply(net, self.target, self.val, self.precision(net))
        estimator.n_parameters_ = count_parameters(estimator.module_)
        estimator.n_train_rows_ = self.runs[0].n_rows
        estimator.n_val_rows_ = 0 if self.val is None else len(self.val)
        self.is_trained = True
        self._warn_of_scores(results)

    def _warn_of_scores(self, results: list[TrainingResult]) -> None:
        """Warn where no epoch of a network had a valid score."""
        scores = [[record["val_score"] for record in result.history] for result in results]
        if self.score is not None and any(max(own) == -math.inf for own in scores):
            warnings.warn(
                f"{type(self.estimator).__name__}: scoring={self.estimator.scoring!r} had no valid "
                f"score in any epoch ({self.score.problem}); the weights of the lowest validation "
                "loss are kept. Use another scoring, or None.",
                stacklevel=4,
            )


def train_fits(fits: list[Fit], callbacks: list[Callable[[dict], Any]]) -> None:
    """Train the networks of several fits in one training, and finish each fit.

    Parameters
    ----------
    fits : list of Fit
        Fits of one preparation, whose estimators differ in ``random_state`` alone.
    callbacks : list of callable
        Each gets the record of each epoch, beside the callbacks of the estimators.
    """
    first = fits[0]
    pretrain_networks(fits)
    for fit in fits:
        fit.donors = find_neighbours(fit.estimator, fit.runs, fit.preparation.device)
    runs = [run for fit in fits for run in fit.runs]
    config = _config_of(fits, callbacks)
    with threads(first.estimator.n_jobs, 3 * runs[0].net.n_macs * config.batch_size):
        loss = first.estimator._train_loss(first.target)
        if not first.is_going_on:
            config = with_fewer_predictions(runs, loss, config)
        results = train_with_float32_fallback(
            runs, config=config, loss=loss, val_loss=first.target.val_loss
        )
        n_members = len(first.runs)
        for i, fit in enumerate(fits):
            fit.finish(results[i * n_members : (i + 1) * n_members])


def train_pass(fit: Fit, callbacks: list[Callable[[dict], Any]]) -> None:
    """Train the networks of a fit for one epoch, and finish it.

    Parameters
    ----------
    fit : Fit
    callbacks : list of callable
        Each gets the record of the epoch, beside the callbacks of the estimator.
    """
    estimator, net = fit.estimator, fit.runs[0].net
    fit.donors = find_neighbours(estimator, fit.runs, fit.preparation.device)
    config = one_pass(fit.config(fit.runs[0].n_rows, net, callbacks))
    with threads(estimator.n_jobs, 3 * net.n_macs * config.batch_size):
        # In turn, so that each network has an optimizer of its own, whatever the number of rows.
        results = train_with_float32_fallback(
            fit.runs,
            config=config,
            loss=estimator._train_loss(fit.target),
            val_loss=fit.target.val_loss,
            together=False,
        )
        fit.finish(results)


def _config_of(fits: list[Fit], callbacks: list[Callable[[dict], Any]]) -> TrainingConfig:
    """Return the config of one training for several fits.

    Its time limit is what is left of the sum of theirs.
    """
    first = fits[0]
    config = first.config(_n_rows(fits), first.runs[0].net, callbacks)
    config = replace(config, checkpoint=checkpoint_of(first.estimator, first.runs, len(fits)))
    if config.time_limit is None:
        return config
    elapsed = time.perf_counter() - first.preparation.start
    return replace(config, time_limit=config.time_limit * len(fits) - elapsed)


def _n_rows(fits: list[Fit]) -> int:
    return min(run.n_rows for fit in fits for run in fit.runs)


def rows_of_step(estimator: "TabularEstimator", n_rows: int) -> int:
    """Return the batch size for ``n_rows`` training rows."""
    size = estimator.batch_size
    return choose_batch_size(n_rows) if size == "auto" else int(size)


def are_faster_together(fits: list[Fit]) -> bool:
    """Return whether common steps are quicker than one fit after the other."""
    first = fits[0]
    return is_faster_together(first.runs[0].net, rows_of_step(first.estimator, _n_rows(fits)))
