"""``text``: the passages that the memory's own selection chooses, read as text instead of from their codes.

Beside ``memory`` it shows what the codes cost: what is found is the same, only what is read differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mbc_cli.corpus.documents import Document, Passage, Question
from mbc_cli.errors import UsageError
from mbc_cli.evaluation.abstention import relevances_elsewhere
from mbc_cli.evaluation.bank_bytes import memory_bytes
from mbc_cli.evaluation.fresh_memory import fresh_memory
from mbc_cli.evaluation.method import MethodBytes, Reply, Setting
from mbc_cli.evaluation.methods.text_method import Found, TextMethod
from mbc_cli.evaluation.options import read_options
from mbc_cli.evaluation.text_reader import READING_GRID, ReadingOptions
from mbc_cli.memory import Memory


class SelectedTextMethod(TextMethod):
    """Selects by codes in a store of its own, and reads the texts."""

    name = "text"
    GRID: Sequence[Mapping[str, object]] = READING_GRID

    def __init__(self, setting: Setting, options: ReadingOptions) -> None:
        memory = setting.memory
        if not memory.selects:
            raise UsageError(
                "method text: the adapter reads the whole bank (method is 'whole-bank') and selects nothing",
                "use bm25, or an adapter with method select or telegram",
            )
        super().__init__(memory, options)
        self._bank = fresh_memory(memory, setting.folder, keep_text=False)
        calibration = self._bank.calibration if isinstance(self._bank, Memory) else None
        self._calibration = calibration
        self.threshold = None if calibration is None else calibration.threshold

    @classmethod
    def make(cls, setting: Setting) -> SelectedTextMethod:
        """With the setting's options: those of `ReadingOptions`.

        Raises:
            UsageError: the adapter selects nothing, or an option is not accepted.
        """
        return cls(setting, read_options(ReadingOptions, cls.name, setting.options))

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        super().encode(documents, batch_size=batch_size)
        self._bank.encode(documents, batch_size=batch_size)

    def find(self, questions: Sequence[Question], depth: int, *, batch_size: int) -> list[list[Found]]:
        if not questions:
            return []
        asked = [question.question for question in questions]
        found = self._bank.search(asked, top_k=depth, batch_size=batch_size)
        return [
            [Found(self._passage(source.document_id, source.passage), source.score) for source in sources]
            for sources in found
        ]

    def relevance(self, found: Sequence[Found]) -> float | None:
        if self._calibration is None or not found:
            return None
        return self._calibration.relevance(found[0].score, len(self.texts.passages))

    def explain(
        self, questions: Sequence[Question], replies: Sequence[Reply], *, batch_size: int
    ) -> list[Reply]:
        explained = super().explain(questions, replies, batch_size=batch_size)
        if not isinstance(self._bank, Memory):
            return explained
        elsewhere = relevances_elsewhere(self._bank, questions, batch_size)
        return [
            replace(reply, relevance_elsewhere=relevance)
            for reply, relevance in zip(explained, elsewhere, strict=True)
        ]

    def index_bytes(self) -> MethodBytes:
        return memory_bytes(self._bank)

    def _passage(self, document_id: str, index: int) -> Passage:
        return self.texts.of(document_id)[index]
