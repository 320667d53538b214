"""Stores from stores: copies on other storage, merges, imports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import icechunk
from zarr.core.buffer import default_buffer_prototype

from mbc_store.columns import Recent
from mbc_store.creation import create_repository
from mbc_store.errors import FingerprintMismatch, StoreError
from mbc_store.format import StoreConfig
from mbc_store.location import Location
from mbc_store.portable import read_export, read_header
from mbc_store.records import Counts, DocumentRecord
from mbc_store.repository import Metadata, Repository
from mbc_store.snapshot import Snapshot
from mbc_store.transaction import Transaction
from mbc_store.waiting import wait

KEYS_AT_ONCE = 32
DOCUMENTS_PER_COMMIT = 10_000


def copy_snapshot(snapshot: Snapshot, destination: Location) -> None:
    """Make a store at ``destination`` that holds what ``snapshot`` holds, chunk for chunk, without history.

    Raises:
        StoreExists: there is something already.
    """

    def fill(session: icechunk.Session) -> Metadata:
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
        return {
            "operation": "copy",
            "counts": asdict(Counts(added=snapshot.document_count)),
            "documents": snapshot.document_count,
            "passages": snapshot.passage_count,
        }

    create_repository(destination, f"copy of {snapshot.id}", fill)


def add_records(
    repository: Repository,
    config: StoreConfig,
    records: Iterable[DocumentRecord],
    message: str,
    operation: str,
    newest_wins: bool = False,
) -> Counts:
    """Upsert ``records`` in commits of ``DOCUMENTS_PER_COMMIT``; a repeated run adds what is missing."""
    added = replaced = unchanged = 0
    iterator = iter(records)
    recent: dict[str, Recent] = {}
    while batch := list(islice(iterator, DOCUMENTS_PER_COMMIT)):
        with Transaction(repository, config, message, operation, newest_wins, recent) as transaction:
            transaction.upsert(batch)
        added += transaction.counts.added
        replaced += transaction.counts.replaced
        unchanged += transaction.counts.unchanged
    return Counts(added, replaced, unchanged)


def merge_snapshot(source: Snapshot, repository: Repository, ours: StoreConfig) -> Counts:
    """Add the documents of ``source`` to the store of configuration ``ours``; of equal ids the one with the
    later timestamp stays (no timestamp is the earliest; on a tie the one that is there).

    Raises:
        FingerprintMismatch: codes of another adapter.
        StoreError: other dimensions.
    """
    theirs = source.config
    if ours.fingerprint != theirs.fingerprint:
        raise FingerprintMismatch(
            f"codes of adapter {theirs.fingerprint} mean nothing to adapter {ours.fingerprint}",
            "re-encode one of the stores with the adapter of the other",
        )
    if ours.code_shape != theirs.code_shape:
        raise StoreError(
            f"codes of shape {theirs.code_shape} (slots, levels, codebook) do not fit a store of "
            f"{ours.code_shape}"
        )
    message = f"merge of {source.id}"
    return add_records(repository, ours, source.iter_records(), message, "merge", newest_wins=True)


def import_export(folder: Path, repository: Repository, ours: StoreConfig) -> Counts:
    """Upsert an exported store (``mbc_store.portable``).

    Raises:
        FingerprintMismatch: exported with another adapter.
    """
    theirs = read_header(folder)
    if theirs.fingerprint != ours.fingerprint:
        raise FingerprintMismatch(
            f"{folder} was made with adapter {theirs.fingerprint}, "
            f"{repository.location} with {ours.fingerprint}",
            "import it into a new store",
        )
    return add_records(repository, ours, read_export(folder), f"import of {folder}", "import")
