"""The contract of networks: what the training loop relies on, and what is checked of each.

A network is ``embedding -> backbone -> head`` with one signature,
``(x_num (B, Fn), x_cat (B, Fc)) -> (B, K, C)``: B rows, Fn numbers, Fc category codes, K
predictions a row (1 unless the architecture predicts several times), C outputs.
:class:`TabularNet` joins the
three parts:

========== ======================================================================================
embedding  A module ``(x_num, x_cat) -> x``. Its ``n_channels`` is the number of channels that
           ``hidden_mix`` can exchange between rows, or None. With channels it also has
           ``mix_weight(share (B,), own (B, n_channels))``, see :meth:`TabularNet.mixed`.
backbone   A module from ``x`` to a representation of each row, (B, D).
head       A module from (B, D) to the outputs, (B, C). It computes in the dtype of its weights.
========== ======================================================================================

Any module inside may say three things of its own parameters, and of those alone:

================================ ================================================================
``init_weights(generator)``      Fills the module's own parameters and buffers. Without it, a
                                 linear layer has torch's distribution, and any other layer its
                                 ``reset_parameters``; both draw from the same generator.
``decayed``                      A tuple with the names of parameters that have weight decay. The
                                 weights of linear layers have it anyway; biases, normalisations
                                 and embeddings have none (2106.11959, supplementary E).
``lr_factors``                   A dict from names of parameters or submodules to factors of the
                                 learning rate. Factors of nested modules multiply.
================================ ================================================================

Networks are made without memory (on torch's meta device), then :func:`init_weights` fills them and
checks that nothing was left out. No module draws from torch's global generator: fits in threads
would meet there. :class:`tabdl.network.layers.Dropout` has a generator of its own; torch's dropout
is refused.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tabdl.network.layers import Dropout

# Layers of torch that draw from its global generator in training, where their rate is not zero.
_TORCH_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.MultiheadAttention,
    nn.RNNBase,
)


class TabularNet(nn.Module):
    """A network over a table's features; see the module's text for the three parts.

    Parameters
    ----------
    embedding, backbone, head : Module
    n_vectors_per_row : int
        Number of vectors that the backbone makes of a row: 1, the tokens of a Transformer, or the
        K predictions of TabM.
    cpu_chunk_rows : int
        Rows that are predicted at once on a CPU: few enough for its caches, enough to hide Python's
        own time.
    cpu_step_rows : int or None
        Rows of a batch that go forward and backward at once on a CPU. None: all, as batch
        normalisation needs it.

    Attributes
    ----------
    n_batch_streams : int
        Number of random orders of the rows in training. A batch takes rows from each in turn. It is
        1, or K where each of K predictions has batches of its own.
    prefers_bfloat16 : bool
        Whether ``precision="auto"`` means bfloat16 on a CUDA device; else it means TF32.
    allow_bfloat16 : bool
        False once bfloat16 has led to losses that are not finite.
    """

    prefers_bfloat16 = False
    allow_bfloat16 = True
    n_batch_streams = 1

    def __init__(
        self,
        embedding,
        backbone,
        head,
        *,
        n_vectors_per_row=1,
        cpu_chunk_rows=512,
        cpu_step_rows=None,
    ):
        super().__init__()
        self.n_vectors_per_row = n_vectors_per_row
        self.cpu_chunk_rows = cpu_chunk_rows
        self.cpu_step_rows = cpu_step_rows
        self.embedding = embedding
        self.backbone = backbone
        self.head = head

    def forward(self, x_num: Tensor, x_cat: Tensor, mix=None) -> Tensor:
        """Return the outputs, (B, 1, C); ``mix`` is that of :meth:`mixed`."""
        return self.outputs(self.backbone(self.mixed(self.embedding(x_num, x_cat), mix)))

    def init_from_data(self, train_table, generator):
        """Adapt the weights to the training rows, a Table on the CPU; most networks do not."""

    def mixed(self, x, mix):
        """Return the embedding's output with channels of another row (HiddenMix, 2301.02819, 3.4).

        Row i meets row i - ``n_batch_streams``: in a batch the rows stand in random order.

        Parameters
        ----------
        x : Tensor of shape (B, ...)
        mix : None or tuple of Tensor
            The share that stays a row's own, (B,), and for each channel whether it stays, 1 or 0,
            (B, channels). None: ``x`` is returned as it is.
        """
        if mix is None:
            return x
        weight = self.embedding.mix_weight(*mix).to(x.dtype)
        return torch.lerp(x.roll(self.n_batch_streams, 0), x, weight)

    def outputs(self, x):
        """Return the head's outputs, (B, 1, C), of representations (B, D); never in bfloat16."""
        with torch.autocast(x.device.type, enabled=False):
            return self.head(x.to(self._head_dtype)).unsqueeze(1)

    @property
    def _head_dtype(self):
        return next((p.dtype for p in self.head.parameters()), torch.float32)

    @property
    def width(self):
        """The median input width of its linear layers, those of a numerical embedding too."""
        widths = sorted(module.in_features for module in _linear_like(self))
        return widths[len(widths) // 2] if widths else 0

    @property
    def n_macs(self):
        """Multiplications of a row's forward pass, nearly."""
        weights = [module.weight for module in _linear_like(self)]
        # Separate layers work on a vector each.
        return sum(w.numel() * (self.n_vectors_per_row if w.ndim == 2 else 1) for w in weights)


def _linear_like(module):
    return [layer for layer in module.modules() if hasattr(layer, "in_features")]


def power_of_two_rows(n_numbers, row_numbers):
    """Return the number of rows of ``row_numbers`` numbers that hold about ``n_numbers``.

    It is a power of two, and at least 8.
    """
    return 2 ** max(3, round(math.log2(n_numbers / row_numbers)))


# --- initial weights


@torch.no_grad()
def init_weights(net, generator):
    """Fill every parameter and buffer of ``net`` from ``generator``.

    Torch's global random state is neither read nor moved.

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
        tensor.fill_(_unset_value(tensor.dtype))
    for name, module in net.named_modules():
        _init_module(name, module, generator)
    for name, tensor in tensors.items():
        if _holds_unset(tensor):
            parent, _, own = name.rpartition(".")
            raise TypeError(
                f"{_describe(net.get_submodule(parent), parent)}: {own!r} was not initialised; "
                "init_weights(generator) must fill every parameter and buffer of its module."
            )


def _unset_value(dtype):
    """Return a number that no initialisation leaves behind; False for booleans, which have none."""
    if dtype.is_floating_point or dtype.is_complex:
        return math.nan
    return False if dtype == torch.bool else torch.iinfo(dtype).min if dtype.is_signed else 255


def _holds_unset(tensor):
    if tensor.dtype in (torch.bool, torch.uint8):
        return False
    unset = _unset_value(tensor.dtype)
    return bool((tensor.isnan() if unset != unset else tensor == unset).any())


def _init_module(name, module, generator):
    if hasattr(module, "init_weights"):
        module.init_weights(generator)
    elif isinstance(module, nn.Linear):
        for parameter in module.parameters(recurse=False):
            init_uniform(parameter, module.in_features, generator)
    elif [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        # nn.MultiheadAttention spells its method with an underscore.
        reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        if reset is None:
            raise TypeError(
                f"{_describe(module, name)} has parameters or buffers, but neither a method "
                "init_weights(generator) nor reset_parameters(); give it one."
            )
        with _DrawFrom(generator):
            reset()


def init_uniform(tensor, fan_in, generator):
    """Fill with uniform numbers in +-1/sqrt(``fan_in``), torch's default for linear layers."""
    tensor.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)


