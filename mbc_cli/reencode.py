"""What is needed to encode a memory anew: the documents whose text its store keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mbc_store import MemoryStore, StoreError

from mbc_cli.corpus.documents import Document
from mbc_cli.inference.encode import EncodeReport


@dataclass(frozen=True, slots=True)
class ReencodeReport:
    """What was encoded anew; ``without_text`` are the ids of documents whose text is lost, after a repair."""

    encoded: EncodeReport
    without_text: tuple[str, ...]


class KeptDocuments:
    """The documents of a store, oldest first. When iterated, ``without_text`` has the ids of those left out.

    Raises:
        StoreError: the store keeps no texts.
    """

    def __init__(self, store: MemoryStore) -> None:
        if not store.config.keep_text:
            raise StoreError(
                f"{store.location} keeps no texts, so it cannot be encoded anew",
                "encode the original documents",
            )
        self._store = store
        self.without_text: list[str] = []

    def __iter__(self) -> Iterator[Document]:
        self.without_text = []
        with self._store.snapshot() as snapshot:
            for stored in snapshot.iter_documents():
                if stored.text:
                    yield Document(stored.id, stored.text, stored.title, stored.timestamp, stored.metadata)
                else:
                    self.without_text.append(stored.id)
