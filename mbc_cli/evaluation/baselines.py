"""What a memory is compared with, fed the same stream and asked the same questions.

``none`` is the frozen LLM as it was, with neither prefix nor KV-LoRA. ``vectors`` is the same adapter with
its bank kept as float32 vectors, as MAC keeps it: the difference is what quantising costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mbc_cli.corpus.documents import Document
from mbc_cli.evaluation.vector_memory import AnyMemory, VectorMemory


class Baseline(Protocol):
    """Sees the stream as it grows."""

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> object:
        """Take in the next documents of the stream."""

    def answers(self, questions: Sequence[str], *, batch_size: int) -> list[str]:
        """Answer ``questions`` with what has been taken in."""


class NoMemory:
    """The untouched LLM. What it answers does not depend on the stream, so each question is asked once."""

    def __init__(self, memory: AnyMemory) -> None:
        self._memory = memory
        self._said: dict[str, str] = {}

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        pass

    def answers(self, questions: Sequence[str], *, batch_size: int) -> list[str]:
        new = [question for question in dict.fromkeys(questions) if question not in self._said]
        said = self._memory.answer_without_memory(new, batch_size=batch_size)
        self._said |= {answer.question: answer.text for answer in said}
        return [self._said[question] for question in questions]


class Vectors(VectorMemory):
    """The memory's own adapter, before its codes."""

    def __init__(self, memory: AnyMemory) -> None:
        super().__init__(memory.model, memory.tokenizers, adapter_name=memory.adapter_name)

    def answers(self, questions: Sequence[str], *, batch_size: int) -> list[str]:
        return [answer.text for answer in self.answer(questions, batch_size=batch_size)]


BASELINES: Mapping[str, Callable[[AnyMemory], Baseline]] = {"none": NoMemory, "vectors": Vectors}
