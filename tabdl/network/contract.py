"""The contract of networks: what the training loop relies on, and what is checked of each.

A network is ``embedding -> backbone -> head`` with one signature,
``(x_num (B, Fn), x_cat (B, Fc)) -> (B, K, C)``: B rows, Fn numbers, Fc category codes, K
predictions a row (1 unless the architecture predicts several times), C outputs.
:class:`TabularNet` joins the three parts:

========== ======================================================================================
embedding  A module ``(x_num, x_cat) -> x``. Its ``n_channels`` is the number of channels that
           ``hidden_mix`` can exchange between rows, or None. With channels it also has
           ``mix_weight(share (B,), own (B, n_channels))``, see :meth:`TabularNet.mixed`.
           Importances by gradients need ``by_feature``, which sums numbers of the shape of ``x``
           by the feature that they belong to, (B, Fn + Fc).
backbone   A module from ``x`` to a representation of each row, (B, D).
head       A module from (B, D) to the outputs, (B, C). It computes in the dtype of its weights.
========== ======================================================================================

Any module inside may say three things:

================================ ================================================================
``init_weights(generator)``      Fills the module's own parameters and buffers, and those of the
                                 modules below if it likes. What it has filled is left as it is.
``decayed``                      A tuple with the names of parameters that have weight decay,
                                 dotted for those of modules below. Without it, the weights of
                                 linear layers have decay, and biases, normalisations and
                                 embeddings have none (2106.11959, supplementary E).
``lr_factors``                   A dict from names of parameters or modules, dotted for those
                                 below, to factors of the learning rate. Factors multiply.
================================ ================================================================

A layer of torch, or of anybody else, needs none of them: without ``init_weights`` its
``reset_parameters`` serves. A module is refused by name that has neither, that leaves a number
unfilled, that shares a parameter with another module, or that draws from torch's global random
generator in training. In the global generator the fits of several threads would meet;
:class:`tabdl.network.layers.Dropout` has a generator of its own.

Networks are built without memory, on torch's meta device: numbers that a constructor puts into a
buffer are lost, and ``init_weights`` has to put them there.
"""

import contextlib
import copy
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tabdl.network.functional import without_autocast
from tabdl.network.layers import Dropout

Net = TypeVar("Net", bound=nn.Module)

# Layers of torch that never draw in training, nor when they are reset.
_DRAWLESS = {
    nn.BatchNorm1d,
    nn.Identity,
    nn.LayerNorm,
    nn.Linear,
    nn.ModuleList,
    nn.ReLU,
    nn.SELU,
    nn.Sequential,
}
# Held while torch's global generator is lent to a module, so that fits in threads do not meet.
_GLOBAL_GENERATOR = threading.RLock()


@dataclass(frozen=True)
class Phase:
    """A part of an epoch that begins with a fresh optimizer.

    Attributes
    ----------
    begin : callable
        What is done to each network before. A weight that its outputs do not depend on from then
        on is not trained.
    n_passes : int
        How often it goes through the rows.
    lr_factor, decay_factor : float
        Factors of the learning rate and of weight decay.
    """

    begin: Callable[[Any], None]
    n_passes: int = 1
    lr_factor: float = 1.0
    decay_factor: float = 1.0


