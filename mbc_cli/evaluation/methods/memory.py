"""``memory``: the memory that is evaluated, from its codes in the store; ``vectors``: the same before codes.

``vectors`` is the same adapter with its bank kept as float32 vectors, as MAC keeps it: the difference is what
quantising costs. An adapter without quantiser is evaluated as ``memory`` from such vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import UsageError
from mbc_cli.evaluation.abstention import relevances_elsewhere
from mbc_cli.evaluation.bank_bytes import memory_bytes
from mbc_cli.evaluation.held_answers import holds_answer
from mbc_cli.evaluation.method import RANKED, Method, MethodBytes, Reply, Setting
from mbc_cli.evaluation.options import NoOptions, read_options
from mbc_cli.evaluation.text_bytes import text_alternatives
from mbc_cli.evaluation.vector_memory import AnyMemory, VectorMemory, passages_read
from mbc_cli.inference.answer import Source
from mbc_cli.inference.telegrams import TelegramWords
from mbc_cli.memory import Memory


class MemoryMethod(Method):
    """Answers from the memory, reading always; what its threshold says is noted beside it."""

    name = "memory"

    def __init__(self, memory: AnyMemory, same_llm: AnyMemory | None = None) -> None:
        """``same_llm`` is a memory of the same LLM that others of the run share, to weigh texts by."""
        self.memory = memory
        self._shared = same_llm or memory
        self._texts: dict[str, str] = {}
        calibration = memory.calibration if isinstance(memory, Memory) else None
        self.threshold = None if calibration is None else calibration.threshold

    @classmethod
    def make(cls, setting: Setting) -> MemoryMethod:
        """The setting's own memory.

        Raises:
            UsageError: there are options, of which it has none.
        """
        read_options(NoOptions, cls.name, setting.options)
        return cls(setting.memory)

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        for document in documents:
            self._texts.pop(document.id, None)  # what is written anew comes last
            self._texts[document.id] = document.text
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
        held = self._held(questions, found)
        return [
            replace(
                reply,
                ranked=in_order(reply.sources, sources),
                relevance_elsewhere=relevance,
                holds_answer=holds,
            )
            for reply, sources, relevance, holds in zip(replies, found, elsewhere, held, strict=True)
        ]

    def _held(self, questions: Sequence[Question], found: Sequence[Sequence[Source]]) -> list[bool | None]:
        """Whether the codes read hold an answer in words; None where codes are no words."""
        if not isinstance(self.memory, Memory) or not self.memory.model.codes_are_tokens:
            return [None] * len(questions)
        read = [sources[: passages_read(self.memory)] for sources in found]
        words = kept_words(self.memory, {(each.document_id, each.passage) for part in read for each in part})
        return [
            holds_answer(
                "\n".join(words[each.document_id, each.passage] for each in part),
                question.answers,
                [self._texts[name] for name in question.document_ids if name in self._texts],
            )
            if part and question.answers
            else None
            for question, part in zip(questions, read, strict=True)
        ]

    def bytes(self) -> MethodBytes:
        """What the memory keeps; beside it, what the texts that it was made from would take."""
        kept = memory_bytes(self.memory)
        texts = text_alternatives(self._shared.model, self._shared.tokenizers, list(self._texts.values()))
        return MethodBytes(kept.growing, kept.fixed, {**kept.alternatives, **texts})


class VectorsMethod(MemoryMethod):
    """The memory's own adapter, before its codes."""

    name = "vectors"

    @classmethod
    def make(cls, setting: Setting) -> VectorsMethod:
        """An empty memory of vectors.

        Raises:
            UsageError: the adapter's codes are exact, or there are options.
        """
        read_options(NoOptions, cls.name, setting.options)
        memory = setting.memory
        if memory.model.codes_are_tokens:
            raise UsageError(
                "method vectors: this adapter's codes are tokens, which are exact: quantising loses nothing",
                "leave vectors out: memory is the same",
            )
        return cls(VectorMemory(memory.model, memory.tokenizers, adapter_name=memory.adapter_name))


def kept_words(memory: Memory, passages: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """What the codes hold in words of passages, each the id of its document and its place there."""
    words = TelegramWords(memory.tokenizers.language_tokenizer.backend_tokenizer)
    kept = {}
    with memory.store.snapshot() as snapshot:
        for name, place in passages:
            document = snapshot.document(name)
            assert document is not None  # it was found
            codes = snapshot.codes([document.rows[place]])[0, :, 0]
            kept[name, place] = words.text(codes.tolist())
    return kept


def in_order(read: Sequence[str], found: Sequence[Source]) -> tuple[str, ...]:
    """The documents that were read, then the others that were found: each once, best first."""
    return tuple(dict.fromkeys([*read, *(source.document_id for source in found)]))[:RANKED]
