"""Encoding in stages that overlap: while the model reads a chunk of documents, the next one is tokenised and
the last one committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from mbc_store import Counts, DocumentRecord, MemoryStore

from mbc_cli.corpus.documents import Document, document_digest
from mbc_cli.inference.forward import TokenRows, Windows
from mbc_cli.inference.prepared import Prepared
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers

Codes = Callable[[TokenRows], tuple[np.ndarray, np.ndarray | None]]
"""The codes (passages, T, L) and errors (passages,) of passages, in a forward pass."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a chunk: its size, and what the store says of the records of it."""

    size: int
    records: int
    passages: int
    counts: Counts


class Stages:
    """Takes chunks and returns what became of earlier ones. Chunks are stored in their order.

    The store, the model and the tokenizers are in use during `advance` and `finish` only, in ``turn``.
    """

    def __init__(
        self,
        model: MemoryModel,
        tokenizers: Tokenizers,
        store: MemoryStore,
        codes: Codes,
        *,
        windows: Windows,
        batch_size: int,
        turn: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._model = model
        self._tokenizers = tokenizers
        self._store = store
        self._codes = codes
        self._windows = windows
        self._batch_size = batch_size
        self._turn = turn
        self._preparing = ThreadPoolExecutor(1)
        self._committing = ThreadPoolExecutor(1)  # one commit after the other, also after an interruption
        self._prepared: Prepared | None = None
        self._encoded: tuple[Prepared, list[DocumentRecord]] | None = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Whatever ends it, a commit that has begun comes to its end."""
        self._preparing.shutdown()
        self._committing.shutdown()

    @property
    def is_empty(self) -> bool:
        return self._prepared is None and self._encoded is None

    def drop(self) -> None:
        """Forget the chunks that are under way."""
        self._prepared = self._encoded = None

    def advance(self, chunk: Sequence[Document] | None) -> Stored | None:
        """Take a chunk in, or none, and move those under way on by a stage; what was stored of the oldest."""
        with self._turn():
            changed = [] if chunk is None else self._changed(chunk)
            oldest, self._encoded = self._encoded, None
            committing: Future[Stored] | None = None
            if oldest is not None:
                committing = self._committing.submit(self._commit, *oldest)
            preparing: Future[Prepared] | None = None
            if chunk is not None:
                preparing = self._preparing.submit(self._prepare, len(chunk), changed)
            try:
                if self._prepared is not None:
                    prepared = self._prepared
                    self._encoded = (prepared, prepared.records(*self._codes(prepared.tokens)))
                self._prepared = None if preparing is None else preparing.result()
            finally:
                # Nothing may be under way when others have their turn.
                stored = None if committing is None else committing.result()
                if preparing is not None:
                    preparing.exception()
        return stored

    def commit_encoded(self) -> Stored | None:
        """Store what is encoded, and forget what is not."""
        self._prepared = None
        return self.advance(None)

    def _changed(self, documents: Sequence[Document]) -> list[tuple[Document, int]]:
        """The documents whose id is not stored, or is stored or under way with perhaps other content.

        Each comes with its digest.
        """
        under_way = set() if self._prepared is None else self._prepared.ids
        if self._encoded is not None:
            under_way |= self._encoded[0].ids
        with self._store.snapshot() as snapshot:
            stored = snapshot.digests([document.id for document in documents])
        digests = [document_digest(document) for document in documents]
        return [
            (document, digest)
            for document, digest in zip(documents, digests, strict=True)
            if document.id in under_way or stored.get(document.id) != digest
        ]

    def _prepare(self, size: int, changed: Sequence[tuple[Document, int]]) -> Prepared:
        return Prepared.of(
            self._model, self._tokenizers, self._windows, changed, size=size, batch_size=self._batch_size
        )

    def _commit(self, prepared: Prepared, records: list[DocumentRecord]) -> Stored:
        with self._store.transaction(f"encode {len(records)} documents") as transaction:
            transaction.upsert(records)
        passages = sum(len(record.codes) for record in records)
        return Stored(prepared.size, len(records), passages, transaction.counts)
