"""Methods whose figures are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.evaluation.method import Method, MethodBytes, Reply


@dataclass
class Planted(Method):
    """Says of each question what ``says`` has for its id, and names the documents it has met as sources."""

    says: dict[str, str] = field(default_factory=dict)
    ranked: dict[str, tuple[str, ...]] = field(default_factory=dict)
    relevance: dict[str, float] = field(default_factory=dict)
    elsewhere: dict[str, float] = field(default_factory=dict)
    name: str = "planted"
    threshold: float | None = None
    met: list[str] = field(default_factory=list)

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        self.met += [document.id for document in documents]

    def reply(self, questions: Sequence[Question], *, batch_size: int) -> list[Reply]:
        return [
            Reply(
                self.says.get(question.id, ""),
                sources=self.ranked.get(question.id, ())[:1],
                ranked=self.ranked.get(question.id) if self.ranked else None,
                relevance=self.relevance.get(question.id),
                relevance_elsewhere=self.elsewhere.get(question.id),
            )
            for question in questions
        ]

    def bytes(self) -> MethodBytes:
        return MethodBytes({"planted": 7.0 * len(self.met)}, {"seed": 3.0})
