"""What every method of an evaluation does: take in documents, answer questions, say what it weighs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mbc_cli.corpus.documents import Document, Question

if TYPE_CHECKING:  # results are read without torch
    from mbc_cli.evaluation.vector_memory import AnyMemory

RANKED = 10
"""How many documents a method that selects names for each question, best first."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a method says to one question.

    Attributes:
        answer: the text, whatever the relevance: a method that can abstain answers here nevertheless.
        sources: ids of the documents that were read for it.
        ranked: ids of the documents that speak most to the question, each once, best first, at most
            :data:`RANKED`; None for methods that do not select.
        relevance: the probability in [0, 1] that what was read speaks to the question; None where the method
            cannot tell.
        relevance_elsewhere: the same, had the documents that hold the answer never been encoded; None where
            the method cannot tell, or the question names no documents.
        confidence: the probability in [0, 1] that the answer is right; None where the method cannot tell.
        holds_answer: whether what was read holds an accepted answer in words; None where that cannot be seen.
    """

    answer: str
    sources: tuple[str, ...] = ()
    ranked: tuple[str, ...] | None = None
    relevance: float | None = None
    relevance_elsewhere: float | None = None
    confidence: float | None = None
    holds_answer: bool | None = None


@dataclass(frozen=True, slots=True)
class MethodBytes:
    """What a method keeps beyond the LLM itself, in bytes, by part.

    Attributes:
        growing: what grows with the documents: codes, ids, an index, text.
        fixed: what does not: codebooks, an adapter.
        alternatives: what the growing part would take in other forms, such as text at the LLM's own
            cross-entropy; they are not in the sums.
    """

    growing: Mapping[str, float] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    alternatives: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Everything that must be kept, in bytes."""
        return sum(self.growing.values()) + sum(self.fixed.values())


class Method(Protocol):
    """One way to answer from a stream of documents.

    ``name`` is that of the registry. ``threshold`` is the relevance from which on the method would answer in
    use; None where it never abstains.
    """

    name: str
    threshold: float | None

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        """Take in the next documents of the stream."""

    def reply(self, questions: Sequence[Question], *, batch_size: int) -> list[Reply]:
        """Answer ``questions``, in order, with what has been taken in; their accepted answers are not read.

        This is what is timed.
        """

    def explain(
        self, questions: Sequence[Question], replies: Sequence[Reply], *, batch_size: int
    ) -> list[Reply]:
        """The replies with what only an evaluation asks for, such as the ranking behind each."""
        return list(replies)

    def bytes(self) -> MethodBytes:
        """What the method keeps now."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What methods are made from.

    Attributes:
        memory: the memory that is evaluated, whose LLM all methods share; empty, or what it holds stays.
        folder: an empty folder of the method's own, for what it keeps on disk.
        seed: of everything a method draws.
        options: the method's own settings, by name; those not named have their defaults.
    """

    memory: AnyMemory
    folder: Path
    seed: int = 0
    options: Mapping[str, object] = field(default_factory=dict)
