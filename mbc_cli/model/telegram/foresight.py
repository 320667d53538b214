"""Ranking passages once more by how well the LLM, having read each, foresees the question.

A passage gains log p(question | passage) - log p(question), as in query likelihood (Ponte and Croft 1998).
The winner has then been read together with the question, and its answer goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mbc_cli.model.batches import TokenBatch
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import HIDDEN, Prefix, ReadPrompts, put_together

_TOGETHER = 32  # prompts in a pass: more of them leave the processor's caches, and are no faster


@dataclass(frozen=True)
class Foresight:
    """What each of c passages gains for each of B questions, (B, c) float32 in nats, 0 where it is not read,
    and the prompts that were read after them."""

    gained: Float[Tensor, "B c"]
    places: Int[Tensor, "B c"]
    parts: list[tuple[Tensor, ReadPrompts]]

    def after(self, candidates: Int[Tensor, " B"]) -> Prefix:
        """What the answers go on from: of each question's ``candidates`` (B,), one that was read."""
        wanted = self.places.gather(1, candidates[:, None])[:, 0]
        found = []
        for pairs, prompts in self.parts:
            question, row = (wanted[:, None] == pairs).nonzero(as_tuple=True)
            if len(question):
                found.append((question, prompts.prefix(row)))
        return put_together(found)


def foresee(
    backbone: Backbone,
    prompts: TokenBatch,
    passages: Prefix,
    candidates: Int[Tensor, "B c"],
    read: Bool[Tensor, "B c"],
) -> Foresight:
    """Read prompts, padded on the left, after each of their candidates to be ``read``, and after nothing.

    ``candidates`` are places among ``passages``; where they are not to be read they are not looked at. All
    share their passes: for few questions one costs what loading the LLM's weights costs.
    """
    questions, columns = read.nonzero(as_tuple=True)
    asked = torch.arange(len(read), device=read.device)
    # Pair number n is the n-th that is read; those after them read nothing.
    question_of = torch.cat([questions, asked])
    passage_of = torch.cat([candidates[questions, columns], torch.zeros_like(asked)])
    reads_nothing = torch.arange(len(question_of), device=read.device) >= len(questions)
    lengths = prompts.attention_mask.sum(1)
    told = torch.zeros(len(question_of), device=read.device)
    parts = []
    for pairs in lengths[question_of].argsort(stable=True).split(_TOGETHER):
        rows, longest = question_of[pairs], int(lengths[question_of[pairs]].max())
        prefix = passages.side_by_side(passage_of[pairs, None])
        assert prefix.log_weights is not None
        assert prefix.ends is not None
        nothing = reads_nothing[pairs]
        prefix = Prefix(
            prefix.states,
            prefix.log_weights.masked_fill(nothing[:, None], HIDDEN),
            prefix.ends.masked_fill(nothing, 0),
        )
        done = backbone.read_prompts(
            prompts.input_ids[rows, -longest:], prompts.attention_mask[rows, -longest:], prefix
        )
        told[pairs] = -done.losses
        parts.append((pairs, done))
    places = torch.full(read.shape, -1, device=read.device)
    places[read] = torch.arange(len(questions), device=read.device)
    gained = torch.zeros(read.shape, device=read.device)
    gained[read] = told[: len(questions)] - told[len(questions) :][questions]
    return Foresight(gained, places, parts)
