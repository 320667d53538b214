"""Selection by late interaction: which passages speak to a question, scored from their codes.

Every token of the question looks for its best match among a passage's slots (MaxSim, ColBERT, arXiv
2004.12832),

    score = e^tau  sum_i w_i  max_t  cos-like(q_i, k_t),

where k_t depends on the code in slot t and, where slots keep the order of the text, on the codes in the slots
before and after it; where slots stand for something of their own, on t itself. So per question a table over
the K codes answers for any number of passages, and the bank is never decoded: the asymmetric distance
computation of product quantisation (Jégou et al. 2011, "Product quantization for nearest neighbor search").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.match_tables import MatchTables
from mbc_cli.model.select.trunk import TokenStates

# Added to squared lengths, which are of order d: beyond a text's ends vectors are zero, and the gradient of a
# plain norm explodes there.
_SOFT = 1e-2
# Passages of several levels scored together: their matches, (rows, T, S) float32, are in memory.
_ROWS = 2048


@dataclass(frozen=True)
class LateInteractionQuery:
    """Questions as vectors to match: one per token and neighbour offset, and a weight per token.

    ``vectors`` (offsets, B, S, d) of about unit length; ``weights`` (B, S), zero on padding, summing to one.
    """

    vectors: Float[Tensor, "offsets B S d"]
    weights: Float[Tensor, "B S"]


class LateInteraction(nn.Module):
    """Scores passages for questions."""

    def __init__(
        self, width: int, code_width: int, dimension: int, *, named_slots: int | None = None
    ) -> None:
        """``named_slots`` is T where slots stand for something of their own, None for tokens in order."""
        super().__init__()
        # A slot's key: its own code and, in the order of a text, the codes of its neighbours.
        self.offsets = (0, 1, -1) if named_slots is None else (0,)
        heads = len(self.offsets)
        self.key = nn.Parameter(torch.randn(heads, code_width, dimension) / code_width**0.5)
        # Questions start in the passages' own space, where equal tokens match (code_width == width).
        own = (
            self.key.detach().clone()
            if code_width == width
            else torch.randn(heads, width, dimension) / width**0.5
        )
        self.query = nn.Parameter(own)
        self.query_context = nn.Parameter(torch.zeros(heads, width, dimension))
        self.weight = nn.Linear(width, 1)
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        # What a slot stands for: the same code in two slots is not the same find.
        self.slot_key = (
            None if named_slots is None else nn.Parameter(torch.randn(named_slots, dimension) * 0.3)
        )

    def encode(self, question: TokenStates) -> LateInteractionQuery:
        """Questions, padded on the right, as what to look for."""
        raw, states = question.raw * question.mask[..., None], question.states
        shifted = torch.stack([_shift(raw, offset) for offset in self.offsets])
        vectors = torch.einsum("obsw,owd->obsd", shifted, self.query)
        vectors = vectors + torch.einsum("bsw,owd->obsd", states, self.query_context)
        logits = self.weight(states)[..., 0].masked_fill(question.mask == 0, -torch.inf)
        return LateInteractionQuery(_unit(vectors.float()), logits.float().softmax(-1))

    def score_vectors(
        self, query: LateInteractionQuery, vectors: Float[Tensor, "N T C"]
    ) -> Float[Tensor, "B N"]:
        """Scores (B, N) of passages given as code-space vectors (N, T, C); differentiable, for training."""
        keys = torch.einsum("ntc,ocd->ontd", vectors.float(), self.key.float())
        keys = _unit(keys if self.slot_key is None else keys + self.slot_key)
        matches = torch.einsum("obsd,ontd->obsnt", query.vectors, keys)
        total = matches[0].clone()
        for match, offset in zip(matches[1:], self.offsets[1:], strict=True):
            _add_shifted(total, match, offset, axis=-1)
        return self.log_scale.exp() * torch.einsum("bsn,bs->bn", total.amax(-1), query.weights)

    def tables(self, query: LateInteractionQuery, codebooks: Float[Tensor, "L G K C"]) -> MatchTables | None:
        """What questions look for, as tables over the codes of codebooks (L, G, K, C).

        None where a code has several levels: how long a key is depends on all of them together.
        """
        if len(codebooks) > 1:
            return None
        keys = _unit(self._keys(codebooks))[:, 0]
        seen = [weights > 0 for weights in query.weights]  # padding is left out rather than looked up
        return MatchTables.of(
            [
                torch.einsum("ogkd,osd->ogks", keys, vectors[:, mask]).flatten(1, 2)
                for vectors, mask in zip(query.vectors.unbind(1), seen, strict=True)
            ],
            [weights[mask] for weights, mask in zip(query.weights, seen, strict=True)],
            offsets=self.offsets,
            scale=self.log_scale.exp(),
            codes_per_slot=keys.shape[2] if keys.shape[1] > 1 else 0,
        )

    def _keys(self, codebooks: Float[Tensor, "L G K C"]) -> Float[Tensor, "offsets L slots K d"]:
        """What each code adds to a slot's key, (offsets, L, G, K, d); G is T where slots are named."""
        keys = torch.einsum("lgkc,ocd->olgkd", codebooks.float(), self.key.float())
        if self.slot_key is not None:  # a table for each slot, with the slot's own part in the first level
            keys = keys.expand(-1, -1, len(self.slot_key), -1, -1)
            own = F.pad(self.slot_key.float()[None, :, None], (0, 0, 0, 0, 0, 0, 0, len(codebooks) - 1))
            keys = keys + own
        return keys

    def score_codes(
        self,
        query: LateInteractionQuery,
        codebooks: Float[Tensor, "L G K C"],
        codes: Integer[Tensor, "N T L"],
    ) -> Float[Tensor, "B N"]:
        """The same scores (B, N) from codes (N, T, L) and codebooks (L, G, K, C), by look-up alone."""
        tables = self.tables(query, codebooks)
        if tables is not None:
            return tables.scores(codes[..., 0])
        return torch.cat([self._of_levels(query, codebooks, part.long()) for part in codes.split(_ROWS)], 1)

    def _of_levels(self, query: LateInteractionQuery, codebooks: Tensor, codes: Tensor) -> Tensor:
        """Scores (B, N) from codes (N, T, L) of several levels."""
        keys = self._keys(codebooks)
        slots = torch.arange(codes.shape[1], device=codes.device) if keys.shape[2] > 1 else None
        levels = codes.shape[-1]
        # A key's length depends on the codes of all levels together.
        scale = self._inverse_lengths(keys, codes, slots)
        rows = []
        for vectors, weights in zip(query.vectors.unbind(1), query.weights, strict=True):
            seen = weights > 0  # padding is left out rather than looked up
            total = torch.zeros(())
            for i, offset in enumerate(self.offsets):
                tables = torch.einsum("lgkd,sd->lgks", keys[i], vectors[i, seen])
                match = _look_up(tables[0], codes[..., 0], slots)
                for level in range(1, levels):
                    match = match + _look_up(tables[level], codes[..., level], slots)
                match = match * scale[i]
                # (N, T, S): slots in the middle, so that a look-up copies whole rows of the table.
                if i == 0:
                    total = match
                else:
                    _add_shifted(total, match, offset, axis=1)
            rows.append(torch.einsum("ns,s->n", total.amax(1), weights[seen]))
        return self.log_scale.exp() * torch.stack(rows)

    def _inverse_lengths(self, keys: Tensor, codes: Tensor, slots: Tensor | None) -> Tensor:
        """1 / |k| for every slot, (offsets, N, T, 1): from the Gram matrix of the levels' keys."""
        levels = codes.shape[-1]
        if slots is not None:  # a Gram matrix for each slot would be larger than the keys themselves
            found = [_look_up(keys[0, level], codes[..., level], slots) for level in range(levels)]
            return (torch.stack(found).sum(0).square().sum(-1)[None] + _SOFT).rsqrt()[..., None]
        lengths = []
        for table in keys:  # (L, G, K, d)
            square = torch.zeros(())
            for a in range(levels):
                for b in range(a, levels):
                    if a == b:
                        own = table[a].square().sum(-1, keepdim=True)
                        square = square + _look_up(own, codes[..., a], slots)[..., 0]
                    else:
                        gram = torch.einsum("gkd,gjd->gkj", table[a], table[b])
                        pair = gram.flatten(1)[..., None]
                        index = codes[..., a] * gram.shape[-1] + codes[..., b]
                        square = square + 2 * _look_up(pair, index, slots)[..., 0]
            lengths.append((square.clamp_min(0) + _SOFT).rsqrt())
        return torch.stack(lengths)[..., None]


def _unit(x: Tensor) -> Tensor:
    """Vectors of (nearly) unit length along the last axis."""
    return x * (x.square().sum(-1, keepdim=True) + _SOFT).rsqrt()


def _look_up(table: Tensor, codes: Tensor, slots: Tensor | None) -> Tensor:
    """Rows of a table (G, K, n) at codes (N, T): (N, T, n)."""
    return F.embedding(codes, table[0]) if slots is None else table[slots, codes]


def _shift(x: Tensor, offset: int) -> Tensor:
    """Token s sees token s + offset along axis 1 of (B, S, W); zeros beyond the ends."""
    moved = torch.zeros_like(x)
    _add_shifted(moved, x, offset, axis=1)
    return moved


def _add_shifted(total: Tensor, matches: Tensor, offset: int, *, axis: int) -> None:
    """Add to slot t of ``total`` the match of slot t + offset; nothing beyond the ends."""
    size = total.shape[axis] - abs(offset)
    total.narrow(axis, max(0, -offset), size).add_(matches.narrow(axis, max(0, offset), size))
