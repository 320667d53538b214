"""``memory``: the memory that is evaluated, from its codes in the store; ``vectors``: the same before codes.

``vectors`` is the same adapter with its bank kept as float32 vectors, as MAC keeps it: the difference is what
quantising costs. An adapter without quantiser is evaluated as ``memory`` from such vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.evaluation.abstention import relevances_elsewhere
from mbc_cli.evaluation.bank_bytes import memory_bytes
from mbc_cli.evaluation.method import RANKED, Method, MethodBytes, Reply, Setting
from mbc_cli.evaluation.vector_memory import AnyMemory, VectorMemory
from mbc_cli.inference.answer import Source
from mbc_cli.memory import Memory


class MemoryMethod(Method):
    """Answers from the memory, reading always; what its threshold says is noted beside it."""

    name = "memory"

    def __init__(self, memory: AnyMemory) -> None:
        self.memory = memory
        calibration = memory.calibration if isinstance(memory, Memory) else None
        self.threshold = None if calibration is None else calibration.threshold

    @classmethod
    def make(cls, setting: Setting) -> MemoryMethod:
        """The setting's own memory."""
        return cls(setting.memory)

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        self.memory.encode(documents, batch_size=batch_size)

    def reply(self, questions: Sequence[Question], *, batch_size: int) -> list[Reply]:
        texts = [question.question for question in questions]
        answers = self.memory.answer(texts, threshold=0, batch_size=batch_size)
        return [
            Reply(
                answer=answer.text,
                sources=tuple(source.document_id for source in answer.sources),
                relevance=answer.relevance,
                confidence=answer.confidence,
            )
            for answer in answers
        ]

    def explain(
        self, questions: Sequence[Question], replies: Sequence[Reply], *, batch_size: int
    ) -> list[Reply]:
        if not self.memory.selects:
            return list(replies)
        texts = [question.question for question in questions]
        found = self.memory.search(texts, top_k=RANKED, batch_size=batch_size)
        elsewhere: list[float | None] = [None] * len(questions)
        if isinstance(self.memory, Memory):
            elsewhere = relevances_elsewhere(self.memory, questions, batch_size)
        return [
            replace(reply, ranked=in_order(reply.sources, sources), relevance_elsewhere=relevance)
            for reply, sources, relevance in zip(replies, found, elsewhere, strict=True)
        ]

    def bytes(self) -> MethodBytes:
        return memory_bytes(self.memory)


class VectorsMethod(MemoryMethod):
    """The memory's own adapter, before its codes."""

    name = "vectors"

    @classmethod
    def make(cls, setting: Setting) -> VectorsMethod:
        memory = setting.memory
        return cls(VectorMemory(memory.model, memory.tokenizers, adapter_name=memory.adapter_name))


def in_order(read: Sequence[str], found: Sequence[Source]) -> tuple[str, ...]:
    """The documents that were read, then the others that were found: each once, best first."""
    return tuple(dict.fromkeys([*read, *(source.document_id for source in found)]))[:RANKED]
