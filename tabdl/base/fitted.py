"""What a fitted network is: its attributes, its predictions, and its state in a file."""

import copy
import inspect
import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from tabdl.base.facts import facts_html
from tabdl.base.isolation import isolated_torch
from tabdl.base.mixins import Task
from tabdl.base.params import NetworkParams
from tabdl.base.preparation import numpy_dtype
from tabdl.base.pretrained import Pretrained
from tabdl.data.columns import read_columns
from tabdl.data.dataset import slice_rows
from tabdl.data.encoding import FeatureEncoder
from tabdl.data.state import State
from tabdl.data.table import Schema, Table
from tabdl.data.validation import check_X
from tabdl.exceptions import tabdl_version, warn_of_version
from tabdl.network.contract import TabularNet, init_weights, materialize
from tabdl.network.rebuilding import build_blank, check_state, fill, network_state
from tabdl.params import check_params
from tabdl.tasks.targets import Target, target_from_state
from tabdl.training.devices import (
    choose_device,
    choose_dtype,
    choose_precision,
    predict_device,
    threads,
)
from tabdl.training.inference import net_outputs
from tabdl.training.run import STOP_REASONS, TrainingResult
from tabdl.training.stacking import NetworkEnsemble

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


class FittedAttributes:
    """The types of what ``fit`` sets; no dataclass, where an annotation would be a parameter."""

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


class FittedNetwork(Task, FittedAttributes, NetworkParams):
    """A network after ``fit``; what trains it is added by ``TabularEstimator``."""

    # --- the network

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

    def _architecture_params(self) -> dict[str, Any]:
        """Return copies of the parameters that shape the network."""
        own = [cls for cls in type(self).__mro__ if issubclass(cls, FittedNetwork)]
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

    # --- predicting

    def _decoded(self, X: Any, decode: Callable[[Tensor], np.ndarray]) -> np.ndarray:
        """Return what ``decode`` makes of the outputs (n, K, C) of the network for rows of X.

        Many rows are read, encoded and predicted block by block: what lies between the table and
        the predictions takes the memory of a block.
        """
        if not self.__sklearn_is_fitted__():  # scikit-learn's function gathers all tags first
            check_is_fitted(self)
        with isolated_torch():
            X = check_X(self, X, reset=False)
            device = predict_device(self.device)
            n_rows = X.shape[0]
            if n_rows <= _FEWEST_BLOCK_ROWS or n_rows <= (n_block := self._block_rows()):
                return decode(self._outputs(self._encoded(X, device), device))
            starts = range(0, n_rows, n_block)
            tables = (self._encoded_block(X, slice(at, at + n_block), device) for at in starts)
            return np.concatenate([decode(self._outputs(table, device)) for table in tables])

    def _block_rows(self) -> int:
        """Return the rows that are predicted at once."""
        net = self.module_
        # As many numbers as this are some 30 MB of float64.
        n_vectors = sum(one.n_vectors_per_row for one in getattr(net, "nets", [net]))
        n_block = 2**22 // (n_vectors * self._target.n_outputs)
        return min(max(n_block, _FEWEST_BLOCK_ROWS), _MOST_BLOCK_ROWS)

    def _encoded_block(self, X: Any, rows: slice, device: torch.device) -> Table:
        try:
            return self._encoded(slice_rows(X, rows.start, rows.stop), device)
        except (ValueError, TypeError):
            self._encoded(X, device)  # raises with the number of the row in X
            raise

    def _encoded(self, X: Any, device: torch.device) -> Table:
        """Return the rows of a checked X as a Table on the CPU, in the dtype for ``device``."""
        encoder = self.encoder_
        columns = read_columns(
            X,
            estimator_name=self._name,
            kinds=encoder.kinds,
            column_names=encoder.column_names,
            categorical=self.categorical_features,
        )
        dtype = choose_dtype(self.precision, device, self._name)
        x_num, x_cat = encoder.transform(columns, dtype=numpy_dtype(dtype))
        return Table(torch.from_numpy(x_num), torch.from_numpy(x_cat))

    def _outputs(self, table: Table, device: torch.device) -> Tensor:
        """Return the outputs of the network for the rows of a table, (n, K, C)."""
        net = _placed(self.module_, device, table.x_num.dtype)
        # One thread stays one thread, and to count the work takes time.
        has_threads = torch.get_num_threads() > 1
        work = net.n_macs * min(net.cpu_chunk_rows, len(table)) if has_threads else 0
        with threads(self.n_jobs, work):
            return net_outputs(net, table, choose_precision(self.precision, device, net), device)

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
            for name in inspect.get_annotations(FittedAttributes):
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
        return build_blank(
            lambda: builder._build_net(schema, target.n_outputs, no_rows(schema)), self._name
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
        self.module_ = joined_nets(nets, n_members)
        if n_members > 1:  # which keeps the chunks of networks that dropped predictions
            self.module_.cpu_chunk_rows = n_chunk
        self._set_fitted(encoder, target, results, n_members)
        self.n_parameters_ = count_parameters(self.module_)
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


def no_rows(schema: Schema) -> Table:
    """Return a table without rows, for a network that is built without training rows."""
    return Table(torch.empty(0, schema.n_num), torch.empty(0, len(schema.cat_names)).byte())


def new_net(
    estimator: FittedNetwork,
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


def with_pretraining(
    net: TabularNet, estimator: FittedNetwork, schema: Schema, n_outputs: int
) -> TabularNet:
    """Return a new network with what ``tabdl.pretrain`` left for its estimator, if anything.

    Parameters
    ----------
    net : TabularNet
        With its first weights, on the CPU.
    estimator : TabularEstimator
    schema : Schema
    n_outputs : int
        C.
    """
    if not isinstance(estimator.pretrain, Pretrained):
        return net
    return estimator.pretrain.put_into(
        net,
        lambda: estimator._build_net(schema, n_outputs, no_rows(schema)),
        type(estimator).__name__,
    )


def _placed(net: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the network on a device and in a dtype; where it is so already, quickly."""
    some = next(net.parameters())
    is_there = some.device.type == device.type and device.index in (None, some.device.index)
    return net if is_there and some.dtype == dtype else net.to(device, dtype)


def joined_nets(nets: list[TabularNet], n_members: int) -> Any:
    """Return the networks of ``n_members`` trainings as one, in evaluation mode."""
    return (nets[0] if n_members == 1 else NetworkEnsemble(nets)).eval()


def count_parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
