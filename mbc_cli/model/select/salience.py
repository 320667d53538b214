"""Salient-token pooling: a passage's context vectors are those of its T most telling tokens, in order.

Names never seen in training cannot be pooled into a slot that has learned a list of names; they are
spelled in sub-word tokens, and what a memory needs is which tokens, in which order. So a learned salience
picks the T tokens that questions ask about or mention, and each becomes one context vector: the LLM's raw
embedding of the token plus what its neighbourhood adds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
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

    def __init__(self, embeddings: RawEmbeddings, trunk: BackboneTrunk, slots: int) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.trunk = trunk
        self.slots = slots

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask (B, S), padded on the right -> context vectors (B, T, D)."""
        return self.pool(input_ids, attention_mask).vectors

    @abstractmethod
    def pool(self, input_ids: Tensor, attention_mask: Tensor) -> Pooled:
        """The context vectors and what they were chosen by, for training."""


class SalientTokenAmortizer(BackboneAmortizer):
    """Ids -> the context vectors of the T most salient tokens, in the order of the text."""

    def __init__(self, embeddings: RawEmbeddings, trunk: BackboneTrunk, slots: int, width: int) -> None:
        super().__init__(embeddings, trunk, slots)
        self.score = nn.Linear(width, 1)
        self.context = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.context.weight)  # at first a context vector is the raw embedding itself
        self.empty = nn.Parameter(torch.randn(width))  # stands in the slots of a text of fewer tokens

    def pool(self, input_ids: Tensor, attention_mask: Tensor) -> Pooled:
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


def salience_loss(
    salience: Tensor,
    document_ids: Tensor,
    document_mask: Tensor,
    asked: list[Tensor],
    mentioned: list[Tensor],
) -> Tensor:
    """Binary cross-entropy that ranks a passage's tokens by how likely a question needs them.

    A token that an answer contains is wanted. One that a question of this passage contains is wanted as far
    as other questions do not contain it: names are, "which" and "the" are not.

    Args:
        salience: logits (B, S).
        document_ids, document_mask: (B, S).
        asked: per document, the token ids of its questions' answers.
        mentioned: per document, the token ids of its questions.
    """
    wanted = torch.zeros_like(salience)
    everywhere = torch.cat([ids.unique() for ids in mentioned if len(ids)])
    share = torch.bincount(everywhere, minlength=int(document_ids.max()) + 1).float()
    share = (share - 1).clamp_min(0) / max(1, len(mentioned) - 1)
    for row, (answers, questions) in enumerate(zip(asked, mentioned, strict=True)):
        ids = document_ids[row]
        rarity = torch.isin(ids, questions) * (1 - share[ids])
        wanted[row] = torch.where(torch.isin(ids, answers), 1.0, rarity.clamp(0, 1))
    loss = F.binary_cross_entropy_with_logits(salience.float(), wanted, reduction="none")
    return (loss * document_mask).sum() / document_mask.sum()
