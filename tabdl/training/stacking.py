"""Several networks of one shape as one: stacked weights, so that every layer is one operation for
all of them."""

import copy
import warnings

import torch
from torch import nn

from tabdl.network.layers import Dropout


class StackedNetworks:
    """M networks of one shape that are trained together; each stays usable alone, with the weights
    of the moment.

    While it is open (a context), the networks' weights and buffers are views of stacked ones, (M,
    ...). One network alone is used as it is.

    Parameters
    ----------
    nets : list of Module
        ``(x_num (B, Fn), x_cat (B, Fc)) -> (B, K, C)``, all on one device.
    generators : list of torch.Generator
        Where the dropout of each network draws from: a network trained beside others gets the masks
        that it would get alone.
    is_compiled : bool
        Let ``torch.compile`` join what lies between products and dropout masks; for one network
        alone, since stacked ones are larger operations already. A network that cannot be compiled
        runs as it is, with one warning.

    Attributes
    ----------
    parameters : dict of Tensor
        The weights that are trained, by name; with several networks (M, ...).
    dropouts : list of Dropout
        The layers that draw.
    """

    def __init__(self, nets, generators, is_compiled=False):
        self.nets, self.generators = nets, tuple(generators)
        self._single = Compiled(nets[0].forward) if is_compiled and len(nets) == 1 else nets[0]

    def __enter__(self):
        self._alone = (
            self.nets[0] if len(self.nets) == 1 else copy.deepcopy(self.nets[0]).to("meta")
        )
        self.parameters = dict(self.nets[0].named_parameters())
        if len(self.nets) > 1:
            self.parameters, self._buffers = torch.func.stack_module_state(self.nets)
            self._forward = torch.vmap(self._member, randomness="different")
            for i, net in enumerate(self.nets):
                for name, tensor in _tensors(net):
                    tensor.data = (self.parameters.get(name, self._buffers.get(name)))[i].detach()
        self.dropouts = [module for module in self._alone.modules() if isinstance(module, Dropout)]
        _lend(self.dropouts, self.generators)
        return self

    def __exit__(self, *exception):
        _lend(self.dropouts, (None,))  # a generator cannot be pickled
        for parameter in self.parameters.values():
            parameter.grad = None
        if len(self.nets) > 1:
            for net in self.nets:
                for _, tensor in _tensors(net):
                    tensor.data = tensor.data.clone()
            # It refers to this object: the stacked weights would wait for the garbage collector.
            self._forward = None

    def __len__(self):
        return len(self.nets)

    def train(self):
        """Switch to training mode."""
        self._alone.train()

    def __call__(self, x_num, x_cat, mix=None):
        """Return the outputs, (M, B, K, C), of inputs (M, B, Fn) and (M, B, Fc); ``mix`` is None or
        tensors of (M, ...)."""
        if len(self.nets) == 1:
            mixes = [] if mix is None else [tuple(tensor[0] for tensor in mix)]
            return self._single(x_num[0], x_cat[0], *mixes).unsqueeze(0)
        return self._forward(
            self.parameters, self._buffers, x_num, x_cat, *([] if mix is None else [mix])
        )

    def _member(self, parameters, buffers, *inputs):
        return torch.func.functional_call(self._alone, (parameters, buffers), inputs)


class Compiled:
    """A function of tensors, compiled at its first call; as it is, with one warning, when that
    fails."""

    def __init__(self, function):
        self.function, self._compiled, self._can_compile = function, None, True

    def __call__(self, *inputs):
        if self._can_compile:
            try:
                return self._call_compiled(*inputs)
            except RuntimeError as error:  # so are all errors of the compiler
                if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    raise
                self._can_compile = False
                text = str(error).strip().splitlines()[0]
                warnings.warn(
                    f"The network cannot be compiled and runs without: {text}", stacklevel=2
                )
        return self.function(*inputs)

    def _call_compiled(self, *inputs):
        with warnings.catch_warnings(action="ignore"):  # the compiler warns of what it does itself
            self._compiled = self._compiled or torch.compile(self.function, dynamic=False)
            return self._compiled(*inputs)


def _tensors(net):
    yield from net.named_parameters()
    yield from net.named_buffers()


def _lend(dropouts, generators):
    for module in dropouts:
        module.generators = generators


class NetworkEnsemble(nn.Module):
    """Networks of one shape side by side: what they predict stands in one row, as the predictions
    of one network.

    Shape: ``(x_num (B, Fn), x_cat (B, Fc))`` to (B, M K, C), of M networks that predict K times.

    Parameters
    ----------
    nets : list of TabularNet
    """

    def __init__(self, nets):
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.width = nets[0].width
        self.cpu_chunk_rows = nets[0].cpu_chunk_rows
        self.prefers_bfloat16 = nets[0].prefers_bfloat16

    @property
    def n_macs(self):
        """Multiplications of a row's forward pass, nearly."""
        return sum(net.n_macs for net in self.nets)

    @property
    def allow_bfloat16(self):
        """False once bfloat16 has led to losses that are not finite."""
        return all(net.allow_bfloat16 for net in self.nets)

    def keep(self, chosen):
        """Drop all predictions but those of ``chosen``, a list of their numbers, of networks that
        predict several times."""
        k, kept = self.nets[0].k, []
        for i, net in enumerate(self.nets):
            own = [number - i * k for number in chosen if i * k <= number < (i + 1) * k]
            if own:
                net.keep(own)
                kept.append(net)
        self.nets = nn.ModuleList(kept)

    def forward(self, x_num, x_cat):
        return torch.cat([net(x_num, x_cat) for net in self.nets], 1)


# Multiplications of a step, forward, up to which common steps are quicker on a CPU. Eight members,
# one thread, medians: MLP and ResNet 2.2 to 2.6 times as quick at 0.1 to 1 million, 1.7 at 3. At 10
# (defaults at 32 rows), two runs on one processor, two on another: MLP 1.2 and 1.4, 0.94 and 1.03,
# ResNet 1.4 and 1.6, 1.02 and 1.12; at 20 and 40, the latter alone: MLP 0.97 and 1.00, ResNet 1.03
# and 0.94; at 80: 0.97 to 1.3. FT-Transformer 1.7 at 2, 1.15 at 17, 1.5 at 35 (batches of 32), 1.01
# at 280 and 310, 0.65 at 2,500 (the default at 256 rows); TabM (four members) 1.4 at 1, 1.2 at 20,
# 1.1 at 53, 1.0 at 420.
_CPU_MACS = 12e6


def is_faster_together(net, batch_size):
    """Return whether several networks like ``net`` are trained quicker in common steps than one
    after the other."""
    is_cpu = next(net.parameters()).device.type == "cpu"
    return not is_cpu or net.n_macs * batch_size <= _CPU_MACS
