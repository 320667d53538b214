"""One consistent view of a store. A later commit does not change it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Self

import numpy as np

from mbc_store.codes import count_codes, passages_in
from mbc_store.columns import Columns
from mbc_store.conditions import Where
from mbc_store.errors import StoreCorrupt, StoreNotFound
from mbc_store.filters import matching_documents
from mbc_store.format import NO_TIMESTAMP
from mbc_store.id_index import IdIndex
from mbc_store.locking import ReaderLease
from mbc_store.posting_lists import PostingLists
from mbc_store.records import DocumentRecord, StoredDocument, StoredPassage, decode_metadata

ROWS_PER_READ = 16384
DOCUMENTS_PER_READ = 4096


class Snapshot:
    """Reads one commit of a store. Close it, or use it in a ``with``, so that old data can be collected.

    Rows are passages in the order they were encoded. Rows of forgotten or replaced documents stay (not
    ``alive``) until the store is compacted.
    """

    def __init__(
        self, session: Any, committed_at: datetime, location: object, lease: ReaderLease | None
    ) -> None:
        self.id: str = session.snapshot_id
        self.committed_at = committed_at
        self._location = location
        self.columns = Columns(session, location)
        self.config, self.lengths = self.columns.config, self.columns.lengths
        self.session = session
        self._release = weakref.finalize(self, lease.release) if lease is not None else None

    def close(self) -> None:
        """Let garbage collection have what only this view needs."""
        if self._release is not None:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Snapshot({self.id}, {self.document_count} documents, {self._location})"

    @property
    def document_count(self) -> int:
        """Living documents."""
        return self.lengths.alive

    @property
    def row_count(self) -> int:
        """Rows written, dead ones included."""
        return self.lengths.rows

    @cached_property
    def passage_count(self) -> int:
        """Living passages."""
        return passages_in(self.code_counts(), self.config)

    # --- codes ---------------------------------------------------------------------------------------

    @cached_property
    def _counts(self) -> np.ndarray:
        counts = self.columns.read_counts()
        counts.setflags(write=False)
        return counts

    def code_counts(self, mask: np.ndarray | None = None) -> np.ndarray:
        """How often each code occurs in the living passages, or those of ``mask`` (rows,).

        (T, L, K) int64, or (1, L, K) where the store counts the codes of all slots together.

        Without a mask the stored counts are returned (read-only); with one they are counted from the codes.
        """
        if mask is None:
            return self._counts
        counts = np.zeros_like(self._counts)
        for first, codes, alive in self.iter_codes():
            chosen = alive & mask[first : first + len(alive)]
            if chosen.any():
                counts += count_codes(codes[chosen], self.config)
        return counts

    def iter_codes(self, rows_per_chunk: int = ROWS_PER_READ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(first row, codes (n, T, L) uint16 or uint32, alive (n,) bool) over all rows, some at a time."""
        for first in range(0, self.row_count, rows_per_chunk):
            rows = slice(first, min(first + rows_per_chunk, self.row_count))
            (codes,) = self.columns.read_many([("passages/codes", rows)], keep=False)
            alive = self.columns.read("passages/alive", rows.start, rows.stop)
            yield first, codes, alive

    def codes(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        """(n, T, L) uint16 or uint32 at ``rows``, in that order."""
        return self.columns.take("passages/codes", self._checked(rows))

    def posting_lists(self) -> PostingLists | None:
        """From codes to the rows that hold them; None where the store keeps no such lists."""
        lists = PostingLists(self.columns)
        return lists if lists.are_kept else None

    def _checked(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        array = np.asarray(rows, dtype=np.int64).reshape(-1)
        if array.size and (array.min() < 0 or array.max() >= self.row_count):
            raise IndexError(
                f"row {array.min()} or {array.max()} is outside the store's 0 to {self.row_count - 1}"
            )
        return array

    # --- filters -------------------------------------------------------------------------------------

    def alive(self) -> np.ndarray:
        """(rows,) bool."""
        return self.columns.all("passages/alive")

    def row_mask(
        self,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        where: Where | None = None,
    ) -> np.ndarray:
        """(rows,) bool: living passages of the documents that match.

        Args:
            since: first timestamp wanted (datetime, or microseconds since 1970 UTC).
            until: first timestamp no longer wanted. Documents without a timestamp match neither bound.
            where: conditions on metadata that must all hold (``mbc_store.conditions``). A key that no
                document has is warned of.
        """
        alive = self.alive()
        if since is None and until is None and not where:
            return alive
        first_rows = self.columns.all("documents/first_row")
        passages = np.diff(first_rows, append=self.row_count)
        if (passages < 1).any():
            raise StoreCorrupt(f"{self._location}: documents have no valid rows", "run `mbc memory repair`")
        matching = matching_documents(self.columns, since, until, where)
        selected: np.ndarray = alive & np.repeat(matching, passages)
        return selected

    def matching_ids(
        self,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        where: Where | None = None,
    ) -> list[str]:
        """Ids of the living documents that match (as in ``row_mask``), oldest first."""
        chosen = matching_documents(self.columns, since, until, where)
        found: list[str] = []
        for numbers in self.living_documents():
            found += self.columns.take("documents/id", numbers[chosen[numbers]]).tolist()
        return found

    def iter_matching(
        self,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        where: Where | None = None,
    ) -> Iterator[StoredDocument]:
        """Living documents that match (as in ``row_mask``), oldest first, in bounded memory."""
        chosen = matching_documents(self.columns, since, until, where)
        for numbers in self.living_documents(256):
            yield from self._documents(numbers[chosen[numbers]])

    # --- documents -----------------------------------------------------------------------------------

    def document_rows(self, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First row and number of rows of each document number."""
        documents = np.asarray(documents, dtype=np.int64)
        last = documents + 1
        inside = np.minimum(last, max(self.lengths.documents - 1, 0))
        bounds = self.columns.take("documents/first_row", np.concatenate([documents, inside]))
        first, following = np.split(bounds, 2)
        return first, np.where(last == self.lengths.documents, self.row_count, following) - first

    def find(self, ids: Sequence[str]) -> dict[str, int]:
        """Document numbers of those ``ids`` that are in the store."""
        return IdIndex(self.columns).find(ids)

    def digests(self, ids: Sequence[str]) -> dict[str, int]:
        """Content digests of those ``ids`` that are in the store."""
        found = self.find(ids)
        values = self.columns.take("documents/digest", np.array(list(found.values()), dtype=np.int64))
        return {identifier: int(value) for identifier, value in zip(found, values, strict=True)}

    def document(self, identifier: str) -> StoredDocument | None:
        """The document of that id, or None."""
        number = self.find([identifier]).get(identifier)
        return None if number is None else self._documents(np.array([number]))[0]

    def documents(self, offset: int = 0, limit: int | None = None) -> list[StoredDocument]:
        """Living documents, oldest first, skipping ``offset`` and returning at most ``limit``."""
        found: list[StoredDocument] = []
        skip = offset
        for numbers in self.living_documents():
            chosen = numbers[skip:]
            skip = max(skip - len(numbers), 0)
            if limit is not None:
                chosen = chosen[: limit - len(found)]
            found += self._documents(chosen)
            if limit is not None and len(found) >= limit:
                break
        return found

    def iter_documents(self) -> Iterator[StoredDocument]:
        """Every living document, oldest first, in bounded memory."""
        for numbers in self.living_documents(256):
            yield from self._documents(numbers)

    def living_documents(self, documents_per_read: int = DOCUMENTS_PER_READ) -> Iterator[np.ndarray]:
        """Numbers of the living documents, block by block."""
        for start in range(0, self.lengths.documents, documents_per_read):
            stop = min(start + documents_per_read, self.lengths.documents)
            first = self.columns.read("documents/first_row", start, stop)
            alive = self.columns.read("passages/alive", int(first[0]), int(first[-1]) + 1)
            yield start + np.flatnonzero(alive[first - first[0]])

    def _documents(self, numbers: np.ndarray) -> list[StoredDocument]:
        if numbers.size == 0:
            return []
        paths = [
            "documents/id",
            "documents/title",
            "documents/timestamp",
            "documents/metadata",
            "documents/digest",
        ]
        if self.config.keep_text:
            paths.append("documents/text")
        first, counts = self.document_rows(numbers)
        columns = self.columns.take_many(paths, numbers)
        if not self.config.keep_text:
            columns.append(np.full(len(numbers), "", dtype=object))
        return [
            StoredDocument(
                id=str(identifier),
                title=str(title) or None,
                text=str(text) if self.config.keep_text else None,
                timestamp=None if timestamp == NO_TIMESTAMP else int(timestamp),
                metadata=decode_metadata(str(metadata)),
                digest=int(digest),
                rows=range(int(start), int(start + count)),
            )
            for identifier, title, timestamp, metadata, digest, text, start, count in zip(
                *columns, first, counts, strict=True
            )
        ]

    def passages(self, rows: np.ndarray | Sequence[int]) -> list[StoredPassage]:
        """What each row was read from, in the order of ``rows``."""
        checked = self._checked(rows)
        if checked.size == 0:
            return []
        location = self.columns.take("passages/location", checked)
        numbers, inverse = np.unique(location[:, 0], return_inverse=True)
        documents = self._documents(numbers)
        found = []
        for row, (_, start, end), position in zip(
            checked.tolist(), location.tolist(), inverse.tolist(), strict=True
        ):
            document = documents[position]
            found.append(
                StoredPassage(
                    document_id=document.id,
                    index=row - document.rows.start,
                    start=start,
                    end=end,
                    title=document.title,
                    text=None if document.text is None else document.text[start:end],
                    timestamp=document.timestamp,
                    metadata=document.metadata,
                )
            )
        return found

    def record(self, identifier: str) -> DocumentRecord:
        """Everything the store holds about one document.

        Raises:
            StoreNotFound: no such document.
        """
        document = self.document(identifier)
        if document is None:
            raise StoreNotFound(f"{self._location} holds no document {identifier!r}", "see `mbc memory list`")
        return self._records([document])[0]

    def iter_records(self, documents_per_read: int = 256) -> Iterator[DocumentRecord]:
        """Every living document with its codes, oldest first, in bounded memory."""
        for numbers in self.living_documents(documents_per_read):
            yield from self._records(self._documents(numbers))

    def _records(self, documents: list[StoredDocument]) -> list[DocumentRecord]:
        if not documents:
            return []
        rows = np.concatenate([np.arange(d.rows.start, d.rows.stop) for d in documents])
        codes, location = self.columns.take_many(["passages/codes", "passages/location"], rows)
        records, position = [], 0
        for document in documents:
            part = slice(position, position + len(document.rows))
            position = part.stop
            records.append(
                DocumentRecord(
                    document.id,
                    codes[part],
                    location[part, 1:],
                    document.digest,
                    document.text,
                    document.title,
                    document.timestamp,
                    document.metadata,
                )
            )
        return records
