"""Giving disk space back: compaction, expiry of history, collection of garbage."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icechunk

from mbc_store import durable
from mbc_store.columns import Columns
from mbc_store.commit import BRANCH, PURGING, move_head
from mbc_store.compaction import Salvage, compact
from mbc_store.errors import StoreConflict, StoreCorrupt, StoreError, StoreInUse, translated
from mbc_store.location import Location
from mbc_store.locking import leased_snapshots
from mbc_store.measure import disk_bytes

if TYPE_CHECKING:
    from mbc_store.memory_store import MemoryStore

KEEP_HISTORY = timedelta(days=30)
REMOTE_GRACE = timedelta(hours=24)
"""On object storage nothing tells collection of writers at work, so it spares what is younger than this."""

_CHOOSING_SECONDS = 30.0
_PIN = "collection-pin-"
_REPAIR = "repair-in-progress"
_FIRST_SNAPSHOT = "1CECHNKREP0F1RSTCMT0"
"""The empty snapshot that every Icechunk 1 repository begins with."""
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


def compact_store(store: MemoryStore, purge: bool) -> Compacted:
    """See ``MemoryStore.compact``."""
    repository, location = store.repository, store.location
    with translated(location), location.exclusive():
        if not purge:
            return Compacted(rewrite(repository, location), False, None)
        if location.path is None:
            return _purge_remote(repository, location)
        _refuse_readers(location)
        removed = rewrite(repository, location)
        return Compacted(removed, True, _forget_history(repository, location))


def _forget_history(repository: icechunk.Repository, location: Location) -> Collected:
    for tag in repository.list_tags():
        repository.delete_tag(tag)
    return collect(repository, location, datetime.now(UTC) + _SOON, timedelta(0))


def _purge_remote(repository: icechunk.Repository, location: Location) -> Compacted:
    """Purge where no lock keeps writers out: what they have uploaded may be deleted, so none may commit it.

    While the branch ``PURGING`` exists no writer moves the head. The head moves when the branch has been
    made and again when the deletion is done, so a writer that started before or meanwhile finds that it
    moved, and starts again. An interrupted purge leaves the branch; the next one takes it over.
    """
    if PURGING not in repository.list_branches():
        repository.create_branch(PURGING, _FIRST_SNAPSHOT)
    try:
        removed = rewrite(repository, location, purging=True)
    except StoreConflict:
        repository.delete_branch(PURGING)
        raise
    collected = _forget_history(repository, location)
    base = repository.lookup_branch(BRANCH)
    session = repository.writable_session(BRANCH)
    columns = Columns(session, location)
    counts = columns.read_counts()
    columns.write_counts(counts)
    columns.flush()
    size = {"documents": columns.lengths.alive, "passages": int(counts[0, 0].sum())}
    commit(
        repository,
        location,
        session,
        "purge",
        {"operation": "compact", "counts": {}} | size,
        base,
        purging=True,
    )
    repository.delete_branch(PURGING)
    return Compacted(removed, True, collected)


def rewrite(
    repository: icechunk.Repository,
    location: Location,
    salvage: Salvage | None = None,
    purging: bool = False,
) -> int:
    """Compact the head into a new commit; the number of rows removed. Call with the writer lock held.

    There is no commit where there is nothing to remove, unless ``purging``.
    """
    base = repository.lookup_branch(BRANCH)
    source = Columns(repository.readonly_session(snapshot_id=base), location)
    removed = source.lengths.rows - int(source.all("passages/alive").sum()) if salvage is None else -1
    if removed == 0 and not purging:
        return 0
    if salvage is None:
        metadata = _rewrite_on(repository, location, source, BRANCH, base, None, purging)
    else:
        try:
            metadata = _rewrite_on(repository, location, source, BRANCH, base, salvage)
        except (icechunk.IcechunkError, StoreCorrupt):
            # Icechunk reads the head's manifests to write on top of it. Where it cannot, start a new history.
            fresh = Salvage(salvage.ancestors)
            if _REPAIR in repository.list_branches():
                repository.delete_branch(_REPAIR)
            if location.path is not None:
                location.write_reference(f"branch.{_REPAIR}", _FIRST_SNAPSHOT)
            else:
                repository.create_branch(_REPAIR, _FIRST_SNAPSHOT)
            metadata = _rewrite_on(repository, location, source, _REPAIR, base, fresh)
            repository.delete_branch(_REPAIR)
    return source.lengths.rows - int(metadata["passages"])


def _rewrite_on(
    repository: icechunk.Repository,
    location: Location,
    source: Columns,
    branch: str,
    base: str,
    salvage: Salvage | None,
    purging: bool = False,
) -> dict[str, Any]:
    session = repository.writable_session(branch)
    metadata = compact(source, session, salvage)
    message = "compact" if salvage is None else "repair"
    commit(repository, location, session, message, metadata | {"operation": message}, base, purging)
    return metadata


def commit(
    repository: icechunk.Repository,
    location: Location,
    session: icechunk.Session,
    message: str,
    metadata: dict[str, Any],
    base: str,
    purging: bool = False,
) -> str:
    """Flush ``session`` and move the head durably. Call with the writer lock held.

    Raises:
        StoreConflict: somebody moved the head meanwhile (object storage only).
    """
    snapshot_id = session.flush(message, metadata)
    if not move_head(repository, location, base, snapshot_id, purging):
        raise StoreConflict(f"{location} was changed while it was being rewritten", "repeat the command")
    return snapshot_id


def collect_garbage(store: MemoryStore, older_than: timedelta, grace: timedelta) -> Collected:
    """See ``MemoryStore.gc``."""
    with translated(store.location), store.location.exclusive():
        return collect(store.repository, store.location, datetime.now(UTC) - older_than, grace)


def collect(
    repository: icechunk.Repository, location: Location, expire_before: datetime, grace: timedelta
) -> Collected:
    """Expire history and delete what nothing refers to. Call with the writer lock held.

    Snapshots that living readers look at are pinned by branches meanwhile, so neither expiry nor deletion
    can touch what they need.
    """
    before = disk_bytes(location)
    for branch in repository.list_branches():
        if branch == _REPAIR or branch.startswith(_PIN):
            repository.delete_branch(branch)
    pins = []
    if location.path is not None:
        for snapshot_id in _living_readers(location.path):
            pins.append(_PIN + snapshot_id.lower())
            location.write_reference(f"branch.{pins[-1]}", snapshot_id)
    try:
        # An expiry time in the future would expire the head itself for readers of a slower clock.
        expired = _expire(repository, location, expire_before)
        delete_before = datetime.now(UTC) + (_SOON if location.path is not None else -grace)
        try:
            summary = repository.garbage_collect(delete_before)
        except icechunk.IcechunkError as error:
            raise StoreCorrupt(
                f"the history of {location} holds damaged commits, so nothing was deleted",
                "if `mbc memory verify` finds nothing, let the history go: `mbc memory gc --older-than 0s`",
            ) from error
    finally:
        for pin in pins:
            repository.delete_branch(pin)
    if location.path is not None:
        sweep_partial_files(location)
    location.sync()
    deleted = (
        summary.chunks_deleted
        + summary.manifests_deleted
        + summary.snapshots_deleted
        + summary.transaction_logs_deleted
        + summary.attributes_deleted
    )
    return Collected(len(expired), deleted, summary.bytes_deleted, before, disk_bytes(location))


def _expire(repository: icechunk.Repository, location: Location, before: datetime) -> set[str]:
    """Expiry rewrites snapshots that stay; on a local disk a power cut meanwhile is undone."""
    if location.path is None:
        return set(repository.expire_snapshots(older_than=before))
    with durable.guarded(location.path, location.repository_path / "snapshots", location.sync):
        return set(repository.expire_snapshots(older_than=before))


def sweep_partial_files(location: Location) -> int:
    """Delete files that killed writers left half written; their number. Call with the writer lock held."""
    assert location.path is not None
    leftovers = [path for path in location.repository_path.rglob("*#*") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


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


def _refuse_readers(location: Location) -> None:
    if location.path is None:
        return
    leases = leased_snapshots(location.path)
    if leases:
        processes = sorted({process for readers in leases.values() for process in readers})
        raise StoreInUse(
            f"{location} is being read by process {', '.join(processes)}, whose view purging would end",
            "stop the readers and repeat the command",
        )


def check_age(older_than: timedelta) -> timedelta:
    """Raises StoreError for a negative age."""
    if older_than < timedelta(0):
        raise StoreError(f"history cannot be older than {older_than}", "give an age of zero or more")
    return older_than
