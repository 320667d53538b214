"""Changes collected in memory and applied to the newest snapshot in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import icechunk
import numpy as np

from mbc_store.codes import count_codes, passages_in
from mbc_store.columns import Columns, Recent
from mbc_store.format import NO_TIMESTAMP, Lengths, StoreConfig
from mbc_store.id_index import IdIndex
from mbc_store.posting_lists import PostingLists
from mbc_store.records import Counts, DocumentRecord, check_record, encode_metadata
from mbc_store.repository import Repository

Changes = dict[str, DocumentRecord | None]
"""By id: the record to store, or None to forget."""


class Transaction:
    """Use as ``with store.transaction("why") as t``: committed on a clean exit, nothing on an exception.

    Later operations on an id override earlier ones. After the exit ``counts`` says what changed and
    ``snapshot_id`` names the head; a transaction that changes nothing makes no commit.
    """

    def __init__(
        self,
        repository: Repository,
        config: StoreConfig,
        message: str,
        operation: str,
        newest_wins: bool = False,
        recent: dict[str, Recent] | None = None,
    ) -> None:
        """``recent``: by snapshot, what its commit had in memory; taken from there and left there for the
        next transaction."""
        self._repository = repository
        self._config = config
        self._recent = {} if recent is None else recent
        self._message = message
        self._operation = operation
        self._newest_wins = newest_wins
        self._unchanged = 0
        self._changes: Changes = {}
        self._columns: Columns | None = None
        self.counts = Counts()
        self.snapshot_id: str | None = None

    def upsert(self, records: Sequence[DocumentRecord]) -> None:
        """Add documents, or replace those of the same id unless their digests are equal.

        Raises:
            InvalidRecord: a record does not fit the store; nothing of the call is kept.
        """
        checked = [check_record(record, self._config) for record in records]
        for record in checked:
            self._changes.pop(record.id, None)
            self._changes[record.id] = record

    def forget(self, ids: Sequence[str]) -> None:
        """Remove documents; ids that are not there are ignored."""
        for identifier in ids:
            self._changes.pop(identifier, None)
            self._changes[identifier] = None

    def __len__(self) -> int:
        return len(self._changes)

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._changes:
            self.snapshot_id, metadata = self._repository.commit(self._message, self._apply)
            if metadata is not None and self._columns is not None:
                self._recent.clear()
                self._recent[self.snapshot_id] = self._columns.recent()
            self.counts = replace(Counts(**metadata["counts"] if metadata else {}), unchanged=self._unchanged)

    def _apply(self, session: icechunk.Session) -> dict[str, Any] | None:
        # Taken out: a change that fails half-way has altered it.
        recent = self._recent.pop(session.snapshot_id, None)
        columns = self._columns = Columns(session, self._repository.location, recent)
        changes = self._without_older(columns) if self._newest_wins else self._changes
        metadata, unchanged = apply_changes(columns, changes, self._operation)
        self._unchanged = unchanged + len(self._changes) - len(changes)
        return metadata

    def _without_older(self, columns: Columns) -> Changes:
        """The changes less the records that are not newer than the stored document of their id."""
        found = IdIndex(columns).find(list(self._changes))
        stored = columns.take("documents/timestamp", np.array(list(found.values()), dtype=np.int64))
        times = dict(zip(found, stored.tolist(), strict=True))
        return {
            identifier: record
            for identifier, record in self._changes.items()
            if identifier not in times or (record is not None and _time(record) > times[identifier])
        }


def apply_changes(columns: Columns, changes: Changes, operation: str) -> tuple[dict[str, Any] | None, int]:
    """Write ``changes`` into ``columns`` and flush them.

    Returns:
        The commit's metadata, or None where nothing changes, and the number of unchanged documents.
    """
    config, lengths = columns.config, columns.lengths
    found = IdIndex(columns).find(list(changes))
    numbers = np.array([found[i] for i in found if changes[i] is not None], dtype=np.int64)
    stored = dict(
        zip(
            (i for i in found if changes[i] is not None),
            columns.take("documents/digest", numbers),
            strict=True,
        )
    )

    records = [
        r for i, r in changes.items() if r is not None and not (i in stored and int(stored[i]) == r.digest)
    ]
    unchanged = sum(record is not None for record in changes.values()) - len(records)
    replaced = sum(record.id in found for record in records)
    forgotten_ids = [i for i, record in changes.items() if record is None and i in found]
    forgotten = len(forgotten_ids)
    dead = [found[i] for i in forgotten_ids] + [found[record.id] for record in records if record.id in found]
    counts = Counts(len(records) - replaced, replaced, unchanged, forgotten)
    if not counts.changes:
        return None, unchanged

    # A repair that goes back to an earlier commit must know them, replaced versions included.
    versions = IdIndex(columns).versions(forgotten_ids)
    totals = columns.read_counts()
    if dead:
        rows = _rows_of(columns, np.sort(np.array(dead, dtype=np.int64)))
        totals = totals - count_codes(columns.take("passages/codes", rows), config)
        columns.fill("passages/alive", rows, False)
    if records:
        appended = _columns_of(records, lengths, config)
        totals = totals + count_codes(appended["passages/codes"], config)
        columns.append_many([(path, columns.rows_of(path), values) for path, values in appended.items()])
    columns.write_counts(totals)
    passages = sum(len(record.codes) for record in records)
    columns.set_header(
        replace(
            lengths,
            rows=lengths.rows + passages,
            documents=lengths.documents + len(records),
            alive=lengths.alive + counts.added - forgotten,
        )
    )
    columns.set_header(columns.lengths, IdIndex(columns).update())
    columns.set_posting_runs(PostingLists(columns).update())
    columns.flush()
    return {
        "operation": operation,
        "counts": asdict(counts),
        "documents": columns.lengths.alive,
        "passages": passages_in(totals, columns.config),
        **_mean_error(records),
        **({"forgotten": ranges(versions)} if forgotten else {}),
    }, unchanged


def ranges(numbers: list[int]) -> list[list[int]]:
    """Sorted numbers as [first, one past the last] of those that follow each other."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1][1] = number + 1
        else:
            found.append([number, number + 1])
    return found


