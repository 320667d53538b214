"""Pooling: what a trunk has read of a text becomes the context vectors in its T slots.

Names never seen in training cannot be pooled into a slot that has learned a list of names; they are
spelled in sub-word tokens, and what a memory needs is which tokens, in which order. So a learned salience
picks the T tokens that questions ask about or mention, and each becomes one context vector: the LLM's raw
embedding of the token plus what its neighbourhood adds.

Where the words of a text are of known classes, each slot can own one field of it instead (the place, the
year): learned queries attend to the whole text, and a codebook of its own then spends all of a slot's codes
on that field. What is gathered are raw embeddings here too: pooled from contextual states, words are lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.select.trunk import BackboneTrunk, RawEmbeddings


class Pooled(NamedTuple):
    """What training sees of B texts: context vectors (B, T, D) and a salience logit per token (B, S).

    ``slot_ids`` (B, T) int64 are the tokens that slots stand for, -1 for none, where slots are tokens.
    """

    vectors: Tensor
    salience: Tensor
    slot_ids: Tensor | None = None


class BackboneAmortizer(nn.Module, ABC):
    """A text becomes T context vectors, read by a trunk of the LLM's own blocks."""

    def __init__(self, embeddings: RawEmbeddings, trunk: BackboneTrunk, slots: int, width: int) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.trunk = trunk
        self.slots = slots
        self.score = nn.Linear(width, 1)

    def forward(
        self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]
    ) -> Float[Tensor, "B T D"]:
        """Ids and mask (B, S), padded on the right -> context vectors (B, T, D)."""
        return self.pool(input_ids, attention_mask).vectors

    @abstractmethod
    def pool(self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]) -> Pooled:
        """The context vectors and what they were chosen by, for training."""


class SalientTokenAmortizer(BackboneAmortizer):
    """Ids -> the context vectors of the T most salient tokens, in the order of the text."""

    def __init__(self, embeddings: RawEmbeddings, trunk: BackboneTrunk, slots: int, width: int) -> None:
        super().__init__(embeddings, trunk, slots, width)
        self.context = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.context.weight)  # at first a context vector is the raw embedding itself
        self.empty = nn.Parameter(torch.randn(width))  # stands in the slots of a text of fewer tokens

    def pool(self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]) -> Pooled:
        states = self.trunk(input_ids, attention_mask, "document")
        salience = self.score(states)[..., 0]
        ranked = salience.masked_fill(attention_mask == 0, -torch.inf)
        kept = ranked.topk(min(self.slots, input_ids.shape[1]), dim=1).indices.sort(dim=1).values
        vectors = self.embeddings(input_ids) + self.context(states)
        vectors = vectors.gather(1, kept[..., None].expand(-1, -1, vectors.shape[-1]))
        # Padding sorts behind the text, so the slots in use come first.
        used = attention_mask.gather(1, kept).bool()
        vectors = torch.where(used[..., None], vectors, self.empty)
        slot_ids = input_ids.gather(1, kept).masked_fill(~used, -1)
        missing = self.slots - kept.shape[1]
        if missing:
            filler = self.empty.expand(input_ids.shape[0], missing, -1)
            vectors = torch.cat([vectors, filler], dim=1)
            slot_ids = F.pad(slot_ids, (0, missing), value=-1)
        return Pooled(vectors, salience, slot_ids)


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

    def forward(
        self,
        raw: Float[Tensor, "B S D"],
        states: Float[Tensor, "B S D"],
        salience: Float[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
    ) -> Float[Tensor, "B n D"]:
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
        super().__init__(embeddings, trunk, slots, width)
        self.pooling = SlotPooling(slots, width)

    def pool(self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]) -> Pooled:
        states = self.trunk(input_ids, attention_mask, "document")
        salience = self.score(states)[..., 0]
        vectors = self.pooling(self.embeddings(input_ids), states, salience, attention_mask)
        return Pooled(vectors, salience)
