"""The durable commit: a change is on disk before it is acknowledged, and never half there.

Icechunk writes new objects beside the old ones and then moves the branch. On a local disk its own commit is
not safe between processes and syncs nothing, so here, under the writer lock: write all objects, sync, move
the branch if it still is where the change started from. A crash before the move leaves the old head and
some unreferenced objects (collected later); after the move, the new head with all it refers to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import icechunk

from mbc_store.errors import StoreConflict, StoreInUse
from mbc_store.location import Location
from mbc_store.locking import LOCK_SECONDS

BRANCH = "main"
ATTEMPTS = 20
PURGING = "purge-in-progress"
"""A branch that exists while a store on object storage is purged (``mbc_store.maintenance``)."""
_PURGE_POLL_SECONDS = 0.5

Change = Callable[[icechunk.Session], dict[str, Any] | None]


def durable_commit(
    repository: icechunk.Repository, location: Location, message: str, change: Change
) -> tuple[str, dict[str, Any] | None]:
    """Apply ``change`` to the newest snapshot and make it the new head.

    Args:
        change: writes through the session it is given and returns the commit's metadata, or None if there
            is nothing to commit. Called again on the new head if another writer came first.

    Returns:
        The id of the head, and what ``change`` returned.

    Raises:
        StoreConflict: other writers won ``ATTEMPTS`` times (object storage only).
        StoreInUse: the store is being purged for longer than ``LOCK_SECONDS`` (object storage only).
    """
    for _ in range(ATTEMPTS):
        wait_for_purge(repository, location)
        with location.exclusive():
            session = repository.writable_session(BRANCH)
            base = session.snapshot_id
            metadata = change(session)
            if metadata is None:
                return base, None
            snapshot_id = session.flush(message, metadata)
            if move_head(repository, location, base, snapshot_id):
                return snapshot_id, metadata
    raise StoreConflict(
        f"{location} was changed by others {ATTEMPTS} times while this change was being stored",
        "repeat the command when fewer writers are at work",
    )


def wait_for_purge(
    repository: icechunk.Repository, location: Location, timeout: float = LOCK_SECONDS
) -> None:
    """Return when no purge is at work; on a local disk the writer lock does that.

    Raises:
        StoreInUse: one still is after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while location.path is None and PURGING in repository.list_branches():
        if time.monotonic() > deadline:
            raise StoreInUse(
                f"{location} has been in the middle of a purge for {timeout:.0f} seconds",
                "wait for `mbc memory compact --purge` to end; if it was interrupted, run it again",
            )
        time.sleep(_PURGE_POLL_SECONDS)


def move_head(
    repository: icechunk.Repository, location: Location, base: str, snapshot_id: str, purging: bool = False
) -> bool:
    """Compare-and-set of the branch, with everything that it leads to; False if it is no longer at ``base``.

    On a local disk the writer lock makes compare and set one step. Icechunk's own ``reset_branch`` would
    leave the head empty where the power goes between its rename and the next sync (seen on ext4).

    Args:
        purging: only what purges may move the head of a store that is being purged.
    """
    if repository.lookup_branch(BRANCH) != base:
        return False
    if location.path is not None:
        location.write_reference(f"branch.{BRANCH}", snapshot_id, sync_all=True)
        return True
    if not purging and PURGING in repository.list_branches():
        return False
    try:
        repository.reset_branch(BRANCH, snapshot_id, from_snapshot_id=base)
    except (icechunk.IcechunkError, icechunk.ConflictError):
        if repository.lookup_branch(BRANCH) == base:
            raise
        return False
    return True
