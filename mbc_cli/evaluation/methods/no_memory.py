"""``none``: the frozen LLM as it was, with neither prefix nor KV-LoRA."""

from __future__ import annotations

from collections.abc import Sequence

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.evaluation.method import Method, MethodBytes, Reply, Setting
from mbc_cli.evaluation.options import NoOptions, read_options
from mbc_cli.evaluation.vector_memory import AnyMemory


class NoMemory(Method):
    """The untouched LLM. What it answers does not depend on the stream, so each question is asked once."""

    name = "none"
    threshold = None

    def __init__(self, memory: AnyMemory) -> None:
        self._memory = memory
        self._said: dict[str, str] = {}

    @classmethod
    def make(cls, setting: Setting) -> NoMemory:
        """The LLM of the setting's memory.

        Raises:
            UsageError: there are options, of which it has none.
        """
        read_options(NoOptions, cls.name, setting.options)
        return cls(setting.memory)

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        pass

    def reply(self, questions: Sequence[Question], *, batch_size: int) -> list[Reply]:
        texts = [question.question for question in questions]
        new = [text for text in dict.fromkeys(texts) if text not in self._said]
        said = self._memory.answer_without_memory(new, batch_size=batch_size) if new else []
        self._said |= {answer.question: answer.text for answer in said}
        return [Reply(self._said[text]) for text in texts]

    def bytes(self) -> MethodBytes:
        return MethodBytes()