class TabularNet(nn.Module):
    """A network over the features of a table; the text above says what its three parts are.

    Parameters
    ----------
    embedding, backbone, head : Module
    n_vectors_per_row : int
        Number of vectors that the backbone works on for a row: 1, the number of tokens, or the
        number of predictions.
    cpu_chunk_rows : int
        Rows that are predicted at once on a CPU: few enough for its caches, and enough to hide the
        time of Python itself.
    cpu_step_rows : int or None
        The most rows of a batch that go forward and backward at once on a CPU; several threads take
        smaller parts. Dropout must draw equally often for each row. None: all, as batch
        normalisation needs it.

    Attributes
    ----------
    decayed : tuple of str
        Only where it differs from the rule above; see :func:`decay_all`.
    n_batch_streams : int
        Number of random orders of the rows in training. A batch takes rows from each in turn. It is
        1, or K where each of K predictions has batches of its own.
    prefers_half : bool
        Whether ``precision="auto"`` means bfloat16 on a CUDA device, or float16 on one without
        bfloat16; else it means TF32.
    allow_bfloat16 : bool
        False once bfloat16 or float16 has led to losses that are not finite.
    n_adapt_rows : int
        How many training rows ``init_from_data`` sends through the network, at most.
    """

    decayed: tuple[str, ...]
    prefers_half: bool = False
    allow_bfloat16: bool = True
    n_adapt_rows: int = 20_000
    n_batch_streams: int = 1

    def __init__(
        self,
        embedding: nn.Module,
        backbone: nn.Module,
        head: nn.Module,
        *,
        n_vectors_per_row: int = 1,
        cpu_chunk_rows: int = 512,
        cpu_step_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.n_vectors_per_row = n_vectors_per_row
        self.cpu_chunk_rows = cpu_chunk_rows
        self.cpu_step_rows = cpu_step_rows
        self.embedding: Any = embedding
        self.backbone: Any = backbone
        self.head: Any = head

    def forward(
        self, x_num: Tensor, x_cat: Tensor, mix: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """Return the outputs, (B, 1, C); ``mix`` is that of :meth:`mixed`."""
        return self.from_embedding(self.mixed(self.embedding(x_num, x_cat), mix))

    def from_embedding(self, x: Tensor) -> Tensor:
        """Return the outputs, (B, K, C), of what the embedding returns."""
        return self.outputs(self.backbone(x))

    def init_from_data(self, train_table: Any, generator: torch.Generator) -> None:
        """Adapt the weights to the training rows, a Table on the CPU; most networks do not."""

    def phases(self, epoch: int) -> Sequence[Phase]:
        """Return the phases of an epoch, from 0; the first one may have fewer than the second.

        Most networks have none: an epoch is a pass through the rows, and the optimizer goes on.
        """
        return ()

    @property
    def adapts_to_data(self) -> bool:
        """Whether :meth:`init_from_data` does something."""
        return type(self).init_from_data is not TabularNet.init_from_data

    def mixed(self, x: Tensor, mix: tuple[Tensor, ...] | None) -> Tensor:
        """Return ``x`` with channels, or a share, of another row.

        Channels are those of HiddenMix (2301.02819, section 3.4). A share of all numbers is mixup
        (1710.09412, equation 1) behind the embedding, as in manifold mixup (1806.05236).

        Row i meets row i - ``n_batch_streams``: in a batch the rows stand in random order.

        Parameters
        ----------
        x : Tensor of shape (B, ...)
            From the embedding.
        mix : None or tuple of Tensor
            The share that each row keeps of itself, (B,), alone, or with the channels that it
            keeps, 1 or 0, (B, channels). None: ``x`` is returned as it is.
        """
        if mix is None:
            return x
        is_share = len(mix) == 1
        weight = (
            mix[0].view(-1, *[1] * (x.ndim - 1)) if is_share else self.embedding.mix_weight(*mix)
        )
        return torch.lerp(x.roll(self.n_batch_streams, 0), x, weight.to(x.dtype))

    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs, (B, 1, C), of representations (B, D); never in 16 bits."""
        x = x.to(self._head_dtype) if x.dtype.itemsize == 2 else x
        with without_autocast(x.device.type):
            return self.head(x).unsqueeze(1)

    @property
    def _head_dtype(self) -> torch.dtype:
        # A head without weights has the dtype of the others.
        return next(itertools.chain(self.head.parameters(), self.parameters())).dtype

    @property
    def width(self) -> int:
        """The median input width of the linear layers, those of a numerical embedding too."""
        widths = sorted(module.in_features for module in _linear_like(self))
        return widths[len(widths) // 2] if widths else 0

    @property
    def n_macs(self) -> int:
        """Multiplications that the linear layers need for the forward pass of a row, nearly."""
        weights = [module.weight for module in _linear_like(self)]
        # Separate layers work on a vector each.
        return sum(w.numel() * (self.n_vectors_per_row if w.ndim == 2 else 1) for w in weights)


def _linear_like(module: nn.Module) -> list[Any]:
    return [layer for layer in module.modules() if _is_linear_like(layer)]


def _is_linear_like(layer: nn.Module) -> bool:
    return hasattr(layer, "in_features") and isinstance(getattr(layer, "weight", None), Tensor)


def power_of_two_rows(n_numbers: int, numbers_per_row: int) -> int:
    """Return how many rows hold about ``n_numbers``: a power of two, and at least 8."""
    return 2 ** max(3, round(math.log2(n_numbers / numbers_per_row)))


def is_foreign(module: nn.Module) -> bool:
    """Return whether somebody else than tabdl wrote the module, so that it may draw."""
    return type(module).__module__.split(".")[0] != "tabdl" and type(module) not in _DRAWLESS


def _describe(module: nn.Module, name: str) -> str:
    return f"{name or 'the network'} ({type(module).__module__}.{type(module).__qualname__})"


# --- initial weights


def materialize(net: Net) -> Net:
    """Give a network that was built on the meta device memory of the CPU, with any numbers in it.

    Raises
    ------
    TypeError
        For a parameter or buffer that two modules share, or one whose shape is not known yet.
    """
    owners: dict[int, str] = {}
    for prefix, module in net.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in own:
            path = _join(prefix, name)
            if nn.parameter.is_lazy(tensor):
                raise TypeError(f"{_describe(module, prefix)}: give it the width of its input.")
            # A copy to other memory would silently make two of it.
            if owners.setdefault(id(tensor), path) != path:
                raise TypeError(
                    f"{_describe(module, prefix)}: {name!r} is also {owners[id(tensor)]!r}; "
                    "shared parameters are not supported, hold the module itself in both places."
                )
    return net.to_empty(device="cpu")


@torch.no_grad()
def init_weights(net: nn.Module, generator: torch.Generator) -> None:
    """Fill every parameter and buffer of ``net`` from ``generator``.

    Modules are filled from the outermost to the innermost; what is filled already stays. Torch's
    global random state does not matter and does not move.

    Parameters
    ----------
    net : Module
    generator : torch.Generator
        On the CPU, as the network.

    Raises
    ------
    TypeError
        For a module that cannot be initialised, or that left a number out; the message names it.
    """
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for tensor in tensors.values():
        _mark_unfilled(tensor)
    for name, module in net.named_modules():
        _init_module(name, module, generator)
    for name, tensor in tensors.items():
        if _has_unfilled(tensor):
            parent, _, own = name.rpartition(".")
            raise TypeError(
                f"{_describe(net.get_submodule(parent), parent)}: {own!r} was not initialised; "
                "init_weights(generator) must fill every parameter and buffer of its module."
            )


def _mark_unfilled(tensor: Tensor) -> None:
    """Fill with a number that an initialisation hardly leaves behind."""
    if tensor.dtype == torch.bool:
        # True is a byte of 1.
        tensor.view(torch.uint8).fill_(255)
    else:
        tensor.fill_(_unfilled_number(tensor.dtype))


def _has_unfilled(tensor: Tensor) -> bool:
    if tensor.dtype == torch.bool:
        return bool((tensor.view(torch.uint8) == 255).any())
    if tensor.is_floating_point() or tensor.is_complex():
        return bool(tensor.isnan().any())
    return bool((tensor == _unfilled_number(tensor.dtype)).any())


def _unfilled_number(dtype: torch.dtype) -> float:
    if dtype.is_floating_point or dtype.is_complex:
        return math.nan
    info = torch.iinfo(dtype)
    return info.min if dtype.is_signed else info.max


def _init_module(name: str, module: nn.Module, generator: torch.Generator) -> None:
    """Fill what is unfilled of the own parameters and buffers of a module."""
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    filled = [(tensor, tensor.clone()) for tensor in own if not _has_unfilled(tensor)]
    fill = _filler(module)
    if fill is not None:
        with _lent_to_torch(generator) if is_foreign(module) else contextlib.nullcontext():
            fill(generator)
    elif len(filled) < len(own):
        raise TypeError(
            f"{_describe(module, name)} has parameters or buffers, but neither a method "
            "init_weights(generator) nor reset_parameters(); give it one."
        )
    for tensor, value in filled:
        tensor.copy_(value)


def _filler(module: Any) -> Callable[[torch.Generator], Any] | None:
    """Return the function of a generator that fills a module, or None."""
    if hasattr(module, "init_weights"):
        return module.init_weights
    is_linear = isinstance(module, nn.Linear)
    if is_linear and type(module).reset_parameters is nn.Linear.reset_parameters:
        return lambda generator: _init_linear(module, generator)
    # nn.MultiheadAttention spells its method with an underscore.
    reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
    return None if reset is None else lambda generator: reset()


def _init_linear(linear: nn.Linear, generator: torch.Generator) -> None:
    for parameter in (linear.weight, linear.bias):
        if parameter is not None:
            init_uniform(parameter, linear.in_features, generator)


def init_uniform(tensor: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """Fill with uniform numbers in +-1/sqrt(``fan_in``), torch's default for linear layers."""
    tensor.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)


@contextlib.contextmanager
def _lent_to_torch(generator: torch.Generator) -> Iterator[None]:
    """Let torch's global generator draw what ``generator`` says; its own state comes back."""
    seed = torch.randint(2**62, (), generator=generator).item()
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(seed))
        yield


