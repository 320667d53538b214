"""Stores from stores: copies on other storage, merges, imports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import icechunk
from zarr.core.buffer import default_buffer_prototype

from mbc_store.commit import BRANCH
from mbc_store.creation import create_repository
from mbc_store.errors import FingerprintMismatch, StoreError, translated
from mbc_store.location import Location
from mbc_store.portable import read_export, read_header
from mbc_store.records import Counts, DocumentRecord
from mbc_store.snapshot import Snapshot
from mbc_store.waiting import wait

if TYPE_CHECKING:
    from mbc_store.memory_store import MemoryStore

KEYS_AT_ONCE = 32
DOCUMENTS_PER_COMMIT = 10_000


def copy_snapshot(snapshot: Snapshot, destination: Location) -> None:
    """Make a store at ``destination`` that holds what ``snapshot`` holds, chunk for chunk, without history.

    Raises:
        StoreExists: there is something already.
    """

    def fill(repository: icechunk.Repository) -> None:
        session = repository.writable_session(BRANCH)
        source, target = snapshot.session.store, session.store

        async def copy(key: str) -> None:
            data = await source.get(key, default_buffer_prototype())
            if data is not None:
                await target.set(key, data)

        async def run() -> None:
            every = [key async for key in source.list_prefix("")]
            # Icechunk takes chunks only of arrays it knows, and arrays only into groups it knows.
            metadata = sorted((key for key in every if key.endswith("zarr.json")), key=lambda k: k.count("/"))
            for key in metadata:
                await copy(key)
            keys = [key for key in every if not key.endswith("zarr.json")]
            for start in range(0, len(keys), KEYS_AT_ONCE):
                await asyncio.gather(*(copy(key) for key in keys[start : start + KEYS_AT_ONCE]))

        wait(run())
        counts = Counts(added=snapshot.document_count)
        session.commit(
            f"copy of {snapshot.id}",
            {
                "operation": "copy",
                "counts": asdict(counts),
                "documents": snapshot.document_count,
                "passages": snapshot.passage_count,
            },
        )

    with translated(destination):
        create_repository(destination, fill)


def add_records(
    store: MemoryStore, records: Iterable[DocumentRecord], message: str, operation: str, newest_wins: bool
) -> Counts:
    """Upsert ``records`` in commits of ``DOCUMENTS_PER_COMMIT``; a repeated run adds what is missing."""
    added = replaced = unchanged = 0
    iterator = iter(records)
    while batch := list(islice(iterator, DOCUMENTS_PER_COMMIT)):
        with store.transaction(message, operation, newest_wins=newest_wins) as transaction:
            transaction.upsert(batch)
        added += transaction.counts.added
        replaced += transaction.counts.replaced
        unchanged += transaction.counts.unchanged
    return Counts(added, replaced, unchanged)


def merge_snapshot(source: Snapshot, store: MemoryStore) -> Counts:
    """Add the documents of ``source``; of equal ids the one with the later timestamp stays (no timestamp is
    the earliest; on a tie the one in ``store``).

    Raises:
        FingerprintMismatch: codes of another adapter.
        StoreError: other dimensions.
    """
    ours, theirs = store.config, source.config
    if ours.fingerprint != theirs.fingerprint:
        raise FingerprintMismatch(
            f"codes of adapter {theirs.fingerprint} mean nothing to adapter {ours.fingerprint}",
            "re-encode one of the stores with the adapter of the other",
        )
    if (ours.slots, ours.levels, ours.codes) != (theirs.slots, theirs.levels, theirs.codes):
        raise StoreError(
            f"codes of {theirs.slots} slots, {theirs.levels} levels and {theirs.codes} values do not fit "
            f"a store of {ours.slots}, {ours.levels} and {ours.codes}"
        )
    return add_records(store, source.iter_records(), f"merge of {source.id}", "merge", newest_wins=True)


def import_export(folder: Path, store: MemoryStore) -> Counts:
    """Upsert an exported store (``mbc_store.portable``).

    Raises:
        FingerprintMismatch: exported with another adapter.
    """
    config = read_header(folder)
    if config.fingerprint != store.config.fingerprint:
        raise FingerprintMismatch(
            f"{folder} was made with adapter {config.fingerprint}, "
            f"{store.location} with {store.config.fingerprint}",
            "import it into a new store",
        )
    return add_records(store, read_export(folder), f"import of {folder}", "import", newest_wins=False)
