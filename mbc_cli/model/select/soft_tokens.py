"""Reading with the LLM itself: decoded slots enter as input embeddings, a telegram in its own language.

The published modulation turns a latent into key and value prefixes through learned networks. Here each
decoded vector is placed in the LLM's embedding space and the LLM reads the sequence once; the keys and
values it computes are the prefix. Every layer then sees the memory in the form it was trained on. Where a
passage may report several things, its slots are weighted by the question first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.select.reader import OwnReading, Reader
from mbc_cli.model.select.relevance import SlotRelevance
from mbc_cli.model.select.trunk import RawEmbeddings
from mbc_cli.model.whole_bank.aggregation import QuestionEncoding


class SoftTokenReader(Reader):
    """Decoded slots of the selected passages -> the prefix the LLM makes of them."""

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

    def question_vectors(self, raw: Tensor, states: Tensor, attention_mask: Tensor) -> Tensor | None:
        """(B, S, D) if slots are judged by the question."""
        if self.relevance is None:
            return None
        return self.relevance.question_vectors(raw, states, attention_mask)

    def forward(self, question: QuestionEncoding, vectors: Tensor, log_weights: Tensor | None) -> Prefix:
        """A prefix of k (1 + T) tokens, the best passage last, next to the question.

        A passage's weight is that of each of its tokens, also while later passages are read: what has next
        to no weight leaves no trace in them.
        """
        vectors = vectors.flip(1)
        if log_weights is not None:
            log_weights = log_weights.flip(1).repeat_interleave(1 + vectors.shape[2], dim=1)
        if self.relevance is not None:
            relevance = _log_weights(self._scores(question, vectors))
            log_weights = relevance if log_weights is None else log_weights + relevance
        return self._read(vectors, log_weights)

    def read_own(self, question: QuestionEncoding, vectors: Tensor, rows: Tensor) -> OwnReading:
        if self.relevance is None:
            # The LLM reads each passage once, however many questions ask about it.
            return OwnReading(self._read(vectors[:, None])[rows])
        own = vectors[rows, None]
        scores = self._scores(question, own)
        return OwnReading(self._read(own, _log_weights(scores)), relevance=scores[:, 0])

    def _scores(self, question: QuestionEncoding, vectors: Tensor) -> Tensor:
        """How relevant the slots (B, k, T, D) are, as logits (B, k, T)."""
        assert self.relevance is not None
        assert question.reading is not None
        batch, passages = vectors.shape[:2]
        asked = question.reading.repeat_interleave(passages, dim=0)
        return self.relevance(asked, vectors.flatten(0, 1)).unflatten(0, (batch, passages))

    def _read(self, vectors: Tensor, log_weights: Tensor | None = None) -> Prefix:
        """Passages (B, k, T, D) in reading order -> what the LLM's layers hold after reading them."""
        batch, passages, _, width = vectors.shape
        tokens = self._embeddings[0].restore(vectors)
        start = self.start.expand(batch, passages, 1, width)
        embeddings = torch.cat([start, tokens], dim=2).flatten(1, 2)
        return self._backbone[0].read_embeddings(embeddings, log_weights)


def _log_weights(scores: Tensor) -> Tensor:
    """Logits (B, k, T) -> log weights (B, k (1 + T)); the start of a passage always counts."""
    return F.pad(F.logsigmoid(scores), (1, 0)).flatten(1)
