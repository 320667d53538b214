"""One method's answer to one question, scored; what every measure and every report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mbc_cli.corpus.documents import Question
from mbc_cli.evaluation.method import Reply
from mbc_cli.metrics import Scores, score_answer


@dataclass(frozen=True, slots=True)
class Prediction:
    """A question, a method's reply and its scores, at one size of the bank.

    ``scores`` is None for questions without an accepted answer: nothing in the documents answers them, and
    they measure abstention. ``abstained`` says whether the method would have answered in use, None where it
    never abstains; ``abstained_elsewhere`` the same with the documents of the answer taken away.
    """

    question: Question
    reply: Reply
    scores: Scores | None
    abstained: bool | None = None
    abstained_elsewhere: bool | None = None

    @classmethod
    def of(cls, question: Question, reply: Reply, threshold: float | None) -> Prediction:
        """Score a reply; ``threshold`` is the method's relevance from which on it answers."""
        return cls(
            question,
            reply,
            score_answer(reply.answer, question.answers) if question.answers else None,
            _below(reply.relevance, threshold),
            _below(reply.relevance_elsewhere, threshold),
        )

    @property
    def found(self) -> bool | None:
        """Whether a document that holds the answer was read.

        None where it is not known which do, and for methods that do not tell what they read.
        """
        if not self.question.document_ids or self.scores is None:
            return None
        if self.reply.ranked is None and not self.reply.sources:
            return None
        return not set(self.question.document_ids).isdisjoint(self.reply.sources)

    @property
    def rank(self) -> int | None:
        """The place, from 1, of the first document that holds the answer; 0 where it was not ranked.

        None for methods that do not select, and where it is not known which documents hold the answer.
        """
        if self.reply.ranked is None or not self.question.document_ids or self.scores is None:
            return None
        wanted = set(self.question.document_ids)
        return next((place for place, name in enumerate(self.reply.ranked, start=1) if name in wanted), 0)

    @property
    def outcome(self) -> str | None:
        """``right``, or where a wrong answer was lost: ``not found``, ``not kept`` or ``misread``.

        None where it cannot be told: the question has no answer, or names no documents.
        """
        if self.scores is None:
            return None
        if self.scores.exact_match:
            return "right"
        if self.found is None:
            return None
        if not self.found:
            return "not found"
        return "not kept" if self.reply.holds_answer is False else "misread"

    def as_json(self) -> dict[str, Any]:
        """Everything by name; `from_json` reads it."""
        question = self.question
        return {
            "id": question.id,
            "question": question.question,
            "answers": list(question.answers),
            "document_ids": list(question.document_ids),
            **{
                name: list(value) if isinstance(value, tuple) else value
                for name, value in _fields(self.reply)
            },
            "abstained": self.abstained,
            "abstained_elsewhere": self.abstained_elsewhere,
            **({} if self.scores is None else asdict(self.scores)),
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Prediction:
        """The prediction that `as_json` wrote."""
        question = Question(line["id"], line["question"], tuple(line["answers"]), tuple(line["document_ids"]))
        reply = {field.name: line[field.name] for field in fields(Reply)}
        reply["sources"] = tuple(reply["sources"])
        reply["ranked"] = None if reply["ranked"] is None else tuple(reply["ranked"])
        scores = {field.name: line[field.name] for field in fields(Scores) if field.name in line}
        return cls(
            question,
            Reply(**reply),
            Scores(**scores) if scores else None,
            line["abstained"],
            line["abstained_elsewhere"],
        )


def _fields(reply: Reply) -> list[tuple[str, Any]]:
    return [(field.name, getattr(reply, field.name)) for field in fields(Reply)]


def _below(relevance: float | None, threshold: float | None) -> bool | None:
    return None if relevance is None or threshold is None else relevance < threshold
