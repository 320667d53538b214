"""What an answer is: its text, whether the memory gave it, and the passages it was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mbc_store import StoredPassage


@dataclass(frozen=True, slots=True)
class Source:
    """A passage an answer was read from; ``start`` and ``end`` are character offsets into its document.

    ``text`` is the passage's, where the store keeps texts. ``telegram`` is what the codes hold of it, where
    codes are tokens: the words that were lost stand in square brackets, if the text is there to tell them.
    """

    document_id: str
    passage: int
    start: int
    end: int
    score: float
    title: str | None = None
    text: str | None = None
    telegram: str | None = None

    @classmethod
    def of(cls, passage: StoredPassage, score: float, telegram: str | None = None) -> Source:
        """The source that a stored passage with ``score`` is."""
        return cls(
            document_id=passage.document_id,
            passage=passage.index,
            start=passage.start,
            end=passage.end,
            score=score,
            title=passage.title,
            text=passage.text,
            telegram=telegram,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and whether the memory gave it.

    Attributes:
        text: what the LLM answered; empty if it abstained.
        sources: the passages that were read, best first; none where nothing was read.
        from_memory: False where nothing in memory speaks to the question and nothing was read.
        abstained: True where, for that reason, no answer was wanted; else the LLM answered untouched.
        score: the best passage's, as selected; None where there was none, or the whole bank is read.
        relevance: the probability in [0, 1] that this passage speaks to the question, if the adapter is
            calibrated (:class:`~mbc_cli.model.calibration.Calibration`); it is what a threshold is for.
        confidence: the probability in [0, 1] that the answer is right, where the adapter is calibrated for
            that as well and the answer is from memory; else the same as ``relevance``.
    """

    question: str
    text: str
    sources: tuple[Source, ...] = ()
    from_memory: bool = True
    abstained: bool = False
    score: float | None = None
    relevance: float | None = None
    confidence: float | None = None


class AnswerStream:
    """An answer on its way: iterate it for pieces of text, then read :attr:`answer`.

    ``known`` is everything but the text and the confidence in it, at once. There are no pieces where the
    answer has ``abstained``. ``finished`` completes the answer once its text is there.
    """

    def __init__(self, known: Answer, pieces: Iterator[str], finished: Callable[[Answer], Answer]) -> None:
        self.known = known
        self._pieces = pieces
        self._finished = finished
        self._text = ""

    @property
    def sources(self) -> tuple[Source, ...]:
        """The passages read."""
        return self.known.sources

    @property
    def from_memory(self) -> bool:
        """Whether the memory speaks to the question."""
        return self.known.from_memory

    @property
    def abstained(self) -> bool:
        """Whether there will be no text because it does not."""
        return self.known.abstained

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            self._text += piece
            yield piece

    @property
    def answer(self) -> Answer:
        """The whole answer; what has not been iterated yet is generated now."""
        for _ in self:
            pass
        return self._finished(replace(self.known, text=self._text))
