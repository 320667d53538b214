"""Finding telegrams: late interaction over tokens, scored from the codes by table look-up.

Every token of the question looks for its best match among a passage's tokens, as ColBERT does
(arXiv 2004.12832), and rare tokens count more, as in BM25:

    score = e^tau  sum_i w_i  max_t ( cos(q_i, k(c_t)) + g [c_t = i] + neighbours ),

where k depends on the code alone, so that a table over the vocabulary answers for any number of passages
(asymmetric distance look-up, Jegou et al. 2011), g rewards the very same token, and neighbours reward the
tokens beside it for matching the tokens beside i. It starts as a count of rare tokens in common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.match_tables import MatchTables
from mbc_cli.model.select.trunk import RawEmbeddings


@dataclass(frozen=True)
class TokenQuery:
    """Questions as what to look for: ids (B, S) int64, vectors (B, S, d) of unit length and weights (B, S),
    zero on padding."""

    ids: Int[Tensor, "B S"]
    vectors: Float[Tensor, "B S d"]
    weights: Float[Tensor, "B S"]


class TokenInteraction(nn.Module):
    """Scores telegrams for questions."""

    def __init__(self, embeddings: RawEmbeddings, dimension: int, vocabulary: int) -> None:
        super().__init__()
        self._embeddings = (embeddings,)  # registered by the amortizer
        self.vocabulary = vocabulary
        width = embeddings.mean.shape[0]
        # Questions start in the passages' own space, where equal tokens match.
        self.key = nn.Parameter(torch.randn(width, dimension) / width**0.5)
        self.query = nn.Parameter(self.key.detach().clone())
        self.query_context = nn.Parameter(torch.zeros(width, dimension))
        self.weight = nn.Linear(width, 1)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)
        self.same = nn.Parameter(torch.tensor(1.0))
        self.neighbour = nn.Parameter(torch.tensor(0.25))
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        self._known_keys: tuple[object, Tensor] | None = None

    def encode(
        self,
        input_ids: Int[Tensor, "B S"],
        states: Float[Tensor, "B S D"],
        mask: Int[Tensor, "B S"],
        rarity: Float[Tensor, " vocabulary"],
    ) -> TokenQuery:
        """Question ids, mask (B, S) and trunk states (B, S, D), and the tokens' rarity (V,)."""
        raw = self._embeddings[0](input_ids)
        vectors = _unit(raw @ self.query + states @ self.query_context)
        weights = (rarity[input_ids] + 0.1) * self.weight(states)[..., 0].clamp(-4, 4).exp() * mask
        return TokenQuery(input_ids, vectors, weights / weights.sum(1, keepdim=True))

    def tables(self, query: TokenQuery) -> MatchTables:
        """What questions look for, as tables over the vocabulary and the code of slots not in use."""
        keys = self._keys()
        tables, weights = [], []
        for ids, vectors, weight in zip(query.ids, query.vectors, query.weights, strict=True):
            seen = weight > 0
            own = F.pad(keys @ vectors[seen].T, (0, 0, 0, 1))
            own[ids[seen], torch.arange(own.shape[1], device=own.device)] += self.same
            beside = self.neighbour * own
            tables.append(torch.stack([own, F.pad(beside[:, 1:], (0, 1)), F.pad(beside[:, :-1], (1, 0))]))
            weights.append(weight[seen])
        return MatchTables.of(tables, weights, offsets=(0, 1, -1), scale=self.log_scale.exp(), least=0.0)

    def _keys(self) -> Float[Tensor, "vocabulary d"]:
        """The keys of all tokens, made once for the same weights."""
        made_of = (self.key, self._embeddings[0].mean)
        # Weights made in inference mode cannot change: they have no version.
        state = tuple((id(each), None if each.is_inference() else each._version) for each in made_of)
        if self._known_keys is None or self._known_keys[0] != state:
            words = torch.arange(self.vocabulary, device=self.key.device)
            self._known_keys = state, _unit(self._embeddings[0](words[None])[0] @ self.key).detach()
        return self._known_keys[1]

    def score(self, query: TokenQuery, codes: Int[Tensor, "N T"]) -> Float[Tensor, "B N"]:
        """Scores (B, N) float32 of telegrams (N, T) int64; slots that hold V match nothing.

        Differentiable, for training: only the tokens that occur have keys.
        """
        present, places = codes.unique(return_inverse=True)
        words = present[present < self.vocabulary]
        # Rows of the table are those tokens that occur; the last one, if slots are empty, is zero.
        keys = _unit(self._embeddings[0](words[None])[0] @ self.key)
        keys = F.pad(keys, (0, 0, 0, len(present) - len(words)))
        rows = []
        for ids, vectors, weights in zip(query.ids, query.vectors, query.weights, strict=True):
            seen = weights > 0
            ids, vectors, weights = ids[seen], vectors[seen], weights[seen]
            table = keys @ vectors.T + self.same * (present[:, None] == ids)
            matches = F.embedding(places, table)  # (N, T, S)
            best = (matches + self.neighbour * _beside(matches)).amax(1)
            rows.append(best.clamp_min(0) @ weights)
        return self.log_scale.exp() * torch.stack(rows)


def _beside(matches: Tensor) -> Tensor:
    """(N, T, S): how well the tokens beside t of a passage match those beside i of a question."""
    following = F.pad(matches[:, 1:, 1:], (0, 1, 0, 1))
    before = F.pad(matches[:, :-1, :-1], (1, 0, 1, 0))
    return following + before


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1)
