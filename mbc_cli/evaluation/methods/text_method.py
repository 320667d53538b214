"""What methods that keep text have in common: passages are found, and read as text."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from mbc_cli.corpus.documents import Document, Passage, Question
from mbc_cli.evaluation.held_answers import holds_answer
from mbc_cli.evaluation.method import RANKED, Method, MethodBytes, Reply
from mbc_cli.evaluation.passage_texts import PassageTexts
from mbc_cli.evaluation.text_bytes import stored_text, text_alternatives
from mbc_cli.evaluation.text_reader import ReadingOptions, text_reader
from mbc_cli.evaluation.vector_memory import AnyMemory, passages_read


class Found(NamedTuple):
    """A passage, and how much it speaks to a question."""

    passage: Passage
    score: float


class TextMethod(Method):
    """Keeps the documents as text, finds passages for each question and has the LLM read them.

    Subclasses say what is found; times ``score_scale`` its scores are log odds, by which passages that are
    read together count.
    """

    threshold: float | None = None
    ranks = True
    score_scale = 1.0

    def __init__(self, memory: AnyMemory, options: ReadingOptions) -> None:
        self.memory = memory
        self.reader = text_reader(memory, options)
        self.texts = PassageTexts(memory)
        self.top_k = options.top_k or passages_read(memory)

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        self.texts.add(documents)

    @abstractmethod
    def find(self, questions: Sequence[Question], depth: int, *, batch_size: int) -> list[list[Found]]:
        """At most ``depth`` passages for each question, best first; more depth only adds to the end."""

    def relevance(self, found: Sequence[Found]) -> float | None:
        """The probability that what was found speaks to the question; None where it cannot be told."""
        return None

    def index_bytes(self) -> MethodBytes:
        """What finding needs to be kept, beside the texts."""
        return MethodBytes()

    def reply(self, questions: Sequence[Question], *, batch_size: int) -> list[Reply]:
        found = self.find(questions, self.top_k, batch_size=batch_size)
        answers = self.reader.read(
            [question.question for question in questions],
            [[each.passage.text for each in part] for part in found],
            [_log_shares([self.score_scale * each.score for each in part]) for part in found],
            batch_size=batch_size,
        )
        return [
            Reply(
                answer,
                sources=tuple(each.passage.document_id for each in part),
                relevance=self.relevance(part),
            )
            for answer, part in zip(answers, found, strict=True)
        ]

    def explain(
        self, questions: Sequence[Question], replies: Sequence[Reply], *, batch_size: int
    ) -> list[Reply]:
        depth = max(RANKED, self.top_k) if self.ranks else self.top_k
        found = self.find(questions, depth, batch_size=batch_size)
        return [
            replace(
                reply,
                ranked=_documents(part) if self.ranks else None,
                holds_answer=self._holds_answer(question, part[: self.top_k]),
            )
            for question, reply, part in zip(questions, replies, found, strict=True)
        ]

    def _holds_answer(self, question: Question, read: Sequence[Found]) -> bool | None:
        if not read or not question.answers:
            return None
        text = self.reader.read_text(question.question, [each.passage.text for each in read])
        return holds_answer(text, question.answers, self.texts.texts_of(question.document_ids))

    def bytes(self) -> MethodBytes:
        """The text as it would be stored, what finding needs and what reading needs."""
        growing, dictionary = stored_text(self.texts.texts)
        index = self.index_bytes()
        # An adapter that finds holds the KV-LoRA that reads.
        reader: Mapping[str, float] = {} if "adapter" in index.fixed else self.reader.fixed_bytes
        return MethodBytes(
            {**index.growing, **growing},
            {**index.fixed, **reader, **dictionary},
            {
                **index.alternatives,
                **text_alternatives(self.memory.model, self.memory.tokenizers, self.texts.texts),
            },
        )


def _documents(found: Sequence[Found]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.passage.document_id for each in found))[:RANKED]


def _log_shares(scores: Sequence[float]) -> list[float]:
    """The logarithm of each one's share where scores are log-odds: log-softmax."""
    if not scores:
        return []
    best = max(scores)
    total = best + math.log(sum(math.exp(score - best) for score in scores))
    return [score - total for score in scores]
