"""What a question reads in the passages selected for it, as a prefix for the LLM: one interface, two ways."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.config import SlotAttentionConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.select.layer_maps import LayerMaps
from mbc_cli.model.select.pooling import SlotPooling
from mbc_cli.model.select.relevance import SlotRelevance
from mbc_cli.model.select.trunk import RawEmbeddings, TokenStates
from mbc_cli.model.whole_bank.aggregation import Aggregator, CrossAttention, WeightedVectors
from mbc_cli.model.whole_bank.modulation import Modulation

# Values and outputs of the cross-attention start as this times the identity: from the first step what is
# attended to is found in the latent.
_COPY = 0.7


class OwnReading(NamedTuple):
    """What training sees of B questions that read their own passages.

    Beside the prefix, the latent (B, P, D) it was made of and the logits (B, T) of how relevant each slot is,
    where the way of reading has them.
    """

    prefix: Prefix
    latent: Tensor | None = None
    relevance: Tensor | None = None


class Reader(nn.Module, ABC):
    """Turns decoded slots into a prefix. B questions, k passages each, T slots of D columns."""

    @abstractmethod
    def prefix_length(self, passages: int, slots: int) -> int:
        """How many of the LLM's positions reading takes, for k passages of T slots."""

    @abstractmethod
    def forward(
        self,
        question: TokenStates,
        vectors: Float[Tensor, "B k T D"],
        log_weights: Float[Tensor, "B k"] | None,
    ) -> Prefix:
        """The prefix of passages (B, k, T, D), best first.

        ``log_weights`` (B, k) float32 are logarithms of how much each passage counts, None for one passage.
        """

    @abstractmethod
    def read_own(
        self, question: TokenStates, vectors: Float[Tensor, "M T D"], rows: Int[Tensor, " B"]
    ) -> OwnReading:
        """What each of B questions reads in its one passage, for training.

        ``vectors`` (M, T, D) are those of M passages, ``rows`` (B,) the passage of each question.
        """


class SoftTokenReader(Reader):
    """The LLM itself reads: decoded slots enter as input embeddings, a telegram in its own language.

    Each decoded vector is placed in the LLM's embedding space and the LLM reads the sequence once; the keys
    and values it computes are the prefix. Every layer then sees the memory in the form it was trained on.
    Where a passage may report several things, its slots are weighted by the question first.
    """

    def __init__(
        self, backbone: Backbone, embeddings: RawEmbeddings, relevance: SlotRelevance | None = None
    ) -> None:
        """With ``relevance`` the slots of a passage count as far as they speak to the question."""
        super().__init__()
        self.relevance = relevance
        self._backbone = (backbone,)
        self._embeddings = (embeddings,)  # registered by the amortizer
        # Stands before each passage: tells the LLM that a memory begins, and parts one from the next.
        self.start = nn.Parameter(torch.randn(backbone.shape.hidden_size) * 0.02)
        beginning = backbone.transformer.config.bos_token_id
        if isinstance(beginning, int) and not self.start.is_meta:
            # The LLM has met this token before every text it learned from.
            with torch.no_grad():
                self.start.copy_(embeddings.embed(torch.tensor([[beginning]], device=backbone.device))[0, 0])

    def prefix_length(self, passages: int, slots: int) -> int:
        return passages * (1 + slots)

    def forward(
        self,
        question: TokenStates,
        vectors: Float[Tensor, "B k T D"],
        log_weights: Float[Tensor, "B k"] | None,
    ) -> Prefix:
        """A prefix of k (1 + T) tokens, the best passage last, next to the question.

        A passage's weight is that of each of its tokens, also while later passages are read: what has next
        to no weight leaves no trace in them.
        """
        vectors = vectors.flip(1)
        if log_weights is not None:
            log_weights = log_weights.flip(1).repeat_interleave(1 + vectors.shape[2], dim=1)
        if self.relevance is not None:
            relevance = _log_weights(self.relevance.of_passages(question, vectors))
            log_weights = relevance if log_weights is None else log_weights + relevance
        return self._read(vectors, log_weights)

    def read_own(
        self, question: TokenStates, vectors: Float[Tensor, "M T D"], rows: Int[Tensor, " B"]
    ) -> OwnReading:
        if self.relevance is None:
            # The LLM reads each passage once, however many questions ask about it.
            return OwnReading(self._read(vectors[:, None])[rows])
        own = vectors[rows, None]
        scores = self.relevance.of_passages(question, own)
        return OwnReading(self._read(own, _log_weights(scores)), relevance=scores[:, 0])

    def _read(self, vectors: Tensor, log_weights: Tensor | None = None) -> Prefix:
        """Passages (B, k, T, D) in reading order -> what the LLM's layers hold after reading them."""
        batch, passages, _, width = vectors.shape
        tokens = self._embeddings[0].restore(vectors)
        start = self.start.expand(batch, passages, 1, width)
        embeddings = torch.cat([start, tokens], dim=2).flatten(1, 2)
        return self._backbone[0].read_embeddings(embeddings, log_weights)


