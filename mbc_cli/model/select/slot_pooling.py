"""Slot pooling: learned queries gather a text's words, each query what its slot has come to stand for.

Every slot attends to the whole text, so a slot can own one field of a document (the place, the year), and a
codebook of its own then spends all its codes on that field. What it gathers are the LLM's raw embeddings:
pooled from contextual states, the words are lost.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.select.salience import BackboneAmortizer, Pooled
from mbc_cli.model.select.trunk import BackboneTrunk, RawEmbeddings


class SlotPooling(nn.Module):
    """Learned queries attend to a text, with a salience of each token added to its logits.

    The values are the raw embeddings; a second attention, over the trunk's states, and a feed-forward add
    what the context tells, nearly nothing at the start of training.
    """

    def __init__(self, slots: int, width: int) -> None:
        super().__init__()
        # Long queries: slots have to differ before they can divide a text among them.
        self.queries = nn.Parameter(torch.randn(slots, width) * 1.5)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width, bias=False)
        self.context_queries = nn.Parameter(torch.randn(slots, width) * 1.5)
        self.context_key = nn.Linear(width, width)
        self.context_value = nn.Linear(width, width)
        self.context_out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(2 * width, width)
        nn.init.zeros_(self.value.weight)
        nn.init.normal_(self.context_out.weight, std=0.02)
        nn.init.normal_(self.leave.weight, std=0.01)

    def forward(self, raw: Tensor, states: Tensor, salience: Tensor, attention_mask: Tensor) -> Tensor:
        """Raw embeddings and states (B, S, D), salience and mask (B, S) -> slots (B, n, D)."""
        lowest = torch.finfo(torch.float32).min
        bias = salience.float().masked_fill(attention_mask == 0, lowest)[:, None]
        nothing = torch.zeros_like(bias).masked_fill(attention_mask[:, None] == 0, lowest)
        slots = _attend(self.queries, self.key(states), raw + self.value(states), bias)
        context = _attend(self.context_queries, self.context_key(states), self.context_value(states), nothing)
        slots = slots + self.context_out(context)
        return slots + self.leave(F.gelu(self.enter(self.norm(slots))))


def _attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Single-head attention of queries (n, D) over (B, S, D) with a bias (B, 1, S), in float32: (B, n, D)."""
    with torch.autocast(keys.device.type, enabled=False):
        return F.scaled_dot_product_attention(
            queries.float().expand(len(keys), -1, -1), keys.float(), values.float(), attn_mask=bias
        )


class SlotAmortizer(BackboneAmortizer):
    """Ids -> one context vector for each of T slots."""

    def __init__(self, embeddings: RawEmbeddings, trunk: BackboneTrunk, slots: int, width: int) -> None:
        super().__init__(embeddings, trunk, slots)
        self.score = nn.Linear(width, 1)
        self.pooling = SlotPooling(slots, width)

    def pool(self, input_ids: Tensor, attention_mask: Tensor) -> Pooled:
        states = self.trunk(input_ids, attention_mask, "document")
        salience = self.score(states)[..., 0]
        vectors = self.pooling(self.embeddings(input_ids), states, salience, attention_mask)
        return Pooled(vectors, salience)
