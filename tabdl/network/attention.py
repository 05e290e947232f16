"""Attention among the tokens of a row, to all of them or to fewer mixtures of them.

Vaswani et al.: "Attention Is All You Need" (NeurIPS 2017, 1706.03762), section 3.2; Wang et al.:
"Linformer" (2006.04768), equation 7.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tabdl.network.functional import attention
from tabdl.network.layers import Dropout, ZeroBiasLinear

COMPRESSION_DOC = (
    "For tables of hundreds of columns: attention is to so many mixtures of the tokens, which each "
    "block learns, as this share of their number (2006.04768, equation 7). Time and memory then "
    "grow less quickly. The paper has 0.064 on Epsilon, of 2,000 columns."
)


class Attention(nn.Module):
    """Multi-head self-attention, from tokens (B, T, D) to tokens (B, T, D).

    Parameters
    ----------
    d_block, n_heads : int
    dropout : float
        Of the attention probabilities.
    projects : bool
        Whether a linear layer mixes the heads.
    """

    def __init__(self, d_block: int, n_heads: int, dropout: float, projects: bool = True) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = ZeroBiasLinear(d_block, 3 * d_block)
        # One head has nothing to mix, as in the authors' package.
        has_out = projects and n_heads > 1
        self.out = ZeroBiasLinear(d_block, d_block) if has_out else nn.Identity()
        self.dropout = Dropout(dropout)

    def of_tokens(self, x: Tensor) -> Tensor:
        """Return what :meth:`forward` makes of the tokens ``x``, (B, T, D)."""
        return self(self.qkv(x))

    def forward(self, qkv: Tensor) -> Tensor:
        """Mix the values of ``qkv``, (B, T, 3 D), which ``self.qkv`` has made of the tokens."""
        n_rows, n_tokens, _ = qkv.shape
        probabilities = (n_rows, self.n_heads, n_tokens, n_tokens)
        kept = self.dropout.kept(qkv.new_empty(probabilities, dtype=torch.float32))
        return self.out(attention(qkv, self.n_heads, kept, self.dropout.scale))

    def first_token(self, x: Tensor) -> Tensor:
        """Return what :meth:`forward` gives for the first of the tokens ``x``, (B, D).

        The values of the tokens are never computed. The output of a head is
        ``W_v (sum of p_t x_t) + b_v (sum of p_t)``: one product a row instead of one a token.
        """
        d_block = x.shape[-1]
        probabilities = self.dropout(self.first_row(x))
        weights = self.qkv.weight[2 * d_block :].unflatten(0, (self.n_heads, -1))  # (H, D/H, D)
        values = torch.einsum("bhe,hde->bhd", probabilities @ x, weights)
        bias = self.qkv.bias[2 * d_block :].unflatten(0, (self.n_heads, -1))
        bias = bias * probabilities.sum(-1, keepdim=True)
        return self.out((values + bias).flatten(-2))

    def first_row(self, x: Tensor) -> Tensor:
        """Return how much the first of the tokens ``x`` attends to each, (B, H, T), sums of 1.

        The keys of the tokens are never computed. With one query q the logits of a head are
        ``q (W_k x_t + b_k) = (W_k' q) x_t`` plus a number that softmax does not see.
        """
        d_block = x.shape[-1]
        weights = self.qkv.weight[d_block : 2 * d_block].unflatten(0, (self.n_heads, -1))
        q = nn.functional.linear(x[:, 0], self.qkv.weight[:d_block], self.qkv.bias[:d_block])
        q = q.unflatten(-1, (self.n_heads, -1))
        asked = torch.einsum("bhd,hde->bhe", q, weights)
        logits = asked @ x.transpose(-2, -1) * q.shape[-1] ** -0.5
        return torch.softmax(logits, -1)


class CompressedAttention(Attention):
    """Attention to fewer keys and values than tokens, which are mixtures of theirs.

    ``softmax(q (E K)' / sqrt(d)) (F V)``, with matrices E and F of shape (S, T) that all heads
    share (Linformer, 2006.04768, equation 7, as in the code of 2106.11959). Tokens are mixed
    first, so that keys and values are computed S times a row instead of T times.

    Parameters
    ----------
    d_block, n_heads, dropout, projects : see Attention
    n_tokens : int
        T.
    n_kept : int
        S.
    """

    def __init__(
        self,
        d_block: int,
        n_heads: int,
        dropout: float,
        projects: bool = True,
        *,
        n_tokens: int,
        n_kept: int,
    ) -> None:
        super().__init__(d_block, n_heads, dropout, projects)
        self.keys = nn.Linear(n_tokens, n_kept, bias=False)
        self.values = nn.Linear(n_tokens, n_kept, bias=False)

    def of_tokens(self, x: Tensor) -> Tensor:
        """Mix the values of the tokens ``x``, (B, T, D)."""
        return self._attend(x, x)

    def first_token(self, x: Tensor) -> Tensor:
        """Return what :meth:`of_tokens` gives for the first of the tokens ``x``, (B, D)."""
        return self._attend(x[:, :1], x)[:, 0]

    def _attend(self, asking, x):
        """Return the mixed values for the tokens ``asking``, (B, Q, D)."""
        weights, biases = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        q = nn.functional.linear(asking, weights[0], biases[0])
        k = self._compressed(self.keys, x, weights[1], biases[1])
        v = self._compressed(self.values, x, weights[2], biases[2])
        q, k, v = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in (q, k, v))
        logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        mixed = self.dropout(torch.softmax(logits, -1)) @ v
        return self.out(mixed.transpose(1, 2).flatten(-2))

    def _compressed(self, mixer, x, weight, bias):
        """Return ``mixer`` of the rows of ``x weight' + bias``, (B, S, D)."""
        return mixer.weight @ x @ weight.mT + mixer.weight.sum(-1, keepdim=True) * bias


def new_attention(estimator: Any, n_tokens: int, projects: bool = True) -> Attention:
    """Return the attention of a block, as the parameters of an estimator say.

    Parameters
    ----------
    estimator : FTTransformer or AutoInt
    n_tokens : int
        Of a row.
    projects : bool
        Whether a linear layer mixes the heads.

    Raises
    ------
    ValueError
        When heads have no whole width, or no token is left of a compression.
    """
    name, d_block, n_heads = type(estimator).__name__, estimator.d_block, estimator.n_heads
    if d_block % n_heads:
        raise ValueError(
            f"{name}: d_block must be a multiple of n_heads, got d_block={d_block} and "
            f"n_heads={n_heads}."
        )
    sizes = d_block, n_heads, estimator.attention_dropout, projects
    if estimator.kv_compression is None:
        return Attention(*sizes)
    n_kept = int(estimator.kv_compression * n_tokens)
    if n_kept < 1:
        raise ValueError(
            f"{name}: kv_compression must leave a token at least, got "
            f"kv_compression={estimator.kv_compression} with {n_tokens} tokens."
        )
    return CompressedAttention(*sizes, n_tokens=n_tokens, n_kept=n_kept)
