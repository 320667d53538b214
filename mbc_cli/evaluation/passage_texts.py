"""The passages of a stream, as text, cut as the memory cuts them."""

from __future__ import annotations

from collections.abc import Iterable

from mbc_cli.corpus.documents import Document, Passage
from mbc_cli.evaluation.vector_memory import AnyMemory
from mbc_cli.inference.forward import Windows


class PassageTexts:
    """Documents in the order they came, a later one in place of an earlier of its id, and their passages."""

    def __init__(self, memory: AnyMemory) -> None:
        self._tokenizers = memory.tokenizers
        self._windows = Windows.of(memory.model, memory.tokenizers)
        self._passages: dict[str, list[Passage]] = {}
        self._texts: dict[str, str] = {}

    def add(self, documents: Iterable[Document]) -> None:
        """Take in ``documents``."""
        for document in documents:
            for known in (self._passages, self._texts):
                known.pop(document.id, None)  # what is written anew comes last
            self._passages[document.id] = self._windows.split(self._tokenizers, document)
            self._texts[document.id] = document.text

    @property
    def texts(self) -> list[str]:
        """Those of all documents."""
        return list(self._texts.values())

    @property
    def passages(self) -> list[Passage]:
        """Those of all documents."""
        return [passage for passages in self._passages.values() for passage in passages]

    def of(self, document_id: str) -> list[Passage]:
        """The passages of one document; none where it has not come."""
        return self._passages.get(document_id, [])

    def texts_of(self, document_ids: Iterable[str]) -> list[str]:
        """The texts of those of the documents that have come."""
        return [self._texts[name] for name in document_ids if name in self._texts]
