"""What can be done with a memory's documents without a model: look at them, forget them, undo it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import Self

from mbc_store import Commit, MemoryStore, StoredDocument, StoreInfo, Where
from mbc_store.history import Rollback
from mbc_store.maintenance import Compacted

from mbc_cli.batching import batched
from mbc_cli.errors import UsageError
from mbc_cli.inference.memory_filter import MemoryFilter, Time

IDS_PER_COMMIT = 10_000

Moment = str | datetime
"""A time as in ``Time``, or the name of a tag or snapshot."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The ids of documents that were forgotten, and those that were named but are not in the memory."""

    ids: tuple[str, ...]
    missing: tuple[str, ...]


class StoredDocuments:
    """The documents of one store. Close it, or use it in a ``with``; threads that share it take turns.

    What is not here is asked of ``store`` itself (:class:`mbc_store.MemoryStore`): tags, differences,
    verification, copies.
    """

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self._lock = RLock()
        self._closed = False

    def close(self) -> None:
        """Let go of what is read, so that purging can delete it. It cannot be used any more."""
        with self._lock:
            self._release()
            self._closed = True

    def rest(self) -> None:
        """Let go of what is read, so that purging can delete it. The next call reads it again."""
        with self._turn():
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store.location})"

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """This thread's turn.

        Raises:
            UsageError: it is closed.
        """
        with self._lock:
            if self._closed:
                raise UsageError(f"{self!r} is closed", "open it again")
            yield

    def release(self) -> None:
        """Let go of what is kept between calls, so that others may purge; the next call reads anew."""
        with self._turn():
            self._release()

    def _release(self) -> None:
        """Close the snapshots that are kept open between calls."""

    @property
    def document_count(self) -> int:
        """Documents in the memory now."""
        with self.store.snapshot() as snapshot:
            return snapshot.document_count

    def documents(
        self, *, since: Time | None = None, until: Time | None = None, where: Where | None = None
    ) -> Iterator[StoredDocument]:
        """The documents with ``since <= timestamp < until`` that meet the conditions ``where``, oldest first.

        Raises:
            UsageError: a time is none.
        """
        return self._matching(MemoryFilter.of(since, until, where))

    def _matching(self, chosen: MemoryFilter) -> Iterator[StoredDocument]:
        with self.store.snapshot() as snapshot:
            yield from snapshot.iter_matching(chosen.since, chosen.until, chosen.where)

    def forget(
        self,
        ids: Iterable[str] | None = None,
        *,
        since: Time | None = None,
        until: Time | None = None,
        where: Where | None = None,
        dry_run: bool = False,
    ) -> Forgotten:
        """Forget documents by their ids, or those that :meth:`documents` finds: they are never read again.

        Earlier snapshots hold them until :meth:`compact` purges. An interrupted run keeps what it committed.

        Args:
            dry_run: only say which documents it would be.

        Raises:
            UsageError: both ids and conditions are given, or neither; ids are no texts, or a time is none.
            StoreError: the store cannot be written.
        """
        chosen = MemoryFilter.of(since, until, where)
        if chosen.is_empty == (ids is None):
            problem = "nothing says what to forget" if ids is None else "both ids and conditions are given"
            raise UsageError(problem, "name documents by their ids, or else by since, until and where")
        named = _distinct(ids or ())
        with self._turn():
            with self.store.snapshot() as snapshot:
                present = snapshot.find(named)
                found = [each for each in named if each in present]
                if ids is None:
                    found = snapshot.matching_ids(chosen.since, chosen.until, chosen.where)
            for batch in [] if dry_run else batched(found, IDS_PER_COMMIT):
                with self.store.transaction("forget", "forget") as transaction:
                    transaction.forget(batch)
        return Forgotten(tuple(found), tuple(each for each in named if each not in present))

    def info(self) -> StoreInfo:
        """What the memory holds and weighs."""
        return self.store.info()

    def history(self) -> list[Commit]:
        """The commits, newest first."""
        return self.store.history()

    def rollback(self, to: Moment) -> Rollback:
        """Make an earlier snapshot the newest again. What came after it stays under a tag.

        Raises:
            StoreNotFound: there is no such time, tag or snapshot.
        """
        with self._turn():
            return self.store.rollback(to)

    def compact(self, *, purge: bool = False) -> Compacted:
        """Rewrite the store without what was forgotten and replaced.

        Args:
            purge: delete all history and tags as well, so that nothing forgotten is left on the disk.

        Raises:
            StoreInUse: it is to be purged while somebody else reads it.
        """
        with self._turn():
            self._release()
            return self.store.compact(purge=purge)

    def export(self, folder: str | Path) -> int:
        """Write documents.jsonl and codes.parquet into a new folder, and return the number of documents.

        Raises:
            StoreError: the folder is there already, or cannot be written.
        """
        return self.store.export_to(folder)


def _distinct(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str):
        raise UsageError("ids is a string: give a list of ids")
    named = list(dict.fromkeys(ids))
    for each in named:
        if not isinstance(each, str):
            raise UsageError(f"an id is of type {type(each).__name__}: give its text")
    return named
