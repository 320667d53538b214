"""What a question reads in the passages selected for it, as a prefix for the LLM: one interface, two ways."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.whole_bank.aggregation import QuestionEncoding


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

    def question_vectors(self, raw: Tensor, states: Tensor, attention_mask: Tensor) -> Tensor | None:
        """What questions read with, from raw embeddings and trunk states (B, S, D) and mask (B, S).

        None if reading does not depend on the question.
        """
        return None

    @abstractmethod
    def prefix_length(self, passages: int, slots: int) -> int:
        """How many of the LLM's positions reading takes, for k passages of T slots."""

    @abstractmethod
    def forward(self, question: QuestionEncoding, vectors: Tensor, log_weights: Tensor | None) -> Prefix:
        """The prefix of passages (B, k, T, D), best first.

        ``log_weights`` (B, k) float32 are logarithms of how much each passage counts, None for one passage.
        """

    @abstractmethod
    def read_own(self, question: QuestionEncoding, vectors: Tensor, rows: Tensor) -> OwnReading:
        """What each of B questions reads in its one passage, for training.

        ``vectors`` (M, T, D) are those of M passages, ``rows`` (B,) the passage of each question.
        """
