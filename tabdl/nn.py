"""Layers that more than one architecture uses, their initialisation and their parameter groups.

Every network is ``embedding -> backbone -> head`` with one signature, ``(x_num (B, Fn), x_cat (B, Fc)) -> (B, K, C)``:
B rows, F features, K predictions a row (1 unless an architecture predicts K times itself), C outputs.
"""

import math

import torch
from torch import Tensor, nn

from tabdl.functional import dropout_mask


class TabularNet(nn.Module):
    """A network over a table's features.

    Parameters
    ----------
    embedding : Module
        ``(x_num (B, Fn), x_cat (B, Fc))`` to whatever the backbone takes.
    backbone : Module
        To a representation of each row, (B, D).
    head : Module
        To the outputs, (B, C).
    n_tokens : int
        How many vectors the backbone makes of a row: 1, or the tokens of a Transformer.
    cpu_chunk_rows : int
        Rows that are predicted at once on a CPU: few enough for its caches, enough to hide Python's own time.
    cpu_step_rows : int or None
        Rows of a batch that go forward and backward at once on a CPU; None: all, as batch normalisation needs it.

    Attributes
    ----------
    n_orders : int
        In training, a batch is the batches of so many random orders of the rows in turn: 1, or one for each of K predictions.
    takes_bfloat16 : bool
        False once bfloat16 has led to losses that are not finite.
    """

    takes_bfloat16 = True

    def __init__(self, embedding, backbone, head, n_tokens=1, cpu_chunk_rows=512, cpu_step_rows=None):
        super().__init__()
        self.n_orders = 1
        self.n_tokens, self.cpu_chunk_rows, self.cpu_step_rows = n_tokens, cpu_chunk_rows, cpu_step_rows
        self.embedding = embedding
        self.backbone = backbone
        self.head = head

    def forward(self, x_num: Tensor, x_cat: Tensor, mix=None) -> Tensor:
        """Return the outputs, (B, 1, C); ``mix`` is that of :meth:`mixed`."""
        return self.outputs(self.backbone(self.mixed(self.embedding(x_num, x_cat), mix)))

    def adapt(self, rows, generator):
        """Adapt the initial weights to the training rows, a Table on the CPU; most networks do not."""

    def mixed(self, x, mix):
        """Return the embedding's output ``x`` with channels of another row's (HiddenMix; Chen et al. 2023, 2301.02819, 3.4).

        Row i meets row i - ``n_orders``: in a batch the rows stand in random order.

        Parameters
        ----------
        x : Tensor of shape (B, ...)
        mix : None or tuple of Tensor
            The share that stays a row's own, (B,), and for each channel whether it stays, 1 or 0, (B, channels). None: nothing.
        """
        if mix is None:
            return x
        return torch.lerp(x.roll(self.n_orders, 0), x, self.embedding.own_weight(*mix).to(x.dtype))

    @property
    def width(self):
        """The median input width of its linear layers, those of a numerical embedding too."""
        widths = sorted(module.in_features for module in self.modules() if hasattr(module, "in_features"))
        return widths[len(widths) // 2]

    @property
    def multiplications(self):
        """Multiplications of a row's forward pass, nearly."""
        linears = [module.weight for module in self.modules() if hasattr(module, "in_features")]
        # Separate layers work on a vector each.
        return sum(weight.numel() * (self.n_tokens if weight.ndim == 2 else 1) for weight in linears)

    def outputs(self, x):
        """Return the head's outputs, (B, 1, C), of representations (B, D); never of bfloat16 numbers, also under autocast."""
        with torch.autocast(x.device.type, enabled=False):
            return self.head(x.to(self.head[-1].weight.dtype)).unsqueeze(1)


def rows_of(n_numbers, row_numbers):
    """Return how many rows of ``row_numbers`` numbers have about ``n_numbers``, a power of two of at least 8."""
    return 2 ** max(3, round(math.log2(n_numbers / row_numbers)))


class LinearEmbedding(nn.Module):
    """A token for each number: ``x_j * W_j + b_j`` (Gorishniy et al. 2021, section 3.3).

    Shape: (B, Fn) to (B, Fn, D).
    """

    def __init__(self, n_features, d_embedding):
        super().__init__()
        self.d_out = d_embedding
        self.weight = nn.Parameter(torch.empty(n_features, d_embedding))
        self.bias = nn.Parameter(torch.empty(n_features, d_embedding))

    def forward(self, x_num, linear=None):
        """Return the tokens, or ``linear`` of the tokens: ``x_j * (A W_j) + (A b_j + c)`` with its weight A and bias c."""
        weight, bias = self.weight, self.bias
        if linear is not None:
            weight, bias = nn.functional.linear(weight, linear.weight), linear(bias)
        return torch.addcmul(bias, x_num.unsqueeze(-1).to(bias.dtype), weight)


class CategoryEmbedding(nn.Module):
    """A vector for each code of each categorical feature, in one table (Gorishniy et al. 2021, section 3.3).

    Shape: (B, Fc) integer codes to (B, Fc, D).

    Parameters
    ----------
    cardinalities : sequence of int, length Fc
        Number of codes of each feature; the last code is the one that no training row has.
    d_embedding : int
        D.
    bias : bool
        Add one more vector a feature, whatever its value, as FT-Transformer does.
    features : list of int, optional
        Which of a table's categorical features these are, if not all.
    """

    def __init__(self, cardinalities, d_embedding, bias, features=None):
        super().__init__()
        self.features = list(range(len(cardinalities))) if features is None else features
        self.cardinalities = tuple(cardinalities)
        self.weight = nn.Parameter(torch.empty(sum(self.cardinalities), d_embedding))
        self.bias = nn.Parameter(torch.empty(len(self.cardinalities), d_embedding)) if bias else None
        self.register_buffer("offsets", torch.empty(len(self.cardinalities), dtype=torch.int32))

    def forward(self, x_cat, linear=None):
        """Return the vectors, or ``linear`` of the vectors."""
        weight, bias = self.weight, self.bias
        few_codes = len(weight) <= x_cat.numel()
        if linear is not None and few_codes:
            weight, bias = nn.functional.linear(weight, linear.weight), linear(bias)
        vectors = nn.functional.embedding(x_cat + self.offsets, weight)
        vectors = vectors if bias is None else vectors + bias
        return vectors if linear is None or few_codes else linear(vectors)

    @torch.no_grad()
    def shares(self, x_cat, row_weight):
        """Return the share of the training rows that each code of each feature has: a list of (codes of the feature - 1,).

        Parameters
        ----------
        x_cat : Tensor of shape (N, Fc)
            The training rows, with all categorical features of the table.
        row_weight : Tensor of shape (N,) or None
        """
        shares = []
        for codes, cardinality in zip(x_cat[:, self.features].unbind(1), self.cardinalities, strict=True):
            counts = torch.bincount(codes, row_weight, minlength=cardinality)[:-1].to(self.weight)
            shares.append(counts / counts.sum())
        return shares

    @torch.no_grad()
    def average_unseen(self, shares):
        """Give each feature's last code the mean vector of the training rows, by the ``shares`` of the other codes.

        No training row has that code, so its vector has never been trained; the mean is what the network knows of a row
        whose category says nothing.
        """
        for vectors, share in zip(self.weight.split(self.cardinalities), shares, strict=True):
            vectors[-1] = share @ vectors[:-1]


class FeatureTokenizer(nn.Module):
    """The tokens of a row, [CLS] first (section 3.3, figure 2a).

    Shape: (B, Fn), (B, Fc) to (B, 1 + Fn + Fc, D).

    Parameters
    ----------
    num : Module or None
        The numbers' embedding, (B, Fn) to (B, Fn, D).
    cardinalities : sequence of int, length Fc
    d_block : int
        D.
    """

    def __init__(self, num, cardinalities, d_block):
        super().__init__()
        self.cls = nn.Parameter(torch.empty(d_block))
        self.num = num
        self.cat = CategoryEmbedding(cardinalities, d_block, bias=True) if cardinalities else None
        self.n_channels = d_block

    def own_weight(self, share, own):
        """Return how much of each token stays a row's own, (B, 1, D), when channels are mixed between rows."""
        return own.unsqueeze(1)

    def forward(self, x_num, x_cat, linear=None):
        """Return the tokens, or ``linear(tokens)``, (B, 1 + Fn + Fc, D').

        With the linear embedding a number's token is ``x * w + b``, and a category's is a row of a table plus ``b``. So
        ``linear`` (weight W, bias c) need not see every token: ``x * (W w) + (W b + c)``, and a row of the transformed table,
        are the same.
        """
        through = linear or nn.Identity()
        tokens = [through(self.cls).expand(len(x_num), 1, -1)]
        if self.num is not None:
            is_linear = type(self.num) is LinearEmbedding
            tokens.append(self.num(x_num, linear) if is_linear else through(self.num(x_num)))
        if self.cat is not None:
            tokens.append(self.cat(x_cat, linear))
        return torch.cat(tokens, 1)


class SeparateLinear(nn.Module):
    """A linear layer for each feature.

    Shape: (B, F, d_in) to (B, F, d_out).

    Parameters
    ----------
    n_features, d_in, d_out : int
    bias : bool
    zero : bool
        Begin with weights of zero.
    """

    def __init__(self, n_features, d_in, d_out, bias=True, zero=False):
        super().__init__()
        self.zero, self.in_features = zero, d_in
        self.weight = nn.Parameter(torch.empty(n_features, d_in, d_out))
        self.bias = nn.Parameter(torch.empty(n_features, d_out)) if bias else None

    def fill(self, generator):
        """Fill with uniform numbers in +-1/sqrt(d_in), or zeros."""
        bound = self.weight.shape[1] ** -0.5
        for parameter in self.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
        if self.zero:
            self.weight.zero_()

    def forward(self, x):
        x = (x.transpose(0, 1) @ self.weight).transpose(0, 1)
        return x if self.bias is None else x + self.bias


class InputLinear(nn.Linear):
    """A linear layer of a table's numbers as they are: never rounded to bfloat16, also under autocast.

    bfloat16 has three digits. The default MLP on California Housing, test RMSE of five seeds: 0.5016 with inputs rounded so,
    0.4999 with this layer and bfloat16 behind it, 0.4980 with float32 alone; the seeds' standard deviation is 0.003.
    """

    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x)


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, so that fits in threads neither meet nor touch torch's global state.

    The mask comes from 16 random bits an element, and the scale is exact for the rate that 16 bits can express (within
    1/131072 of ``p``).

    Parameters
    ----------
    p : float in [0, 1)
        The share of elements that become zero in training.
    """

    def __init__(self, p):
        super().__init__()
        self.threshold = round(p * 65536)
        self.generators = (None,)  # torch's global one, until a fit lends its own
        self._rate = None  # threshold and scale on the device, while a schedule changes them

    @property
    def scale(self):
        """What the kept elements are multiplied with."""
        return 65536 / (65536 - self.threshold) if self._rate is None else self._rate[1]

    def lend_rate(self, device):
        """Read the rate from ``device`` from now on, or, with None, no more."""
        self._rate = (
            None if device is None else tuple(torch.empty((), dtype=t, device=device) for t in (torch.int32, torch.float32))
        )

    def set_rate(self, factor):
        """Make the rate on the device ``factor`` times the layer's own."""
        threshold = round(self.threshold * factor)
        self._rate[0].fill_(threshold)
        self._rate[1].fill_(65536 / (65536 - threshold))

    def forward(self, x):
        kept = self.kept(x)
        return x if kept is None else (x * kept).mul_(self.scale)

    def kept(self, like):
        """Return which elements stay, 1 or 0 in the shape and dtype of ``like``; None when all do."""
        if not self.training or self.threshold == 0:
            return None
        return dropout_mask(like, self.threshold if self._rate is None else self._rate[0], self.generators)

    def extra_repr(self):
        return f"p={self.threshold / 65536:.4g}"


