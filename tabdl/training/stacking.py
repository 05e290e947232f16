"""Several networks of one shape as one: with stacked weights a layer is one operation for all."""

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tabdl.network.contract import TabularNet
from tabdl.network.functional import RandomBits
from tabdl.network.layers import Dropout


class StackedNetworks:
    """M networks of one shape that are trained together; open it as a context.

    While it is open, the weights and buffers of the networks are views of stacked ones, (M, ...),
    so that each network can be used alone at any moment. One network alone is used as it is.

    Parameters
    ----------
    nets : list of TabularNet
        All on one device.
    generators : list of torch.Generator
        One for the dropout of each network, whose masks so are those that it would get alone.
    is_compiled : bool
        Let ``torch.compile`` join what lies between products and dropout masks. It is for one
        network alone, since the operations of stacked ones are large already. A network that
        cannot be compiled runs as it is, with one warning.

    Attributes
    ----------
    parameters : dict of Tensor
        The weights, by name; with several networks (M, ...).
    dropouts : list of Dropout
        The layers that draw.
    can_be_copied : bool
        Whether :meth:`copies` makes what is used like this object.
    """

    def __init__(
        self,
        nets: Sequence[TabularNet],
        generators: Sequence[torch.Generator],
        is_compiled: bool = False,
    ) -> None:
        self.nets = nets
        self.generators = tuple(generators)
        self.can_be_copied = len(nets) == 1 and not is_compiled
        self._copies: list[NetworkCopy] = []
        self._single = Compiled(nets[0].forward) if is_compiled and len(nets) == 1 else nets[0]

    def __enter__(self) -> "StackedNetworks":
        self._alone: nn.Module = self.nets[0]
        self.parameters: dict[str, Tensor] = dict(self.nets[0].named_parameters())
        if len(self.nets) > 1:
            self._stack()
        self.dropouts = _dropouts(self._alone)
        _lend(self.dropouts, self.generators)
        return self

    def _stack(self):
        """Make the weights of the networks views of stacked ones."""
        self._alone = copy.deepcopy(self.nets[0]).to("meta")
        self.parameters, self._buffers = torch.func.stack_module_state([*self.nets])
        self._forward: Callable[..., Tensor] | None = torch.vmap(
            self._forward_of_one, randomness="different"
        )
        stacked = self.parameters | self._buffers
        for i, net in enumerate(self.nets):
            for name, tensor in _tensors(net):
                tensor.data = stacked[name][i].detach()

    def __exit__(self, *exception: Any) -> None:
        # A generator cannot be pickled.
        _lend(self.dropouts, (None,))
        self._copies = []
        for parameter in self.parameters.values():
            parameter.grad = None
        if len(self.nets) > 1:
            for net in self.nets:
                for _, tensor in _tensors(net):
                    tensor.data = tensor.data.clone()
            # It refers to this object: the stacked weights would wait for the garbage collector.
            self._forward = None

    def __len__(self) -> int:
        return len(self.nets)

    def train(self) -> None:
        """Switch to training mode."""
        self._alone.train()
        for copied in self._copies:
            copied.net.train()

    def change(self, function: Callable[[Any], None]) -> None:
        """Apply a function to each network, and to what computes for them."""
        for net in [*self.nets, self._alone, *[copied.net for copied in self._copies]]:
            function(net)

    @contextlib.contextmanager
    def drawing_from(self, sources: Sequence[RandomBits]) -> Iterator[None]:
        """Let the dropout of each network draw from its source while the context is open."""
        layers = _dropouts(self._alone)
        _lend(layers, tuple(sources))
        try:
            yield
        finally:
            _lend(layers, self.generators)

    def copies(self, n: int) -> "list[NetworkCopy]":
        """Return copies of the one network with the same weights, each for a thread of its own."""
        shared: Any = {id(tensor): tensor for _, tensor in _tensors(self.nets[0])}
        shared |= {id(generator): generator for generator in self.generators}
        self._copies = [NetworkCopy(copy.deepcopy(self.nets[0], dict(shared))) for _ in range(n)]
        self.dropouts += [layer for copied in self._copies for layer in _dropouts(copied.net)]
        return self._copies

    def __call__(
        self, x_num: Tensor, x_cat: Tensor, mix: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """Return the outputs, (M, B, K, C).

        Parameters
        ----------
        x_num : Tensor of shape (M, B, Fn)
        x_cat : Tensor of shape (M, B, Fc)
        mix : tuple of Tensor of shape (M, ...), optional
            See :meth:`TabularNet.mixed`.
        """
        if len(self.nets) == 1:
            mixes = [] if mix is None else [tuple(tensor[0] for tensor in mix)]
            return self._single(x_num[0], x_cat[0], *mixes).unsqueeze(0)
        assert self._forward is not None, "the context is open"
        mixes = [] if mix is None else [mix]
        return self._forward(self.parameters, self._buffers, x_num, x_cat, *mixes)

    def _forward_of_one(self, parameters, buffers, *inputs):
        return torch.func.functional_call(self._alone, (parameters, buffers), inputs)


class NetworkCopy:
    """A network that is used like :class:`StackedNetworks` of one.

    Parameters
    ----------
    net : TabularNet
    """

    def __init__(self, net: TabularNet) -> None:
        self.net = net
        self._dropouts = _dropouts(net)

    @contextlib.contextmanager
    def drawing_from(self, sources: Sequence[RandomBits]) -> Iterator[None]:
        """Let dropout draw from the one source while the context is open."""
        _lend(self._dropouts, tuple(sources))
        try:
            yield
        finally:
            _lend(self._dropouts, (None,))

    def __call__(self, x_num: Tensor, x_cat: Tensor, mix: None = None) -> Tensor:
        """Return the outputs, (1, B, K, C), of rows (1, B, ...)."""
        return self.net(x_num[0], x_cat[0]).unsqueeze(0)


class Compiled:
    """A function of tensors that is compiled at its first call.

    When that fails, it runs as it is, with one warning.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self._compiled = None
        self._can_compile = True

    def __call__(self, *inputs: Any) -> Tensor:
        """Return what the function returns."""
        if self._can_compile:
            try:
                return self._call_compiled(*inputs)
            # All errors of the compiler are such.
            except RuntimeError as error:
                if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    raise
                self._can_compile = False
                text = str(error).strip().splitlines()[0]
                warnings.warn(
                    f"The network cannot be compiled and runs without: {text}", stacklevel=2
                )
        return self.function(*inputs)

    def _call_compiled(self, *inputs):
        # The compiler warns of what it does itself.
        with warnings.catch_warnings(action="ignore"):
            self._compiled = self._compiled or torch.compile(self.function, dynamic=False)
            return self._compiled(*inputs)


def _tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from net.named_parameters()
    yield from net.named_buffers()


def _dropouts(net: nn.Module) -> list[Dropout]:
    return [module for module in net.modules() if isinstance(module, Dropout)]


def _lend(dropouts, generators):
    for module in dropouts:
        module.generators = generators


class NetworkEnsemble(nn.Module):
    """Networks of one shape side by side, as one network with the predictions of all.

    Shape: ``(x_num (B, Fn), x_cat (B, Fc))`` to (B, M K, C), of M networks that predict K times.

    Parameters
    ----------
    nets : list of TabularNet
    """

    def __init__(self, nets: Sequence[TabularNet]) -> None:
        super().__init__()
        self.nets: Any = nn.ModuleList(nets)
        self.width = nets[0].width
        self.cpu_chunk_rows = nets[0].cpu_chunk_rows

    @property
    def prefers_half(self) -> bool:
        """Whether ``precision="auto"`` means numbers of 16 bits on a CUDA device."""
        return self.nets[0].prefers_half

    @property
    def n_macs(self) -> int:
        """Multiplications that the linear layers need for the forward pass of a row, nearly."""
        return sum(net.n_macs for net in self.nets)

    @property
    def allow_bfloat16(self) -> bool:
        """False once bfloat16 or float16 has led to losses that are not finite."""
        return all(net.allow_bfloat16 for net in self.nets)

    def keep(self, chosen: list[int]) -> None:
        """Drop all predictions but the ``chosen`` ones, by number, of networks with several."""
        k = self.nets[0].k
        kept = []
        for i, net in enumerate(self.nets):
            own = [number - i * k for number in chosen if i * k <= number < (i + 1) * k]
            if own:
                net.keep(own)
                kept.append(net)
        self.nets = nn.ModuleList(kept)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Return the outputs, (B, M K, C)."""
        return torch.cat([net(x_num, x_cat) for net in self.nets], 1)


# Multiplications of a step, forward, up to which common steps are quicker on a CPU.
_CPU_MACS = 12e6


def is_faster_together(net: Any, batch_size: int) -> bool:
    """Return whether several networks are trained quicker in common steps than one by one.

    Parameters
    ----------
    net : TabularNet
        One of them.
    batch_size : int
    """
    # torch.vmap has no rule for recurrent layers.
    if any(isinstance(module, nn.RNNBase) for module in net.modules()):
        return False
    is_cpu = next(net.parameters()).device.type == "cpu"
    return not is_cpu or net.n_macs * batch_size <= _CPU_MACS
