"""What is needed to encode a memory anew: its documents, from their kept texts or from their telegrams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mbc_store import MemoryStore, StoreError

from mbc_cli.corpus.documents import Document
from mbc_cli.inference.encode import EncodeReport
from mbc_cli.inference.telegrams import TelegramWords


@dataclass(frozen=True, slots=True)
class ReencodeReport:
    """What was encoded anew; ``without_text`` are the ids of documents whose text is lost, after a repair.

    ``from_telegrams`` says that the store keeps no texts, and what its codes hold in words was encoded.
    """

    encoded: EncodeReport
    without_text: tuple[str, ...]
    from_telegrams: bool = False


class KeptDocuments:
    """The documents of a store, oldest first. When iterated, ``without_text`` has the ids of those left out.

    Where the store keeps no texts but telegrams, a document's text is what its codes hold in words.

    Raises:
        StoreError: the store keeps neither.
        AdapterError: it keeps telegrams, but the adapter with their tokenizer is not trusted, or gone.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._words = None if store.config.keep_text else TelegramWords.of_store(store)
        if not store.config.keep_text and self._words is None:
            raise StoreError(
                f"{store.location} keeps no texts, so it cannot be encoded anew",
                "encode the original documents",
            )
        self._store = store
        self.without_text: list[str] = []

    @property
    def are_telegrams(self) -> bool:
        """Whether the texts are what codes hold in words."""
        return self._words is not None

    def __iter__(self) -> Iterator[Document]:
        self.without_text = []
        if self._words is not None:
            yield from self._telegrams(self._words)
            return
        with self._store.snapshot() as snapshot:
            for stored in snapshot.iter_documents():
                if stored.text:
                    yield Document(stored.id, stored.text, stored.title, stored.timestamp, stored.metadata)
                else:
                    self.without_text.append(stored.id)

    def _telegrams(self, words: TelegramWords) -> Iterator[Document]:
        with self._store.snapshot() as snapshot:
            for record in snapshot.iter_records():
                text = " ".join(words.text(codes) for codes in record.codes[..., 0].tolist())
                yield Document(record.id, text, record.title, record.timestamp, record.metadata)