def _rows_of(columns: Columns, documents: np.ndarray) -> np.ndarray:
    """All rows of ``documents`` (sorted)."""
    lengths = columns.lengths
    following = np.minimum(documents + 1, lengths.documents - 1)
    first, last = np.split(columns.take("documents/first_row", np.concatenate([documents, following])), 2)
    last = np.where(documents + 1 == lengths.documents, lengths.rows, last)
    return np.concatenate([np.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)])


def _columns_of(
    records: list[DocumentRecord], lengths: Lengths, config: StoreConfig
) -> dict[str, np.ndarray]:
    """The values that ``records`` append to each array."""
    passages = np.array([len(record.codes) for record in records])
    numbers = np.arange(lengths.documents, lengths.documents + len(records))
    spans = np.concatenate([record.spans for record in records])
    columns = {
        "passages/codes": np.concatenate([record.codes for record in records]),
        "passages/alive": np.ones(passages.sum(), dtype=bool),
        "passages/location": np.column_stack([np.repeat(numbers, passages), spans]),
        "documents/id": _texts([record.id for record in records]),
        "documents/digest": np.array([record.digest for record in records], dtype=np.uint64),
        "documents/first_row": lengths.rows + np.cumsum(passages) - passages,
        "documents/timestamp": np.array([_time(record) for record in records], dtype=np.int64),
        "documents/title": _texts([record.title or "" for record in records]),
        "documents/metadata": _texts([encode_metadata(record.metadata) for record in records]),
    }
    if config.keep_text:
        columns["documents/text"] = _texts([record.text or "" for record in records])
    return columns


def _time(record: DocumentRecord) -> int:
    return NO_TIMESTAMP if record.timestamp is None else record.timestamp


def _texts(values: list[str]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _mean_error(records: list[DocumentRecord]) -> dict[str, float]:
    """Mean quantisation error over the passages of the records that have one."""
    known = [(r.quantization_error, len(r.codes)) for r in records if r.quantization_error is not None]
    if not known:
        return {}
    passages = sum(count for _, count in known)
    return {
        "quantization_error": sum(error * count for error, count in known) / passages,
        "measured_passages": passages,
    }
