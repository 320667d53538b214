"""The key and value states that carry a memory into the frozen LLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from transformers import DynamicCache

HIDDEN = torch.finfo(torch.float32).min
"""The log-weight of what is not there."""


@dataclass(frozen=True)
class Prefix:
    """A key and a value for P virtual tokens in every layer.

    ``states`` is (layers, 2, B, kv_heads, P, head_dim): keys at index 0 of the second axis, values at 1.
    ``log_weights`` (B, P) float32 is added to the attention logits of the tokens: one of weight w is attended
    to as w tokens of its kind would be. None weighs all alike. ``ends`` (B,) int64 is the position of the
    token that follows the prefix, None the P-th. ``next_state`` (B, D) is the LLM's state after the last
    token, from which the next one follows: kept where the prefix ends with the prompt.
    """

    states: Float[Tensor, "layers 2 B kv_heads P head_dim"]
    log_weights: Float[Tensor, "B P"] | None = None
    ends: Int[Tensor, " B"] | None = None
    next_state: Float[Tensor, "B D"] | None = None

    @property
    def batch(self) -> int:
        return self.states.shape[2]

    @property
    def length(self) -> int:
        """P, the virtual tokens per layer."""
        return self.states.shape[4]

    def to_cache(self, dtype: torch.dtype | None = None) -> DynamicCache:
        """A fresh cache of `transformers` that holds the prefix, cast to ``dtype`` if given.

        Gradients flow through it. A cache grows while the LLM reads, so every forward pass or generation
        needs its own.
        """
        from transformers import DynamicCache

        states = self.states if dtype is None else self.states.to(dtype)
        return DynamicCache(ddp_cache_data=[(layer[0], layer[1]) for layer in states])

    def __getitem__(self, rows: Tensor | slice) -> Prefix:
        """The prefixes of some rows of the batch."""
        weights = None if self.log_weights is None else self.log_weights[rows]
        ends = None if self.ends is None else self.ends[rows]
        state = None if self.next_state is None else self.next_state[rows]
        return Prefix(self.states[:, :, rows], weights, ends, state)

    def side_by_side(
        self, rows: Int[Tensor, "Q k"], log_weights: Float[Tensor, "Q k"] | None = None
    ) -> Prefix:
        """Q prefixes, each made of k rows of this one that do not see each other; what follows sees them all.

        ``log_weights`` (Q, k) float32 are logarithms of how much each counts. All begin at the same position,
        so their order makes no difference, and a row that was computed once serves any number of questions.
        """
        batch, count = rows.shape
        states = self.states.index_select(2, rows.flatten()).unflatten(2, (batch, count))
        states = states.transpose(3, 4).flatten(4, 5)
        weights = self.log_weights
        if weights is None:
            weights = torch.zeros(self.batch, self.length, device=rows.device)
        weights = weights[rows]
        if log_weights is not None:
            weights = (weights + log_weights[..., None]).clamp_min(HIDDEN)
        ends = rows.new_full((batch,), self.length) if self.ends is None else self.ends[rows].amax(1)
        return Prefix(states, weights.flatten(1), ends)


@dataclass(frozen=True)
class ReadPrompts:
    """Prompts that the LLM has read, each after a prefix: how it foresaw them, and where it stands now.

    ``losses`` (B,) float32 are the negative log-likelihoods, in nats, of their tokens but the first.
    ``cache`` is what the LLM keeps, in the order of ``log_weights`` (B, S); ``ends`` and ``states`` (B, D)
    are those of the prefix that each has become.
    """

    losses: Float[Tensor, " B"]
    cache: Any
    log_weights: Float[Tensor, "B S"]
    ends: Int[Tensor, " B"]
    states: Float[Tensor, "B D"]

    def prefix(self, rows: Int[Tensor, " n"]) -> Prefix:
        """The prefixes, prompts included, from which the answers of some rows go on."""
        layers = [torch.stack([layer.keys[rows], layer.values[rows]]) for layer in self.cache.layers]
        return Prefix(torch.stack(layers), self.log_weights[rows], self.ends[rows], self.states[rows])


def put_together(parts: Sequence[tuple[Tensor, Prefix]]) -> Prefix:
    """One prefix of parts (at least one), each with the rows (n,) int64 where it belongs.

    Together they must fill all rows from 0 on. Shorter ones are filled up with what is hidden.
    """
    rows = sum(len(places) for places, _ in parts)
    length = max(part.length for _, part in parts)
    layers, two, _, heads, _, width = parts[0][1].states.shape
    states = parts[0][1].states.new_zeros(layers, two, rows, heads, length, width)
    weights = torch.full((rows, length), HIDDEN, device=states.device)
    ends = torch.empty(rows, dtype=torch.int64, device=states.device)
    for places, part in parts:
        states[:, :, places, :, : part.length] = part.states
        weights[places, : part.length] = 0.0 if part.log_weights is None else part.log_weights
        ends[places] = part.length if part.ends is None else part.ends
    last = [part.next_state for _, part in parts if part.next_state is not None]
    if not last:
        return Prefix(states, weights, ends)
    order = torch.cat([places for places, _ in parts]).argsort()
    return Prefix(states, weights, ends, torch.cat(last)[order])
