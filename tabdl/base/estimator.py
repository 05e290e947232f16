"""The base class of all networks, and the one way from checked rows to a trained network.

``fit`` makes values that several fits can share::

    dataset     = read_training_data(estimator, X, y, sample_weight)        # checked once
    preparation = Preparation(estimator, train, start, order)               # target, encoder, table
    fit         = Fit(estimator, preparation, train, val, seeds)            # its networks
    train_fits([fit, …])                                                    # one training for all

A single fit is this with one :class:`Fit`; folds that are trained together are several.
An architecture adds parameters and ``_build_net``; a task (``mixins.py``) adds what to do
with ``y`` and with the outputs.
"""

import copy
import inspect
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from tabdl.base.checkpoint import checkpoint_of
from tabdl.base.facts import facts_html
from tabdl.base.going_on import (
    Kept,
    check_streamable,
    check_unchanged,
    copied_nets,
    one_pass,
    seeds_after,
)
from tabdl.base.mixins import Task
from tabdl.base.params import NetworkParams
from tabdl.base.post_training import wanted_steps
from tabdl.base.pretraining import check_pretraining, pretrain_networks
from tabdl.base.progress import progress
from tabdl.base.seeds import MemberSeeds
from tabdl.data.columns import read_columns
from tabdl.data.dataset import Dataset, Subset, slice_rows
from tabdl.data.encoding import FeatureEncoder
from tabdl.data.splitting import train_val_split
from tabdl.data.state import State
from tabdl.data.statistics import needs_target
from tabdl.data.table import Schema, Table, TableView
from tabdl.data.validation import check_X, read_dataset, read_X
from tabdl.exceptions import FitInterruptedWarning, tabdl_version, warn_of_version
from tabdl.network.contract import TabularNet, check_draws, init_weights, materialize
from tabdl.network.rebuilding import build_blank, check_state, fill, network_state
from tabdl.params import check_params
from tabdl.tasks.scoring import ValidationScore
from tabdl.tasks.targets import Loss, Target, target_from_state
from tabdl.training.batches import on_device
from tabdl.training.defaults import choose_batch_size, choose_patience
from tabdl.training.devices import (
    Precision,
    choose_compile,
    choose_device,
    choose_dtype,
    choose_precision,
    isolated_torch,
    predict_device,
    threads,
)
from tabdl.training.inference import net_outputs
from tabdl.training.loop import train_with_float32_fallback
from tabdl.training.run import STOP_REASONS, TrainingConfig, TrainingResult, TrainingRun
from tabdl.training.stacking import NetworkEnsemble, is_faster_together

# Rows that are predicted at once, at most and at least.
_MOST_BLOCK_ROWS = 65_536
_FEWEST_BLOCK_ROWS = 1_024
# What a pickle or a file holds of a fitted network.
_STATE_NAMES = (
    "params",
    "encoder",
    "has_column_names",
    "n_train_rows",
    "n_val_rows",
    "target",
    "results",
    "networks",
)


class FittedNetwork:
    """The types of the fitted attributes of all networks.

    The class is no dataclass: an annotation in a dataclass would be a parameter.
    """

    history_: list[dict[str, Any]]
    pretrain_history_: list[dict[str, Any]]
    n_iter_: int
    best_epoch_: int
    stop_reason_: str
    member_results_: list[TrainingResult]
    n_parameters_: int
    n_train_rows_: int
    n_val_rows_: int
    module_: Any
    encoder_: FeatureEncoder
    n_features_in_: int
    feature_names_in_: np.ndarray
    _target: Target
    _params_at_fit: dict[str, Any]
    # The optimizer's name and the state of each network's, after a partial_fit.
    _optimizer_states: tuple[str, list[Any]]


