"""A trained network as arrays, and back: the architecture builds it again, arrays fill it.

A state holds no modules. Whoever reads one calls the ``_build_net`` of the architecture, which sees
a table without rows, and compares the shapes of the result with those of the state before any
memory is taken::

    net = build_blank(build)          # on the meta device
    fill(net, state, where)

A module that takes its sizes from the training rows has ``adapt_to(shapes)``. It gets the shapes of
its own tensors in the state, by name, and makes its parameters and buffers anew. What a module
knows from its arguments, such as an index, is a buffer with ``persistent=False``: the state leaves
it out, and ``init_weights`` sets it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tabdl.network.contract import TabularNet, init_weights, materialize

_NAMES = {"tensors", "n_predictions", "allow_bfloat16"}


def network_state(net: Any) -> dict[str, Any]:
    """Return what :func:`fill` needs: arrays on the CPU that share the memory of the network.

    Parameters
    ----------
    net : TabularNet
        ``n_predictions`` of the state is the K that is left of a net that drops some (``keep``).
    """
    tensors = {name: tensor.detach().cpu().numpy() for name, tensor in net.state_dict().items()}
    return {
        "tensors": tensors,
        "n_predictions": int(net.k) if hasattr(net, "keep") else None,
        "allow_bfloat16": bool(net.allow_bfloat16),
    }


def build_blank(build: Callable[[], TabularNet], where: str) -> TabularNet:
    """Return a network without memory.

    Parameters
    ----------
    build : callable
    where : str
        What the network belongs to, for messages.

    Raises
    ------
    ValueError
        For sizes of which torch makes no network.
    """
    try:
        with torch.device("meta"):
            return build()
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"{where}: no network can be built with the parameters at fit and without training "
            f"rows: {type(error).__name__}: {error}"
        ) from error


def fill(net: TabularNet, state: Any, where: str) -> None:
    """Give a network of :func:`build_blank` the shapes and the numbers of a state.

    Parameters
    ----------
    net : TabularNet
        Changed in place: on the CPU and in evaluation mode afterwards.
    state : dict
        From :func:`network_state`; its arrays are copied.
    where : str

    Raises
    ------
    ValueError
        For a state that does not belong to this network; no memory is taken before.
    """
    arrays = check_state(net, state, where)
    materialize(net)
    init_weights(net, torch.Generator().manual_seed(0))
    tensors = net.state_dict()
    for name, array in arrays.items():
        tensors[name].copy_(torch.from_numpy(np.array(array)))
    net.allow_bfloat16 = state["allow_bfloat16"]
    net.eval()


def check_state(net: TabularNet, state: Any, where: str) -> dict[str, np.ndarray]:
    """Give a network without memory the shapes of a state, and return the state's arrays.

    Raises
    ------
    ValueError
        For a state that does not belong to this network.
    """
    if not isinstance(state, dict) or set(state) != _NAMES:
        raise ValueError(f"{where}: the state of a network must have {sorted(_NAMES)}.")
    arrays = state["tensors"]
    if not isinstance(arrays, dict) or not all(isinstance(a, np.ndarray) for a in arrays.values()):
        raise ValueError(f"{where}: the tensors of a network must be arrays by name.")
    if not isinstance(state["allow_bfloat16"], bool):
        raise ValueError(f"{where}: allow_bfloat16 must be True or False.")
    _keep_predictions(net, state["n_predictions"], arrays, where)
    for prefix, module in net.named_modules():
        adapt: Any = getattr(module, "adapt_to", None)
        if adapt is not None:
            start = f"{prefix}." if prefix else ""
            adapt(
                {
                    name.removeprefix(start): array.shape
                    for name, array in arrays.items()
                    if name.startswith(start)
                }
            )
    if any(array.dtype == np.float64 for array in arrays.values()):
        net.double()
    expected = {name: _description(tensor) for name, tensor in net.state_dict().items()}
    given = {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}
    for name in expected | given:
        if expected.get(name) != given.get(name):
            raise ValueError(
                f"{where}: the network has {name!r} as {expected.get(name)}, and its state as "
                f"{given.get(name)}; the state belongs to other parameters, another version of "
                "tabdl, or is damaged."
            )
    return arrays


def _keep_predictions(net: Any, n_kept: Any, arrays: dict[str, np.ndarray], where: str) -> None:
    """Drop predictions of a blank network down to ``n_kept``, which is None where it cannot."""
    if not hasattr(net, "keep"):
        if n_kept is not None:
            raise ValueError(f"{where}: n_predictions must be None, got {n_kept!r}.")
        return
    # Each prediction has numbers of its own.
    n_most = min(net.k, sum(array.size for array in arrays.values()))
    if not isinstance(n_kept, int) or isinstance(n_kept, bool) or not 1 <= n_kept <= n_most:
        raise ValueError(f"{where}: n_predictions must be an int in [1, {n_most}], got {n_kept!r}.")
    if n_kept < net.k:
        net.keep(list(range(n_kept)))


def _description(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
