"""Changes collected in memory and applied to the newest snapshot in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import icechunk
import numpy as np

from mbc_store.changes import Changes, apply_changes, time_of
from mbc_store.columns import Columns, Recent
from mbc_store.format import StoreConfig
from mbc_store.id_index import IdIndex
from mbc_store.records import Counts, DocumentRecord, check_record
from mbc_store.repository import Repository


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
            if identifier not in times or (record is not None and time_of(record) > times[identifier])
        }