# --- parameter groups


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that an optimizer treats alike.

    Attributes
    ----------
    names : tuple of str
    has_weight_decay : bool
    lr_factor : float
        Factor of the learning rate.
    is_hidden_matrix : bool
        Whether they are matrices of the backbone, which stand apart.
    """

    names: tuple[str, ...]
    has_weight_decay: bool
    lr_factor: float
    is_hidden_matrix: bool


def parameter_groups(net: TabularNet, matrices_apart: bool = False) -> list[ParameterGroup]:
    """Return the groups of the parameters of a network.

    Each parameter stands in exactly one group; a frozen one (``requires_grad=False``) in none.

    Parameters
    ----------
    net : TabularNet
    matrices_apart : bool
        Whether hidden matrices have groups of their own.

    Raises
    ------
    TypeError
        When ``decayed`` or ``lr_factors`` of a module names what it lacks.
    """
    decayed = decayed_names(net)
    factors = lr_factors(net)
    matrices = hidden_matrix_names(net) if matrices_apart else set()
    groups: dict[tuple[bool, float, bool], list[str]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            key = name in decayed, factors[name], name in matrices
            groups.setdefault(key, []).append(name)
    return [ParameterGroup(tuple(names), *key) for key, names in groups.items()]


def decayed_names(net: nn.Module) -> set[str]:
    """Return the names of the parameters that have weight decay."""
    names = set()
    for prefix, module in net.named_modules():
        usual = ("weight",) if isinstance(module, nn.Linear) else ()
        for name in getattr(module, "decayed", usual):
            # A parameter that a module goes without is None.
            if not isinstance(_declared(module, prefix, name, "decayed"), Tensor | None):
                raise TypeError(
                    f"{_describe(module, prefix)}: decayed must name parameters, got {name!r}."
                )
            names.add(_join(prefix, name))
    return names


def decay_all(net: TabularNet) -> TabularNet:
    """Give all parameters of a network weight decay, and return the network."""
    net.decayed = tuple(name for name, _ in net.named_parameters())
    return net


def lr_factors(net: nn.Module) -> dict[str, float]:
    """Return the factor of the learning rate of each parameter, by name."""
    factors = dict.fromkeys((name for name, _ in net.named_parameters()), 1.0)
    for prefix, module in net.named_modules():
        for name, factor in getattr(module, "lr_factors", {}).items():
            if not isinstance(_declared(module, prefix, name, "lr_factors"), Tensor | nn.Module):
                raise TypeError(
                    f"{_describe(module, prefix)}: lr_factors must name parameters or modules, got "
                    f"{name!r}."
                )
            path = _join(prefix, name)
            for parameter in factors:
                if parameter == path or parameter.startswith(path + "."):
                    factors[parameter] *= factor
    return factors


def hidden_matrix_names(net: TabularNet) -> set[str]:
    """Return the names of the weights of the linear layers between embedding and head."""
    named = net.backbone.named_modules(prefix="backbone")
    return {f"{prefix}.weight" for prefix, module in named if _is_linear_like(module)}


def _declared(module: nn.Module, prefix: str, name: str, attribute: str) -> Any:
    """Return what ``name``, an entry of ``attribute``, stands for."""
    path, _, own = name.rpartition(".")
    try:
        return getattr(module.get_submodule(path), own)
    except AttributeError:
        raise TypeError(
            f"{_describe(module, prefix)}: {attribute} names {name!r}, which it lacks."
        ) from None


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


# --- random numbers


@torch.no_grad()
def check_draws(net: TabularNet, x_num: Tensor, x_cat: Tensor) -> None:
    """Check that no module draws from torch's global generator in training.

    A network with modules of others is run on copies of some rows; our own modules do not draw.

    Parameters
    ----------
    net : TabularNet
        Initialised, on the CPU; a copy of it is run.
    x_num : Tensor of shape (B, Fn)
    x_cat : Tensor of shape (B, Fc)

    Raises
    ------
    TypeError
        For a module that draws; the message names it.
    """
    if not any(is_foreign(module) for module in net.modules()):
        return
    rows = torch.arange(2 * net.n_batch_streams) % len(x_num)
    found = ""
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        # Another thread of the user's may draw meanwhile, but hardly each time.
        for _ in range(3):
            found = _module_that_draws(copy.deepcopy(net).train(), x_num[rows], x_cat[rows])
            if not found:
                return
    raise TypeError(
        f"{found} draws from torch's global random generator, where fits in threads would meet; "
        "use tabdl.network.layers.Dropout."
    )


def _module_that_draws(net: nn.Module, x_num: Tensor, x_cat: Tensor) -> str:
    """Return the innermost module that moves the global generator, in words, or an empty string."""
    found: list[str] = []
    before: dict[nn.Module, Tensor] = {}

    def remember(module, inputs):
        before[module] = torch.get_rng_state()

    def compare(module, inputs, outputs):
        if not torch.equal(before[module], torch.get_rng_state()):
            found.append(names[module])

    names = {module: _describe(module, name) for name, module in net.named_modules()}
    for module in names:
        if isinstance(module, Dropout):
            module.generators = (torch.Generator(),)
        module.register_forward_pre_hook(remember)
        module.register_forward_hook(compare)
    net(x_num, x_cat)
    return found[0] if found else ""
