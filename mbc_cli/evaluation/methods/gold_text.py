"""``gold-text``: text of the documents that hold the answer: what finding the right one would give.

Of a document of many passages those are read that share most with the question, by BM25, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mbc_cli.corpus.documents import Question
from mbc_cli.evaluation.method import Setting
from mbc_cli.evaluation.methods.bm25 import Bm25Index, require_bm25s
from mbc_cli.evaluation.methods.text_method import Found, TextMethod
from mbc_cli.evaluation.options import read_options
from mbc_cli.evaluation.text_reader import READING_GRID, ReadingOptions


class GoldTextMethod(TextMethod):
    """Reads the passages of the documents that each question names; of questions that name none, nothing."""

    name = "gold-text"
    ranks = False
    GRID: Sequence[Mapping[str, object]] = READING_GRID

    @classmethod
    def make(cls, setting: Setting) -> GoldTextMethod:
        """With the setting's options: those of `ReadingOptions`.

        Raises:
            UsageError: an option is not accepted.
            MissingPackageError: bm25s is not installed.
        """
        require_bm25s()
        return cls(setting.memory, read_options(ReadingOptions, cls.name, setting.options))

    def find(self, questions: Sequence[Question], depth: int, *, batch_size: int) -> list[list[Found]]:
        return [self._gold(question, depth) for question in questions]

    def _gold(self, question: Question, depth: int) -> list[Found]:
        passages = [each for name in question.document_ids for each in self.texts.of(name)]
        scores = Bm25Index([passage.text for passage in passages]).scores(question.question)
        best = sorted(range(len(passages)), key=lambda place: -scores[place])[:depth]
        return [Found(passages[place], float(scores[place])) for place in sorted(best)]
