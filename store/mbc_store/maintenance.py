"""Giving disk space back: compaction, expiry of history, collection of garbage."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icechunk

from mbc_store import icechunk_files
from mbc_store.codes import passages_in
from mbc_store.columns import Columns
from mbc_store.compaction import Salvage, compact
from mbc_store.errors import NO_ROOM, StoreConflict, StoreCorrupt, StoreError, StoreInUse, StoreWarning
from mbc_store.expiry import chosen, let_go, thin
from mbc_store.history import commits
from mbc_store.icechunk_files import FIRST_SNAPSHOT
from mbc_store.locking import leased_snapshots
from mbc_store.measure import disk_bytes
from mbc_store.posting_lists import PostingLists
from mbc_store.repository import PURGING, Metadata, Repository

KEEP_HISTORY = timedelta(days=30)
REMOTE_GRACE = timedelta(hours=24)
"""On object storage nothing tells collection of writers at work, so it spares what is younger than this."""

_CHOOSING_SECONDS = 30.0
_PIN = "collection-pin-"
_ALL_OF_IT = datetime(9999, 1, 1, tzinfo=UTC)
"""Later than anything by any clock: under the lock of a local store nothing else is being written."""


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
    return collect(repository, _ALL_OF_IT, timedelta(0))


def _purge_remote(repository: Repository) -> Compacted:
    """Purge where no lock keeps writers out: what they have uploaded may be deleted, so none may commit it.

    While the branch ``PURGING`` exists no writer moves the head. The head moves when the branch has been
    made, to a commit without history, and again when the deletion is done, so a writer that started before
    or meanwhile finds that it moved, and starts again. An interrupted purge leaves the branch; the next one
    takes it over.
    """
    if PURGING not in repository.branches():
        repository.icechunk.create_branch(PURGING, FIRST_SNAPSHOT)
    try:
        removed = rewrite(repository, purging=True)
    except StoreConflict:
        repository.icechunk.delete_branch(PURGING)
        raise
    collected = _forget_history(repository)
    with repository.draft() as draft:
        columns = Columns(draft.session, repository.location)
        counts = columns.read_counts()
        columns.write_counts(counts)
        columns.flush()
        size = {"documents": columns.lengths.alive, "passages": passages_in(counts, columns.config)}
        metadata = {"operation": "compact", "counts": {}} | size
        repository.replace_head(draft, draft.parent, "purge", metadata, purging=True)
    repository.icechunk.delete_branch(PURGING)
    return Compacted(removed, True, collected)


def rewrite(
    repository: Repository,
    salvage: Salvage | None = None,
    snapshot_id: str | None = None,
    purging: bool = False,
) -> int:
    """Compact the head into a new commit; the number of rows removed. Call with the writer lock held.

    There is no commit where there is nothing to remove, unless ``purging``; that leaves the history behind.

    Args:
        snapshot_id: another snapshot, which is compacted in its place and whose history goes on.
    """
    base = repository.head()
    source = Columns(repository.session(snapshot_id or base), repository.location)
    removed = source.lengths.rows - int(source.all("passages/alive").sum()) if salvage is None else -1
    if removed == 0 and not purging:
        return 0
    parent = FIRST_SNAPSHOT if purging else snapshot_id
    try:
        metadata = _rewrite_on(repository, source, base, parent, salvage, purging)
    except (icechunk.IcechunkError, StoreCorrupt):
        if salvage is None:
            raise
        # Icechunk reads the head's manifests to write on top of it. Where it cannot, start a new history.
        again = Salvage(salvage.ancestors, salvage.forgotten)
        metadata = _rewrite_on(repository, source, base, FIRST_SNAPSHOT, again)
    return source.lengths.rows - int(metadata["passages"])


def change_posting_lists(repository: Repository, wanted: bool) -> None:
    """See ``MemoryStore.keep_posting_lists``."""

    def change(session: icechunk.Session) -> Metadata | None:
        columns = Columns(session, repository.location)
        lists = PostingLists(columns)
        if lists.are_kept == wanted:
            return None
        if wanted:
            columns.set_posting_runs(lists.build())
        else:
            lists.drop()
            columns.set_posting_runs(None)
        columns.flush()
        passages = passages_in(columns.read_counts(), columns.config)
        size = {"documents": columns.lengths.alive, "passages": passages}
        return {"operation": "index", "counts": {}} | size

    repository.commit("make posting lists" if wanted else "remove posting lists", change)


def start_new_history(repository: Repository) -> None:
    """Make the newest commit the first one, and delete the tags. Call with the writer lock held."""
    base = repository.head()
    source = Columns(repository.session(base), repository.location)
    _rewrite_on(repository, source, base, FIRST_SNAPSHOT, None)
    for tag in repository.tags():
        repository.icechunk.delete_tag(tag)


def _rewrite_on(
    repository: Repository,
    source: Columns,
    base: str,
    parent: str | None,
    salvage: Salvage | None,
    purging: bool = False,
) -> Metadata:
    message = "compact" if salvage is None else "repair"
    with repository.draft(parent) as draft:
        metadata = compact(source, draft.session, salvage) | {"operation": message}
        repository.replace_head(draft, base, message, metadata, purging)
    return metadata


def collect_garbage(repository: Repository, older_than: timedelta, grace: timedelta) -> Collected:
    """See ``MemoryStore.gc``. Raises StoreError for a negative age."""
    if older_than < timedelta(0):
        raise StoreError(f"history cannot be older than {older_than}", "give an age of zero or more")
    expire_before = datetime.now(UTC) - older_than if older_than else _ALL_OF_IT
    with repository.exclusive():
        return collect(repository, expire_before, grace)


def prune_history(repository: Repository, keep_last: int, keep_daily: int, grace: timedelta) -> Collected:
    """See ``MemoryStore.prune``. Raises StoreError for numbers that keep nothing."""
    if min(keep_last, keep_daily) < 0 or not keep_last + keep_daily:
        raise StoreError(
            f"keep_last={keep_last} and keep_daily={keep_daily} keep nothing", "give one of them as 1 or more"
        )
    with repository.exclusive():
        kept = chosen(list(commits(repository)), keep_last, keep_daily)
        root = repository.location.path
        if root is None:
            oldest = next(commit for commit in reversed(kept) if commit is kept[0] or not commit.tags)
            return collect(repository, oldest.time, grace)
        with repository.no_collection():
            before = disk_bytes(repository.location)
            with _pinned_readers(repository, root):
                gone = thin(repository, {commit.id for commit in kept})
                deleted = _delete(repository, _ALL_OF_IT)
            repository.location.sync()
            return Collected(gone, *deleted, before, disk_bytes(repository.location))


def collect(repository: Repository, expire_before: datetime, grace: timedelta) -> Collected:
    """Expire history and delete what nothing refers to. Call with the writer lock held.

    Snapshots that living readers look at are pinned by branches meanwhile, so neither expiry nor deletion
    can touch what they need.
    """
    with repository.no_collection():
        before = disk_bytes(repository.location)
        repository.delete_leftover_branches()
        if repository.location.path is None:
            # Commits of a slower clock than this must not expire the head under its readers.
            expire_before = min(expire_before, datetime.now(UTC))
            expired = len(repository.icechunk.expire_snapshots(older_than=expire_before))
            deleted = _delete(repository, datetime.now(UTC) - grace)
        else:
            expired, deleted = _collect_local(repository, repository.location.path, expire_before)
        repository.location.sync()
        return Collected(expired, *deleted, before, disk_bytes(repository.location))


def _collect_local(
    repository: Repository, root: Path, expire_before: datetime
) -> tuple[int, tuple[int, int]]:
    """Commits expired, objects and bytes deleted."""
    icechunk_files.move_stray_files(root)
    icechunk_files.sweep_partial_files(root)
    objects = size = 0
    with _pinned_readers(repository, root):
        try:
            expired, damaged = let_go(repository, expire_before)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            objects, size = _delete(repository, _ALL_OF_IT)
            expired, damaged = let_go(repository, expire_before)
        try:
            more = _delete(repository, _ALL_OF_IT)
        except icechunk.IcechunkError:
            late = let_go(repository, expire_before, deep=True)
            expired, damaged = expired + late[0], damaged + late[1]
            more = _delete(repository, _ALL_OF_IT)
    if damaged:
        warnings.warn(
            f"the history of {root} was damaged; it ends now where it can still be read",
            StoreWarning,
            stacklevel=2,
        )
    return expired, (objects + more[0], size + more[1])


@contextmanager
def _pinned_readers(repository: Repository, root: Path) -> Iterator[None]:
    """Keep what living readers look at from expiry and deletion while the block runs."""
    pins: list[str] = []
    try:
        for snapshot_id in _living_readers(root):
            pins.append(_PIN + snapshot_id.lower())
            icechunk_files.write_reference(
                repository.location.repository_path, f"branch.{pins[-1]}", snapshot_id
            )
        yield
    finally:
        for pin in pins:
            repository.icechunk.delete_branch(pin)


def _delete(repository: Repository, written_before: datetime) -> tuple[int, int]:
    """Delete what nothing refers to; the number of objects and bytes."""
    summary = repository.icechunk.garbage_collect(written_before)
    objects = (
        summary.chunks_deleted
        + summary.manifests_deleted
        + summary.snapshots_deleted
        + summary.transaction_logs_deleted
        + summary.attributes_deleted
    )
    return objects, summary.bytes_deleted


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