class SlotAttentionReader(Reader):
    """As published, but in the selected passages only: cross-attention to a latent, then modulation.

    P vectors of the question attend to the decoded slots of its passages, and each becomes one prefix token
    in every layer of the LLM.
    """

    def __init__(self, backbone: Backbone, config: SlotAttentionConfig) -> None:
        super().__init__()
        width = backbone.shape.hidden_size
        self.score = nn.Linear(width, 1, bias=False)  # the salience of a question's tokens
        self.pooling = SlotPooling(config.prefix_tokens, width)
        self.aggregator = Aggregator(width, config.blocks, config.heads, config.head_dimension)
        for part in self.aggregator.modules():
            if isinstance(part, CrossAttention):
                _start_as_copy(part)
        self.norm = nn.LayerNorm(width)
        self.modulation = Modulation(
            backbone.shape, config.prefix_tokens, config.hidden, to_kv=LayerMaps(backbone)
        )

    def prefix_length(self, passages: int, slots: int) -> int:
        return self.modulation.prefix_tokens

    def forward(
        self,
        question: TokenStates,
        vectors: Float[Tensor, "B k T D"],
        log_weights: Float[Tensor, "B k"] | None,
    ) -> Prefix:
        """A prefix of P tokens, whatever k."""
        return self.modulation(self.latent(question, vectors, log_weights))

    def read_own(
        self, question: TokenStates, vectors: Float[Tensor, "M T D"], rows: Int[Tensor, " B"]
    ) -> OwnReading:
        latent = self.latent(question, vectors[rows, None], None)
        return OwnReading(self.modulation(latent), latent)

    def question_vectors(self, question: TokenStates) -> Float[Tensor, "B P D"]:
        """The vectors (B, P, D) that attend to what is read."""
        salience = self.score(question.states)[..., 0]
        return self.pooling(question.raw, question.states, salience, question.mask)

    def latent(
        self,
        question: TokenStates,
        vectors: Float[Tensor, "B k T D"],
        log_weights: Float[Tensor, "B k"] | None,
    ) -> Float[Tensor, "B P D"]:
        """What was read, (B, P, D), from passages (B, k, T, D) with log weights (B, k)."""
        if log_weights is not None:
            log_weights = log_weights.repeat_interleave(vectors.shape[2], dim=1)
        attended = WeightedVectors(vectors.flatten(1, 2), log_weights)
        return self.norm(self.aggregator(self.question_vectors(question), attended))


def _log_weights(scores: Tensor) -> Tensor:
    """Logits (B, k, T) -> log weights (B, k (1 + T)); the start of a passage always counts."""
    return F.pad(F.logsigmoid(scores), (1, 0)).flatten(1)


@torch.no_grad()
def _start_as_copy(attention: CrossAttention) -> None:
    """Let values and output pass on what is attended to, as far as the heads' width allows."""
    inner, width = attention.to_v.weight.shape
    if attention.to_v.weight.is_meta:
        return
    # Heads wider than the vectors hold several copies of a column, heads narrower not all columns.
    copies = F.one_hot(torch.arange(inner) % width, width).float()
    for weight, start in (
        (attention.to_v.weight, copies),
        (attention.to_out.weight, (copies / copies.sum(0).clamp_min(1)).T),
    ):
        weight.copy_(_COPY * start + 0.01 * torch.randn_like(start))
    nn.init.zeros_(attention.to_out.bias)