class TabularEstimator(Task, FittedNetwork, NetworkParams):
    """What all estimators with a network share."""

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
                preparation = Preparation(
                    self, train, start, seeds.order, X_unlabelled=X_unlabelled
                )
                fit = Fit(self, preparation, train, val, seeds)
            else:
                fit = self._next_fit(kept, train, val, seeds, start)
            with progress(self._name, self.verbose, self.max_epochs, self.n_members) as callbacks:
                train_fits([fit], callbacks)
        if self.stop_reason_ == "interrupted":
            warnings.warn(self._what_was_interrupted(), FitInterruptedWarning, stacklevel=2)
        return self

    # --- what an architecture and a task add

    def _build_net(self, schema: Schema, n_outputs: int, train_table: Table) -> TabularNet:
        """Return the network without initial weights.

        Parameters
        ----------
        schema : Schema
        n_outputs : int
            C.
        train_table : Table
            The training rows, on the CPU, for what is learned from them, such as bins. It has no
            rows when a fitted network is built again, from a pickle or a file; see
            ``network/rebuilding.py``.
        """
        raise NotImplementedError(f"{self._name} has no network")

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
        batch_size = self._batch_size(n_rows)
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
            batch_size=batch_size,
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
        return self

    def _batch_size(self, n_rows: int) -> int:
        return choose_batch_size(n_rows) if self.batch_size == "auto" else int(self.batch_size)

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
        self.module_ = _joined(nets, self.n_members)
        self._set_fitted(encoder, target, results, self.n_members)

    def _architecture_params(self) -> dict[str, Any]:
        """Return copies of the parameters that shape the network."""
        own = [cls for cls in type(self).__mro__ if issubclass(cls, TabularEstimator)]
        names = {name for cls in own for name in inspect.get_annotations(cls)}
        names = {field.name for field in fields(type(self))} & (names | {"n_members"})
        return copy.deepcopy({name: getattr(self, name) for name in sorted(names)})

    def _set_fitted(
        self,
        encoder: FeatureEncoder,
        target: Target,
        results: list[TrainingResult],
        n_members: int,
    ) -> None:
        """Set what follows from the results of ``n_members`` trainings."""
        self.encoder_ = encoder
        self._target = target
        self._optimizer_states = ("", [])
        self.member_results_ = results
        self.n_iter_ = max(result.n_iter for result in results)
        self.best_epoch_ = round(float(np.median([result.best_epoch for result in results])))
        reasons = {result.stop_reason for result in results}
        self.stop_reason_ = max(reasons, key=STOP_REASONS.index)
        self.history_ = results[0].history
        self.pretrain_history_ = []
        if n_members > 1:
            records = [(i, record) for i, result in enumerate(results) for record in result.history]
            self.history_ = [{"member": i} | record for i, record in records]

    def _what_was_interrupted(self) -> str:
        results = self.member_results_
        n_epochs = max(r.n_iter for r in results if r.stop_reason == "interrupted")
        only = f" of {len(results)} of n_members={self.n_members} members"
        return (
            f"{self._name}: interrupted after epoch {n_epochs}; fitted with the "
            f"{'best' if self.early_stopping else 'latest'} weights so far"
            f"{only if self.n_members > 1 else ''}."
        )

    # --- predicting

    def _decoded(self, X: Any, decode: Callable[[Tensor], np.ndarray]) -> np.ndarray:
        """Return what ``decode`` makes of the outputs (n, K, C) of the network for rows of X.

        Many rows are read, encoded and predicted block by block: what lies between the table and
        the predictions takes the memory of a block.
        """
        check_is_fitted(self)
        with isolated_torch():
            X = check_X(self, X, reset=False)
            net = self.module_
            # As many numbers as this are some 30 MB of float64.
            n_vectors = sum(one.n_vectors_per_row for one in getattr(net, "nets", [net]))
            n_block = 2**22 // (n_vectors * self._target.n_outputs)
            n_block = min(max(n_block, _FEWEST_BLOCK_ROWS), _MOST_BLOCK_ROWS)
            if X.shape[0] <= n_block:
                return decode(self._outputs(self._encoded(X)))
            starts = range(0, X.shape[0], n_block)
            tables = (self._encoded_block(X, start, start + n_block) for start in starts)
            return np.concatenate([decode(self._outputs(table)) for table in tables])

    def _encoded_block(self, X: Any, start: int, stop: int) -> Table:
        try:
            return self._encoded(slice_rows(X, start, stop))
        except (ValueError, TypeError):
            self._encoded(X)  # raises with the number of the row in X
            raise

    def _encoded(self, X: Any) -> Table:
        """Return the rows of a checked X as a Table on the CPU."""
        encoder = self.encoder_
        columns = read_columns(
            X,
            estimator_name=self._name,
            kinds=encoder.kinds,
            column_names=encoder.column_names,
            categorical=self.categorical_features,
        )
        dtype = choose_dtype(self.precision, predict_device(self.device), self._name)
        x_num, x_cat = encoder.transform(columns, dtype=_numpy_dtype(dtype))
        return Table(torch.from_numpy(x_num), torch.from_numpy(x_cat))

    def _outputs(self, table: Table) -> Tensor:
        """Return the outputs of the network for the rows of a table, (n, K, C)."""
        device = predict_device(self.device)
        net = _placed(self.module_, device, table.x_num.dtype)
        # One thread stays one thread, and to count the work takes time.
        has_threads = torch.get_num_threads() > 1
        work = net.n_macs * min(net.cpu_chunk_rows, len(table)) if has_threads else 0
        with threads(self.n_jobs, work):
            return net_outputs(net, table, choose_precision(self.precision, device, net))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def to(self, device: str | torch.device) -> Self:
        """Move the network to a device; the parameter ``device`` becomes it, and predict uses it.

        Parameters
        ----------
        device : str or torch.device
            As the parameter ``device``.

        Returns
        -------
        self

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For what is no device, or a device that this machine lacks.
        """
        check_is_fitted(self)
        check_params(self._with({"device": device}))
        chosen = choose_device(device, self._name)
        self.module_.to(chosen, choose_dtype(self.precision, chosen, self._name))
        self.device = device
        return self

    def _html_repr(self) -> str:
        """Return scikit-learn's picture of an estimator, and what there is to say of the fit."""
        fit = facts_html(self) if self.__sklearn_is_fitted__() else ""
        return estimator_html_repr(self) + fit

    # --- pickling

    @isolated_torch()
    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a pickle and for other files.

        It has the parameters by name and, in ``fitted``, plain values and arrays alone, see
        ``data/state.py``.

        Raises
        ------
        ValueError
            For a network that cannot be built again from this state.
        """
        own: Any = super().__getstate__()
        state: dict[str, Any] = {**own, "_tabdl_version": tabdl_version()}
        if isinstance(self.device, torch.device):
            state["device"] = str(self.device)
        if self.checkpoint is not None:
            state["checkpoint"] = os.fspath(self.checkpoint)
        if "module_" in state:
            for name in inspect.get_annotations(FittedNetwork):
                state.pop(name, None)
            state["fitted"] = self._fitted_state()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        warn_of_version(self._name, state.pop("_tabdl_version", None))
        fitted = state.pop("fitted", None)
        super().__setstate__(state)
        if fitted is not None:
            self._restore(fitted)

    def _with(self, params: dict[str, Any]) -> Self:
        """Return an unfitted estimator with some parameters changed."""
        return type(self)(**{**self.get_params(deep=False), **params})

    def _fitted_state(self) -> dict[str, Any]:
        is_joined = isinstance(self.module_, NetworkEnsemble)
        states = [
            network_state(net) for net in (self.module_.nets if is_joined else [self.module_])
        ]
        for state in states:
            check_state(self._blank_net(self.encoder_, self._target), state, self._name)
        return {
            "params": self._params_at_fit,
            "encoder": self.encoder_.state(),
            "has_column_names": hasattr(self, "feature_names_in_"),
            "n_train_rows": self.n_train_rows_,
            "n_val_rows": self.n_val_rows_,
            "target": self._target.state(),
            "results": [result.state() for result in self.member_results_],
            "networks": states,
        }

    def _blank_net(self, encoder: FeatureEncoder, target: Target) -> TabularNet:
        """Return the network of the parameters at fit, without memory."""
        builder = self._with(self._params_at_fit)
        schema = encoder.schema
        no_rows = Table(torch.empty(0, schema.n_num), torch.empty(0, len(schema.cat_names)).byte())
        return build_blank(
            lambda: builder._build_net(schema, target.n_outputs, no_rows), self._name
        )

    @isolated_torch()
    def _restore(self, fitted: Any) -> None:
        """Set the fitted attributes from :meth:`_fitted_state`, of which nothing is trusted."""
        state = State(fitted, _STATE_NAMES, self._name)
        networks = state.items("networks", dict)
        self._params_at_fit = self._checked_params(state, networks)
        n_members = self._params_at_fit["n_members"]
        encoder = FeatureEncoder.from_state(fitted["encoder"], self._name)
        target = target_from_state(fitted["target"], self._has_classes, self._name)
        results = [TrainingResult.from_state(r, self._name) for r in state.items("results", dict)]
        if not 1 <= len(networks) <= len(results) <= n_members:
            state.refuse("networks", f"at most as many as results, which are up to {n_members}")
        nets: list[TabularNet] = []
        n_chunk = 0
        for own in networks:
            nets.append(self._blank_net(encoder, target))
            n_chunk = nets[-1].cpu_chunk_rows
            fill(nets[-1], own, self._name)
        self.module_ = _joined(nets, n_members)
        if n_members > 1:  # which keeps the chunks of networks that dropped predictions
            self.module_.cpu_chunk_rows = n_chunk
        self._set_fitted(encoder, target, results, n_members)
        self.n_parameters_ = _n_parameters(self.module_)
        self.n_train_rows_ = state.integer("n_train_rows", 1)
        self.n_val_rows_ = state.integer("n_val_rows", 0)
        self.n_features_in_ = len(encoder.column_names)
        if state.flag("has_column_names"):
            self.feature_names_in_ = np.array(encoder.column_names, dtype=object)

    def _checked_params(self, state: State, networks: list[Any]) -> dict[str, Any]:
        """Return the parameters at fit of a state."""
        known = {field.name: field for field in fields(type(self))}
        own: dict[str, Any] = {name: known[name].default for name in self._architecture_params()}
        params = state.table("params")
        if not {"n_members"} <= set(params) <= set(own):
            state.refuse("params", f"a dict with {sorted(own)}")
        # A parameter that is newer than the file has its default, which changes nothing.
        params = own | params
        check_params(self._with(params))
        # Every block has a tensor of its own at least.
        n_blocks = params.get("n_blocks", 0)
        if any(n_blocks > len(net.get("tensors", ())) for net in networks):
            state.refuse("params", f"those of the networks, which have less than {n_blocks} blocks")
        return params

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
    if kept is not None:
        fitted = {"kinds": kept.encoder.kinds, "column_names": kept.encoder.column_names}
    check_y = estimator._check_y
    return read_dataset(estimator, X, y, sample_weight, check_y=check_y, names=names, **fitted)


def split_off_validation(
    estimator: TabularEstimator, rows: Subset, seeds: MemberSeeds
) -> tuple[Subset, Subset | None]:
    """Return the rows that train, and the rows that early stopping holds out or None.

    Parameters
    ----------
    estimator : TabularEstimator
    rows : Subset
    seeds : MemberSeeds

    Raises
    ------
    ValueError
        When no rows are held out and a post-training step needs some.
    """
    if estimator.early_stopping:
        name, fraction = type(estimator).__name__, estimator.validation_fraction
        is_stratified = is_classifier(estimator) and rows.y.ndim == 1
        return train_val_split(rows, fraction, seeds.split, name, stratify=is_stratified)
    for step in wanted_steps(estimator):
        raise ValueError(
            f"{type(estimator).__name__}: {step.parameter}=True needs validation rows: "
            "early_stopping=True, or X_val and y_val; got neither."
        )
    return rows, None


class Preparation:
    """What is learned of training rows before any network; fits of one training share it.

    Parameters
    ----------
    estimator : TabularEstimator
    train : Subset
        The rows from which quantiles, categories and the mean of y are learned.
    start : float
        When the fit began, by ``time.perf_counter``; a time limit counts from there.
    order : int
        Seed of the order of the training rows for statistics of the target.
    target, encoder : optional
        Those of an earlier fit; None: they are learned of the rows.
    X_unlabelled : table, optional
        Rows that take part in pretraining only.

    Attributes
    ----------
    device : torch.device
    dtype : torch.dtype
        The dtype of weights and tables.
    target : BinaryTarget, MulticlassTarget, MultilabelTarget or RegressionTarget
    encoder : FeatureEncoder
    table : Table
        The training rows on the CPU. Their statistics of categories do not know their targets.
    unlabelled : Table or None
        The rows that take part in pretraining only, encoded, without y.
    """

    def __init__(
        self,
        estimator: TabularEstimator,
        train: Subset,
        start: float,
        order: int,
        target: Target | None = None,
        encoder: FeatureEncoder | None = None,
        X_unlabelled: Any = None,
    ) -> None:
        name = type(estimator).__name__
        self.estimator = estimator
        self.train = train
        self.start = start
        self.device = choose_device(estimator.device, name)
        self.dtype = choose_dtype(estimator.precision, self.device, name)
        self.target = target or estimator._make_target(train)
        if encoder is not None:
            self.encoder = encoder
            self.table = self.encode(train)
        else:
            self.encoder = FeatureEncoder(
                estimator.numeric_transform,
                name,
                estimator.numeric_missing,
                estimator.categorical_statistics,
            )
            self.table = self._learned(train, order)
        self.unlabelled = None if X_unlabelled is None else self._encode_unlabelled(X_unlabelled)

    def _encode_unlabelled(self, X: Any) -> Table:
        encoder = self.encoder
        fitted = {"kinds": encoder.kinds, "column_names": encoder.column_names}
        try:
            columns = read_X(self.estimator, X, **fitted, name="X_unlabelled")
        except (ValueError, TypeError) as error:
            name = type(self.estimator).__name__
            raise ValueError(f"{name}: X_unlabelled cannot be read as X: {error}") from error
        x_num, x_cat = encoder.transform(columns, dtype=_numpy_dtype(self.dtype))
        return Table(torch.from_numpy(x_num), torch.from_numpy(x_cat))

    def _learned(self, train: Subset, order: int) -> Table:
        """Fit the encoder to the training rows, and return these as a Table on the CPU."""
        has_target = needs_target(self.estimator.categorical_statistics)
        x_num, x_cat = self.encoder.fit_transform(
            train.dataset.columns,
            train.indices,
            train.weight,
            self._outputs_of(train) if has_target else None,
            order,
            _numpy_dtype(self.dtype),
        )
        return self._table(x_num, x_cat, train)

    def _outputs_of(self, subset: Subset) -> np.ndarray:
        """Return the targets as numbers, (n, C): of several classes one for each."""
        y = self.target.encode(subset.y, np.float64)
        return y if y.ndim == 2 else np.eye(self.target.n_outputs)[y]

    def encode(self, subset: Subset) -> Table:
        """Return rows that do not train as a Table on the CPU; those that train are ``table``."""
        columns = list(subset.dataset.columns)
        x_num, x_cat = self.encoder.transform(columns, subset.indices, _numpy_dtype(self.dtype))
        return self._table(x_num, x_cat, subset)

    def _table(self, x_num: np.ndarray, x_cat: np.ndarray, subset: Subset) -> Table:
        """Return features with the targets and weights of their rows."""
        dtype = _numpy_dtype(self.dtype)
        y = self.target.encode(subset.y, dtype)
        with np.errstate(over="ignore"):
            weight = subset.weight * self.target.row_weight(subset.y)
            total = weight.sum()
        if not 0 < total < np.inf:
            raise ValueError(
                f"{type(self.estimator).__name__}: the weights of the rows, sample_weight times "
                f"class_weight, must have a sum that is positive and finite, got {total}; scale "
                "the weights."
            )
        # Equal weights are no weights; the loss expects a mean of 1.
        is_equal = np.ptp(weight) == 0
        weight = None if is_equal else torch.from_numpy((weight / weight.mean()).astype(dtype))
        return Table(torch.from_numpy(x_num), torch.from_numpy(x_cat), torch.from_numpy(y), weight)

    @cached_property
    def shared_table(self) -> Table:
        """The table on the device, where its memory is large enough."""
        return on_device(self.table, self.device)

    def positions(self, subset: Subset) -> np.ndarray:
        """Return the positions of rows in the table, whose rows are in ascending order."""
        return np.searchsorted(self.train.indices, subset.indices)

    def index(self, subset: Subset) -> Tensor:
        """Return :meth:`positions` as a tensor beside the shared table."""
        return torch.from_numpy(self.positions(subset)).to(self.shared_table.x_num.device)


def new_net(
    estimator: TabularEstimator,
    schema: Schema,
    n_outputs: int,
    train_table: Table,
    generator: torch.Generator,
) -> TabularNet:
    """Return the network of an estimator with its first weights, on the CPU.

    Parameters
    ----------
    estimator : TabularEstimator
    schema : Schema
    n_outputs : int
        C.
    train_table : Table
        The training rows, on the CPU.
    generator : torch.Generator
        All weights are drawn from it.
    """
    with torch.device("meta"):
        net = estimator._build_net(schema, n_outputs, train_table)
    net = materialize(net)
    init_weights(net, generator)
    return net


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
        return net

    def initial_net(self, generator: torch.Generator, n_outputs: int) -> TabularNet:
        """Return a network with its first weights, on the CPU, and ``n_outputs`` outputs."""
        schema, table = self.preparation.encoder.schema, self.preparation.table
        return new_net(self.estimator, schema, n_outputs, table, generator)

    def _ready(self, net: TabularNet) -> TabularNet:
        """Return a network where it is trained; raise ValueError where it cannot be so."""
        estimator, preparation = self.estimator, self.preparation
        if estimator.hidden_mix and getattr(net.embedding, "n_channels", None) is None:
            raise ValueError(
                f"{type(estimator).__name__}: hidden_mix=True mixes channels of the features' "
                "vectors, and here numbers have none, or all features are one-hot; give "
                "numeric_embedding a value other than None, or set hidden_mix=False."
            )
        return net.to(preparation.device, preparation.dtype)

    def precision(self, net: Any) -> Precision:
        """Return the :class:`Precision` in which ``net`` computes."""
        return choose_precision(self.estimator.precision, self.preparation.device, net)

    def config(
        self, n_rows: int, net: Any, callbacks: Sequence[Callable[[dict], Any]]
    ) -> TrainingConfig:
        """Return how ``net`` is trained on ``n_rows`` rows."""
        device, precision = self.preparation.device, self.precision(net)
        return self.estimator._training_config(n_rows, device, precision, callbacks)

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
        estimator.n_parameters_ = _n_parameters(estimator.module_)
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
    runs = [run for fit in fits for run in fit.runs]
    config = _config_of(fits, callbacks)
    with threads(first.estimator.n_jobs, 3 * runs[0].net.n_macs * config.batch_size):
        loss = first.estimator._train_loss(first.target)
        results = train_with_float32_fallback(
            runs, config=config, loss=loss, val_loss=first.target.val_loss
        )
        n_members = len(first.runs)
        for i, fit in enumerate(fits):
            fit.finish(results[i * n_members : (i + 1) * n_members])


def train_pass(fit: Fit, callbacks: list[Callable[[dict], Any]]) -> None:
    """Train the networks of a fit for one epoch, and finish it; optimizers go on next time.

    Parameters
    ----------
    fit : Fit
    callbacks : list of callable
        Each gets the record of the epoch, beside the callbacks of the estimator.
    """
    estimator, net = fit.estimator, fit.runs[0].net
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
    estimator._optimizer_states = (
        estimator.optimizer,
        [run.optimizer_state for run in fit.runs],
    )


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


def are_faster_together(fits: list[Fit]) -> bool:
    """Return whether common steps are quicker than one fit after the other."""
    first = fits[0]
    return is_faster_together(first.runs[0].net, first.estimator._batch_size(_n_rows(fits)))


def _placed(net: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the network on a device and in a dtype; where it is so already, quickly."""
    some = next(net.parameters())
    is_there = some.device.type == device.type and device.index in (None, some.device.index)
    return net if is_there and some.dtype == dtype else net.to(device, dtype)


def _numpy_dtype(dtype: torch.dtype) -> type[np.floating]:
    return np.float64 if dtype == torch.float64 else np.float32


def _joined(nets: list[TabularNet], n_members: int) -> Any:
    """Return the networks of ``n_members`` trainings as one, in evaluation mode."""
    return (nets[0] if n_members == 1 else NetworkEnsemble(nets)).eval()


def _n_parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
