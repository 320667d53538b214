"""Giving disk space back: compaction, expiry of history, collection of garbage."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icechunk

from mbc_store import icechunk_files
from mbc_store.columns import Columns
from mbc_store.compaction import Salvage, compact
from mbc_store.errors import StoreConflict, StoreCorrupt, StoreError, StoreInUse
from mbc_store.icechunk_files import FIRST_SNAPSHOT
from mbc_store.location import Location
from mbc_store.locking import leased_snapshots
from mbc_store.measure import disk_bytes
from mbc_store.repository import BRANCH, PURGING, Metadata, Repository

KEEP_HISTORY = timedelta(days=30)
REMOTE_GRACE = timedelta(hours=24)
"""On object storage nothing tells collection of writers at work, so it spares what is younger than this."""

_CHOOSING_SECONDS = 30.0
_PIN = "collection-pin-"
_REPAIR = "repair-in-progress"
_SOON = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did. ``bytes_before`` and ``bytes_after`` are None on object storage."""

    commits_expired: int
    objects_deleted: int
    bytes_deleted: int
    bytes_before: int | None
    bytes_after: int | None


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did."""

    rows_removed: int
    purged: bool
    collected: Collected | None


def compact_store(repository: Repository, purge: bool) -> Compacted:
    """See ``MemoryStore.compact``."""
    with repository.exclusive():
        if not purge:
            return Compacted(rewrite(repository), False, None)
        if repository.location.path is None:
            return _purge_remote(repository)
        _refuse_readers(repository.location.path)
        removed = rewrite(repository)
        return Compacted(removed, True, _forget_history(repository))


def _forget_history(repository: Repository) -> Collected:
    for tag in repository.tags():
        repository.icechunk.delete_tag(tag)
    return collect(repository, datetime.now(UTC) + _SOON, timedelta(0))


def _purge_remote(repository: Repository) -> Compacted:
    """Purge where no lock keeps writers out: what they have uploaded may be deleted, so none may commit it.

    While the branch ``PURGING`` exists no writer moves the head. The head moves when the branch has been
    made and again when the deletion is done, so a writer that started before or meanwhile finds that it
    moved, and starts again. An interrupted purge leaves the branch; the next one takes it over.
    """
    if PURGING not in repository.branches():
        repository.icechunk.create_branch(PURGING, FIRST_SNAPSHOT)
    try:
        removed = rewrite(repository, purging=True)
    except StoreConflict:
        repository.icechunk.delete_branch(PURGING)
        raise
    collected = _forget_history(repository)
    base = repository.head()
    session = repository.icechunk.writable_session(BRANCH)
    columns = Columns(session, repository.location)
    counts = columns.read_counts()
    columns.write_counts(counts)
    columns.flush()
    size = {"documents": columns.lengths.alive, "passages": int(counts[0, 0].sum())}
    metadata = {"operation": "compact", "counts": {}} | size
    repository.replace_head(session, "purge", metadata, base, purging=True)
    repository.icechunk.delete_branch(PURGING)
    return Compacted(removed, True, collected)


def rewrite(repository: Repository, salvage: Salvage | None = None, purging: bool = False) -> int:
    """Compact the head into a new commit; the number of rows removed. Call with the writer lock held.

    There is no commit where there is nothing to remove, unless ``purging``.
    """
    base = repository.head()
    source = Columns(repository.session(base), repository.location)
    removed = source.lengths.rows - int(source.all("passages/alive").sum()) if salvage is None else -1
    if removed == 0 and not purging:
        return 0
    try:
        metadata = _rewrite_on(repository, source, BRANCH, base, salvage, purging)
    except (icechunk.IcechunkError, StoreCorrupt):
        if salvage is None:
            raise
        # Icechunk reads the head's manifests to write on top of it. Where it cannot, start a new history.
        repository.start_branch(_REPAIR)
        metadata = _rewrite_on(repository, source, _REPAIR, base, Salvage(salvage.ancestors))
        repository.icechunk.delete_branch(_REPAIR)
    return source.lengths.rows - int(metadata["passages"])


def _rewrite_on(
    repository: Repository,
    source: Columns,
    branch: str,
    base: str,
    salvage: Salvage | None,
    purging: bool = False,
) -> Metadata:
    session = repository.icechunk.writable_session(branch)
    metadata = compact(source, session, salvage)
    message = "compact" if salvage is None else "repair"
    repository.replace_head(session, message, metadata | {"operation": message}, base, purging)
    return metadata


def collect_garbage(repository: Repository, older_than: timedelta, grace: timedelta) -> Collected:
    """See ``MemoryStore.gc``. Raises StoreError for a negative age."""
    if older_than < timedelta(0):
        raise StoreError(f"history cannot be older than {older_than}", "give an age of zero or more")
    with repository.exclusive():
        return collect(repository, datetime.now(UTC) - older_than, grace)


def collect(repository: Repository, expire_before: datetime, grace: timedelta) -> Collected:
    """Expire history and delete what nothing refers to. Call with the writer lock held.

    Snapshots that living readers look at are pinned by branches meanwhile, so neither expiry nor deletion
    can touch what they need.
    """
    with repository.no_collection():
        return _collect(repository, expire_before, grace)


def _collect(repository: Repository, expire_before: datetime, grace: timedelta) -> Collected:
    location, history = repository.location, repository.icechunk
    before = disk_bytes(location)
    if location.path is not None:
        icechunk_files.move_stray_files(location.path)
        icechunk_files.sweep_partial_files(location.path)
    for branch in repository.branches():
        if branch == _REPAIR or branch.startswith(_PIN):
            history.delete_branch(branch)
    pins = []
    if location.path is not None:
        for snapshot_id in _living_readers(location.path):
            pins.append(_PIN + snapshot_id.lower())
            icechunk_files.write_reference(location.path, f"branch.{pins[-1]}", snapshot_id)
    try:
        # An expiry time in the future would expire the head itself for readers of a slower clock.
        expired = _expire(history, location, expire_before)
        delete_before = datetime.now(UTC) + (_SOON if location.path is not None else -grace)
        try:
            summary = history.garbage_collect(delete_before)
        except icechunk.IcechunkError as error:
            raise StoreCorrupt(
                f"the history of {location} holds damaged commits, so nothing was deleted",
                "if `mbc memory verify` finds nothing, let the history go: `mbc memory gc --older-than 0s`",
            ) from error
    finally:
        for pin in pins:
            history.delete_branch(pin)
    location.sync()
    deleted = (
        summary.chunks_deleted
        + summary.manifests_deleted
        + summary.snapshots_deleted
        + summary.transaction_logs_deleted
        + summary.attributes_deleted
    )
    return Collected(len(expired), deleted, summary.bytes_deleted, before, disk_bytes(location))


def _expire(history: icechunk.Repository, location: Location, before: datetime) -> set[str]:
    """Expiry rewrites snapshots that stay; on a local disk a power cut meanwhile is undone."""
    if location.path is None:
        return set(history.expire_snapshots(older_than=before))
    with icechunk_files.rewriting_snapshots(location.path, location.sync):
        return set(history.expire_snapshots(older_than=before))


def _living_readers(root: Path) -> list[str]:
    """Snapshots in use; waits for readers that are just choosing theirs."""
    deadline = time.monotonic() + _CHOOSING_SECONDS
    while "" in (leases := leased_snapshots(root)):
        if time.monotonic() > deadline:
            raise StoreInUse(
                f"process {', '.join(leases[''])} has been opening {root} for a long time",
                "repeat the command, or stop that process",
            )
        time.sleep(0.01)
    return sorted(leases)


def _refuse_readers(root: Path) -> None:
    leases = leased_snapshots(root)
    if leases:
        processes = sorted({process for readers in leases.values() for process in readers})
        raise StoreInUse(
            f"{root} is being read by process {', '.join(processes)}, whose view purging would end",
            "stop the readers and repeat the command",
        )