class StochasticDepth(Dropout):
    """Leaves out a residual branch for random rows in training (Huang et al. 2016, "Deep Networks with Stochastic Depth").

    Parameters
    ----------
    p : float in [0, 1)
        The rate of the last block.
    block, n_blocks : int
        The number of this block, from 0, of so many. The rate grows linearly with the depth (section 3).
    """

    def __init__(self, p, block, n_blocks):
        super().__init__(p * (block + 1) / n_blocks)

    def forward(self, x):
        """Return the branch's output ``x``, (B, ...), with rows of zeros."""
        kept = self.kept(x[(slice(None), *[slice(1)] * (x.ndim - 1))])
        return x if kept is None else x * (kept * self.scale)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that takes a training batch of one row by its running statistics, where torch's raises."""

    def forward(self, x):
        if self.training and len(x) == 1:
            return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


@torch.no_grad()
def initialize(net, generator):
    """Fill every parameter and buffer of ``net`` from ``generator``; torch's global random state is not used.

    ========================================  ==================================================
    Linear, weight and bias                   uniform in +-1/sqrt(fan_in) (torch's default)
    Linear named ``qkv`` or ``out``, bias     zero (attention, as in the authors' package)
    LinearEmbedding, CategoryEmbedding        uniform in +-1/sqrt(D)
    a parameter named ``cls``                 uniform in +-1/sqrt(D)
    a module with a method ``fill``           as that says
    LayerNorm, BatchNorm                      weight 1, bias 0, running mean 0 and variance 1
    ========================================  ==================================================
    """

    def uniform(tensor, fan):
        tensor.uniform_(-(fan**-0.5), fan**-0.5, generator=generator)

    for name, module in net.named_modules():
        if hasattr(module, "fill"):
            module.fill(generator)
        elif isinstance(module, nn.Linear):
            uniform(module.weight, module.in_features)
            if name.rpartition(".")[2] in ("qkv", "out"):
                module.bias.zero_()
            else:
                uniform(module.bias, module.in_features)
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm1d):
            module.reset_parameters()
        elif isinstance(module, LinearEmbedding | CategoryEmbedding):
            for parameter in module.parameters():
                uniform(parameter, parameter.shape[-1])
            if isinstance(module, CategoryEmbedding):
                sizes = torch.tensor((0, *module.cardinalities[:-1]), dtype=torch.int32)
                module.offsets.copy_(sizes.cumsum(0))
        elif hasattr(module, "cls"):
            uniform(module.cls, len(module.cls))


def decayed_names(net):
    """Return the names of the parameters that weight decay acts on: the matrices of linear layers, and what a module says itself.

    Biases, normalisations, embeddings and the [CLS] token get none (Gorishniy et al. 2021, supplementary E). A module's
    ``decayed`` names more of its own parameters.
    """
    names = set()
    for prefix, module in net.named_modules():
        own = ("weight",) if isinstance(module, nn.Linear | SeparateLinear) else getattr(module, "decayed", ())
        names |= {f"{prefix}.{name}".lstrip(".") for name in own}
    return names