class _DrawFrom(TorchDispatchMode):
    """Give operations that draw from the global generator another one; for this thread alone."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if _draws(func) and kwargs.get("generator") is None:
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)


def _draws(func):
    return torch.Tag.nondeterministic_seeded in func.tags


def _describe(module, name):
    return f"{name or 'the network'} ({type(module).__module__}.{type(module).__qualname__})"


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


def parameter_groups(net, matrices_apart=False):
    """Return the groups of a network's parameters; each parameter stands in exactly one.

    Parameters
    ----------
    net : TabularNet
    matrices_apart : bool
        Whether hidden matrices have groups of their own.

    Raises
    ------
    TypeError
        When ``decayed`` or ``lr_factors`` of a module names a parameter that it lacks.
    """
    decayed, factors = decayed_names(net), lr_factors(net)
    matrices = hidden_matrix_names(net) if matrices_apart else set()
    groups: dict[tuple[bool, float, bool], list[str]] = {}
    for name, _ in net.named_parameters():
        key = name in decayed, factors[name], name in matrices
        groups.setdefault(key, []).append(name)
    return [ParameterGroup(tuple(names), *key) for key, names in groups.items()]


def decayed_names(net):
    """Return the names of the parameters that have weight decay, a set."""
    names = set()
    for prefix, module in net.named_modules():
        own = ("weight",) if isinstance(module, nn.Linear) else getattr(module, "decayed", ())
        for name in own:
            _check_declared(module, prefix, name, "decayed")
            names.add(_join(prefix, name))
    return names


def lr_factors(net):
    """Return a dict from the names of all parameters to the factors of their learning rates."""
    factors = dict.fromkeys((name for name, _ in net.named_parameters()), 1.0)
    for prefix, module in net.named_modules():
        for name, factor in getattr(module, "lr_factors", {}).items():
            _check_declared(module, prefix, name, "lr_factors")
            path = _join(prefix, name)
            for parameter in factors:
                if parameter == path or parameter.startswith(path + "."):
                    factors[parameter] *= factor
    return factors


def hidden_matrix_names(net):
    """Return the names of the weights of the backbone's linear layers, without the head's."""
    named = net.backbone.named_modules(prefix="backbone")
    return {f"{prefix}.weight" for prefix, module in named if hasattr(module, "in_features")}


def _check_declared(module, prefix, name, attribute):
    path, _, own = name.rpartition(".")
    try:
        is_there = hasattr(module.get_submodule(path), own)
    except AttributeError:
        is_there = False
    if not is_there:
        raise TypeError(f"{_describe(module, prefix)}: {attribute} names {name!r}, which it lacks.")


def _join(prefix, name):
    return f"{prefix}.{name}" if prefix else name


# --- random numbers


def check_draws(net, x_num, x_cat):
    """Check that no module draws from torch's global generator in training.

    Torch's own dropout layers are found by their type. A network with modules that neither tabdl
    nor torch defines is run once, a copy of it, on the given rows.

    Parameters
    ----------
    net : TabularNet
        Initialised, on the CPU.
    x_num : Tensor of shape (B, Fn)
    x_cat : Tensor of shape (B, Fc)

    Raises
    ------
    TypeError
        For a module that draws; the message names it.
    """
    for name, module in net.named_modules():
        rate = getattr(module, "p", getattr(module, "dropout", 0.0))
        if isinstance(module, _TORCH_DROPOUTS) and rate > 0:
            raise TypeError(f"{_describe(module, name)} {_ADVICE}")
    if any(_is_foreign(module) for module in net.modules()):
        _run_watched(copy.deepcopy(net).train(), x_num, x_cat)


_ADVICE = (
    "draws from torch's global random generator, where fits in threads would meet; "
    "use tabdl.network.layers.Dropout."
)


def _is_foreign(module):
    return type(module).__module__.split(".")[0] not in ("tabdl", "torch")


@torch.no_grad()
def _run_watched(net, x_num, x_cat):
    watch = _WatchDraws(net)
    for module in net.modules():
        if isinstance(module, Dropout):
            module.generators = (torch.Generator(),)
    with watch:
        net(x_num, x_cat)


class _WatchDraws(TorchDispatchMode):
    """Refuse operations that move the global generator, and name the module that called them."""

    def __init__(self, net):
        super().__init__()
        self.called = "the network"
        for name, module in net.named_modules():
            described = _describe(module, name)
            module.register_forward_pre_hook(lambda *_, called=described: self._enter(called))

    def _enter(self, called):
        self.called = called

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not _draws(func):
            return func(*args, **(kwargs or {}))
        before = torch.get_rng_state()
        result = func(*args, **(kwargs or {}))
        if not torch.equal(before, torch.get_rng_state()):
            torch.set_rng_state(before)
            raise TypeError(f"{self.called} {_ADVICE}")
        return result
