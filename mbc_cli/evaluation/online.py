"""Online adaptation, as MAC and MBC evaluate it: take in a stream of documents once, then ask about them.

The stream grows through the given sizes. At each size every question is asked whose documents are all there;
answers are generated greedily, a memory's through its store on disk. The memory is always read, as in the
publications: what a method would have abstained from in use is counted beside it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import InputError, UsageError
from mbc_cli.evaluation.method import Method, MethodBytes
from mbc_cli.evaluation.peak_memory import PeakMemory
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.metrics import scorable


@dataclass(frozen=True, slots=True)
class Stage:
    """A method at one size of the stream.

    ``first`` is how many of the predictions, which come in the order of the questions asked, ask about the
    documents of the first size; ``encode_seconds`` is the wall-clock time for the ``arrived`` documents that
    this size added. ``peak_memory`` is in bytes, of the whole process while it encoded and answered.
    """

    documents: int
    arrived: int
    predictions: tuple[Prediction, ...]
    encode_seconds: float
    answer_seconds: float
    peak_memory: int
    bytes: MethodBytes


@dataclass(frozen=True, slots=True)
class Stream:
    """Documents in their order, the questions about them and the sizes to ask at; check with :meth:`of`.

    Questions about documents that are not there are not asked. ``left_out`` are those that cannot be scored:
    nothing is left of their answers, normalised. Questions without any answer stay: nothing in the documents
    answers them.
    """

    documents: tuple[Document, ...]
    questions: tuple[Question, ...]
    sizes: tuple[int, ...]
    left_out: tuple[Question, ...] = ()

    @classmethod
    def of(
        cls, documents: Sequence[Document], questions: Sequence[Question], sizes: Sequence[int] = ()
    ) -> Stream:
        """The stream, ``sizes`` ascending, within it and its end included.

        Raises:
            MbcError: there are no documents, a size is below 1, or nothing can be asked at some size.
        """
        if not documents:
            raise InputError("there are no documents to encode", "check the file and --limit")
        if any(size < 1 for size in sizes):
            raise UsageError(f"bank sizes must be at least 1, not {min(sizes)}", None)
        present = {document.id for document in documents}
        about = [each for each in questions if present.issuperset(each.document_ids)]
        askable = [each for each in about if not each.answers or scorable(each.answers)]
        left_out = tuple(each for each in about if each.answers and not scorable(each.answers))
        within = sorted({size for size in sizes if size < len(documents)} | {len(documents)})
        stream = cls(tuple(documents), tuple(askable), tuple(within), left_out)
        for size in within:
            if not any(question.answers for question in stream.asked_at(size)):
                raise InputError(
                    f"no question asks about the first {size} documents alone",
                    "check that document_ids in the questions are ids of documents, or use larger bank sizes",
                )
        return stream

    def asking(self, most: int, *, seed: int) -> Stream:
        """The stream with at most so many of its questions, drawn by the seed, in their order.

        Raises:
            InputError: nothing is left to ask at some size.
        """
        drawn = random.Random(seed).sample(range(len(self.questions)), min(most, len(self.questions)))
        questions = [self.questions[place] for place in sorted(drawn)]
        return replace(Stream.of(self.documents, questions, self.sizes), left_out=self.left_out)

    def asked_at(self, size: int) -> list[Question]:
        """The questions whose documents are all among the first ``size``."""
        present = {document.id for document in self.documents[:size]}
        return [question for question in self.questions if present.issuperset(question.document_ids)]


def online(method: Method, stream: Stream, *, batch_size: int = 16) -> Iterator[Stage]:
    """Take ``method`` through the stream; yields a stage at each of its sizes."""
    before = 0
    for size in stream.sizes:
        arrived = stream.documents[before:size]
        asked = stream.asked_at(size)
        with PeakMemory() as peak:
            start = time.perf_counter()
            method.encode(arrived, batch_size=batch_size)
            encoded = time.perf_counter()
            replies = method.reply(asked, batch_size=batch_size)
            answered = time.perf_counter()
        replies = method.explain(asked, replies, batch_size=batch_size)
        yield Stage(
            documents=size,
            arrived=len(arrived),
            predictions=tuple(
                Prediction.of(question, reply, method.threshold)
                for question, reply in zip(asked, replies, strict=True)
            ),
            encode_seconds=encoded - start,
            answer_seconds=answered - encoded,
            peak_memory=peak.bytes,
            bytes=method.bytes(),
        )
        before = size
