"""A passage becomes a telegram: its most telling tokens, in their order, as they are.

What the reader could guess costs no slot, what questions ask for gets one. How telling a token is, its
salience, starts as its rarity among the training's documents, which answers more questions from equal numbers
of tokens than the LLM's surprisal does, and learns from questions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.select.trunk import BackboneTrunk, RawEmbeddings


class TelegramOutput(NamedTuple):
    """Of B texts: codes (B, T) int64 of tokens kept, and a salience logit for each of their tokens (B, S)."""

    codes: Tensor
    salience: Tensor


class TelegramAmortizer(nn.Module):
    """Ids -> the ids of the tokens kept. Slots not in use hold the code V, one past the vocabulary."""

    rarity: Tensor

    def __init__(
        self,
        embeddings: RawEmbeddings,
        trunk: BackboneTrunk,
        *,
        slots: int,
        kept: float,
        vocabulary: int,
        added_rarity: float = 0.0,
    ) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.trunk = trunk
        self.slots = slots
        self.kept = kept
        self.added_rarity = added_rarity
        self.empty = vocabulary
        width = embeddings.mean.shape[0]
        self.score = nn.Linear(width, 1)
        nn.init.zeros_(self.score.weight)  # at first only rarity counts
        nn.init.zeros_(self.score.bias)
        self.rarity_weight = nn.Parameter(torch.ones(()))
        # Inverse document frequency of each token, in nats; equal until the training's documents are counted.
        self.register_buffer("rarity", torch.zeros(vocabulary))

    def count(self, documents: list[Int[Tensor, " _"]]) -> None:
        """Learn the rarity of tokens from the ids of the training's documents, each (S,) int64."""
        frequency = torch.zeros_like(self.rarity)
        for ids in documents:
            frequency[ids.unique()] += 1
        rarity = ((len(documents) + 1) / (frequency + 0.5)).log()
        self.rarity.copy_(rarity.clamp_min(0))

    def forward(self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]) -> TelegramOutput:
        """Ids and mask (B, S), padded on the right -> what is kept of them."""
        states = self.trunk(input_ids, attention_mask, "document")
        # Trained on answers above all, salience gives up words that only finding needs; in use they weigh in.
        rarity_weight = self.rarity_weight + (0.0 if self.training else self.added_rarity)
        salience = self.score(states)[..., 0] + rarity_weight * (self.rarity[input_ids] - 5)
        lengths = attention_mask.sum(1)
        wanted = (self.kept * lengths).ceil().long().clamp(1, self.slots)
        return TelegramOutput(self.keep(input_ids, attention_mask, salience, wanted), salience)

    def keep(
        self,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        salience: Float[Tensor, "B S"],
        wanted: Int[Tensor, " B"],
    ) -> Int[Tensor, "B T"]:
        """The ``wanted`` (B,) most salient tokens of each text, in order: codes (B, T), T the most wanted but
        at least the number of slots. Of equally salient tokens the earlier one is kept."""
        ranked = salience.detach().masked_fill(attention_mask == 0, -torch.inf)
        order = ranked.sort(dim=1, descending=True, stable=True).indices
        rank = order.argsort(dim=1)
        kept = (rank < wanted[:, None]) & (attention_mask > 0)
        # Kept tokens first, in their order; a stable sort of "not kept" does both.
        places = (~kept).to(torch.int8).sort(dim=1, stable=True).indices
        codes = torch.where(kept, input_ids, self.empty).gather(1, places)
        longest = max(self.slots, int(kept.sum(1).max()))
        codes = codes[:, :longest]
        return F.pad(codes, (0, longest - codes.shape[1]), value=self.empty)
