"""The aggregation network: the question's slots attend over the whole bank (MBC section 3.3).

Attention does not care about order, and every vector of a bank is one of K codes. So attention over all
M*T vectors of M documents equals attention over the K codes with a bias of log(count) on the logits:

    softmax(q k^T) v over M*T vectors  =  softmax(q k_c^T + log n_c) v_c over K codes.

The bank is one set of vectors for all questions: it is projected once per block and never copied. A model
that selects reads with the same network, but each question has vectors of its own: those of its passages.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class WeightedVectors:
    """The vectors that the questions of a batch attend to: (n, D) for all of them or (B, n, D) for each.

    ``log_counts``, (n,) or (B, n) float32, says how often each stands in the bank, None once each. A bias
    on the attention's logits, it is as well the logarithm of any other weight.
    """

    vectors: Float[Tensor, "*each n D"]
    log_counts: Float[Tensor, "*each n"] | None = None

    def __post_init__(self) -> None:
        if self.vectors.shape[-2] == 0:
            raise ValueError("the bank holds no vectors: encode at least one document before asking")


class CrossAttention(nn.Module):
    """Multi-head attention of (B, T, D) over a bank, (n, D) shared by the whole batch or (B, n, D)."""

    def __init__(self, width: int, heads: int, head_dimension: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_dimension
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Linear(inner, width)

    def _split(self, x: Tensor) -> Tensor:
        """(banks, n, inner) -> (banks, heads, n, head_dimension), in float32."""
        return x.float().unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        vectors: Float[Tensor, "*each n D"],
        log_counts: Float[Tensor, "*each n"] | None,
    ) -> Float[Tensor, "B T D"]:
        # Over one bank all questions' slots are rows of one long query, so keys and values exist once.
        rows, banks = (x.flatten(0, 1)[None], vectors[None]) if vectors.dim() == 2 else (x, vectors)
        query = self._split(self.to_q(rows))
        key, value = self._split(self.to_k(banks)), self._split(self.to_v(banks))
        bias = None if log_counts is None else log_counts.reshape(len(banks), 1, 1, -1)
        # In float32 under autocast as well: log(count) of a large bank needs more than bfloat16 has.
        with torch.autocast(x.device.type, enabled=False):
            read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.to_out(read.transpose(1, 2).flatten(-2).reshape(*x.shape[:2], -1))


class CrossAttentionBlock(nn.Module):
    """Pre-norm cross-attention over the bank, then a pre-norm feed-forward, both residual."""

    def __init__(self, width: int, heads: int, head_dimension: int, feed_forward: int) -> None:
        super().__init__()
        self.norm_query = nn.LayerNorm(width)
        self.norm_bank = nn.LayerNorm(width)
        self.attention = CrossAttention(width, heads, head_dimension)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width)
        )

    def forward(self, x: Float[Tensor, "B T D"], bank: WeightedVectors) -> Float[Tensor, "B T D"]:
        x = x + self.attention(self.norm_query(x), self.norm_bank(bank.vectors), bank.log_counts)
        return x + self.feed_forward(self.norm_feed_forward(x))


class Aggregator(nn.Module):
    """Cross-attention blocks in which question slots (B, T, D) read a bank; gives the latent (B, T, D)."""

    def __init__(self, width: int, blocks: int, heads: int, head_dimension: int) -> None:
        super().__init__()
        feed_forward = min(width, 768)
        self.blocks = nn.ModuleList(
            CrossAttentionBlock(width, heads, head_dimension, feed_forward) for _ in range(blocks)
        )

    def forward(self, question: Float[Tensor, "B T D"], bank: WeightedVectors) -> Float[Tensor, "B T D"]:
        for block in self.blocks:
            question = block(question, bank)
        return question
