"""An Icechunk repository at a place: opening it, its head, and the one durable commit.

Icechunk writes new objects beside the old ones and then moves the branch. On a local disk its own commit is
not safe between processes and syncs nothing, so here, under the writer lock: write all objects, sync, move
the branch if it still is where the change started from. A crash before the move leaves the old head and
some unreferenced objects (collected later); after the move, the new head with all it refers to.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import icechunk

from mbc_store import icechunk_files
from mbc_store.errors import (
    CLOCK_SIGNS,
    StoreConflict,
    StoreCorrupt,
    StoreInUse,
    StoreNotFound,
    StoreWarning,
    translated,
)
from mbc_store.icechunk_files import REPOSITORY, SnapshotFile
from mbc_store.location import Location
from mbc_store.locking import LOCK_SECONDS, collector_lock

BRANCH = "main"
ATTEMPTS = 20
PURGING = "purge-in-progress"
"""A branch that exists while a store on object storage is purged (``mbc_store.maintenance``)."""
_PURGE_POLL_SECONDS = 0.5

_DRAFT = "draft-in-progress"
"""A branch that exists while a snapshot is written that does not follow the newest one."""
_MICROSECOND = timedelta(microseconds=1)

Metadata = dict[str, Any]
"""What a commit says of itself, beside its message."""
Change = Callable[[icechunk.Session], Metadata | None]
"""Writes through the session and returns the commit's metadata, or None if there is nothing to commit."""


class Repository:
    """The versioned objects of one store, and the branch ``main`` whose newest snapshot is the store.

    Attributes:
        location: where they are.
        icechunk: Icechunk's own handle.
    """

    def __init__(self, opened: icechunk.Repository, location: Location) -> None:
        self.icechunk = opened
        self.location = location
        self._told: set[str] = set()

    def reopen(self) -> None:
        """Forget what Icechunk remembers of files that were changed behind its back."""
        self.icechunk = icechunk.Repository.open(self.location.storage())

    # --- opening -------------------------------------------------------------------------------------

    @classmethod
    def open(cls, location: Location) -> Repository:
        """The repository at ``location``.

        Raises:
            StoreNotFound: there is none.
            StoreCorrupt: its head is lost, or cannot be read.
        """
        if not cls.exists(location):
            raise StoreNotFound(
                f"there is no store at {location}", "check the path, or make one with `mbc encode`"
            )
        with translated(location):
            return cls(icechunk.Repository.open(location.storage()), location)

    @staticmethod
    def exists(location: Location) -> bool:
        """Whether there is a store.

        Raises:
            StoreCorrupt: the head cannot be read, or there are commits but no head. Icechunk takes that for
                nothing at all.
            StoreUnsafe: something in it leads out of it.
        """
        location.refuse_foreign_entries()
        if location.path is not None and not location.repository_path.is_dir():
            return False
        with translated(location):
            if icechunk.Repository.exists(location.storage()):
                return True
        if location.path is not None and icechunk_files.snapshot_ids(location.path):
            raise StoreCorrupt(
                f"the store {location} has lost its head (branch.{BRANCH} in {REPOSITORY}/refs)",
                "run `mbc memory repair`, which finds the newest commit",
            )
        return False

    # --- reading -------------------------------------------------------------------------------------

    def head(self) -> str:
        """Id of the newest snapshot."""
        with translated(self.location):
            return self.icechunk.lookup_branch(BRANCH)

    def session(self, snapshot_id: str) -> icechunk.Session:
        """A view of one snapshot that cannot be written."""
        with translated(self.location):
            return self.icechunk.readonly_session(snapshot_id=snapshot_id)

    def committed_at(self, snapshot_id: str) -> datetime:
        """When a snapshot was committed."""
        with translated(self.location):
            return self.icechunk.lookup_snapshot(snapshot_id).written_at

    def has_snapshot(self, snapshot_id: str) -> bool:
        """Whether that snapshot is still there, in the history or not."""
        try:
            return bool(self.icechunk.lookup_snapshot(snapshot_id).id == snapshot_id)
        except icechunk.IcechunkError:
            return False

    def ancestry(self, snapshot_id: str | None = None) -> Iterator[icechunk.SnapshotInfo]:
        """A snapshot, the newest if none is given, and those it came from."""
        with translated(self.location):
            seen: set[str] = set()
            for info in self.icechunk.ancestry(snapshot_id=snapshot_id or self.head()):
                if info.id in seen:
                    raise StoreCorrupt(
                        f"the history of {self.location} runs in a circle at {info.id}",
                        "run `mbc memory repair`, which cuts it off",
                    )
                seen.add(info.id)
                yield info

    def tags(self) -> dict[str, str]:
        """Snapshot id by tag."""
        with translated(self.location):
            root = self.location.path
            names = icechunk_files.references(root, "tag") if root else sorted(self.icechunk.list_tags())
            return {name: self.icechunk.lookup_tag(name) for name in names}

    # --- changing ------------------------------------------------------------------------------------

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other writers of a local store out."""
        with translated(self.location), self.location.exclusive():
            yield

    @contextmanager
    def no_collection(self) -> Iterator[None]:
        """Keep garbage collection of a local store from beginning, without waiting for writers."""
        if self.location.path is None:
            yield
        else:
            with translated(self.location), collector_lock(self.location.path):
                yield

    def commit(self, message: str, change: Change) -> tuple[str, Metadata | None]:
        """Apply ``change`` to the newest snapshot and make the result the new head.

        Args:
            change: called again on the new head if another writer came first.

        Returns:
            The id of the head, and what ``change`` returned.

        Raises:
            StoreConflict: other writers won ``ATTEMPTS`` times (object storage only).
            StoreInUse: the store is being purged for longer than ``LOCK_SECONDS`` (object storage only).
        """
        for _ in range(ATTEMPTS):
            self.wait_for_purge()
            with self.exclusive(), self.draft() as draft:
                metadata = change(draft.session)
                if metadata is None:
                    return draft.parent, None
                snapshot_id = draft.flush(message, metadata)
                if self.move_head(draft.parent, snapshot_id):
                    return snapshot_id, metadata
        raise StoreConflict(
            f"{self.location} was changed by others {ATTEMPTS} times while this change was being stored",
            "repeat the command when fewer writers are at work",
        )

    @contextmanager
    def draft(self, parent: str | None = None) -> Iterator[Draft]:
        """Begin a snapshot that follows ``parent``, or the newest one. Call with the writer lock held.

        Icechunk refuses a snapshot whose time is not after its parent's. Where a clock was set back or stands
        still, a local snapshot is written on a stand-in of its parent and stamped a microsecond after it.
        """
        root = self.location.path
        follows = parent or self.head()
        stamp = None
        if root is not None and (newest := self.committed_at(follows)) >= datetime.now(UTC):
            stamp = newest + _MICROSECOND
            behind = (newest - datetime.now(UTC)).total_seconds()
            self.tell_once(
                "behind",
                f"the clock is {behind:.0f} s behind the newest commit of {self.location}; commits are dated "
                "right after it until the clock has caught up",
            )
            start = icechunk_files.stand_in(root, follows)
        else:
            start = follows
        if start == follows and parent is None:
            yield Draft(self, self.icechunk.writable_session(BRANCH), follows, stamp)
            return
        self._start_branch(_DRAFT, start)
        try:
            yield Draft(self, self.icechunk.writable_session(_DRAFT), follows, stamp)
        finally:
            self.icechunk.delete_branch(_DRAFT)
            if root is not None and stamp is not None:
                (icechunk_files.snapshots(root) / start).unlink(missing_ok=True)

    def tell_once(self, topic: str, message: str) -> None:
        """Warn, unless that has been done before."""
        if topic not in self._told:
            warnings.warn(message, StoreWarning, stacklevel=2)
        self._told.add(topic)

    def replace_head(
        self, draft: Draft, base: str, message: str, metadata: Metadata, purging: bool = False
    ) -> None:
        """Make ``draft`` the newest snapshot in place of ``base``. Call with the writer lock held.

        Raises:
            StoreConflict: somebody moved the head meanwhile (object storage only).
        """
        if not self.move_head(base, draft.flush(message, metadata), purging):
            raise StoreConflict(
                f"{self.location} was changed while it was being rewritten", "repeat the command"
            )

    def move_head(self, base: str, snapshot_id: str, purging: bool = False) -> bool:
        """Compare-and-set of the branch, with everything that it leads to; False if it is no longer at
        ``base``.

        On a local disk the writer lock makes compare and set one step. Icechunk's own ``reset_branch`` would
        leave the head empty where the power goes between its rename and the next sync (seen on ext4).

        Args:
            purging: only what purges may move the head of a store that is being purged.
        """
        if self.icechunk.lookup_branch(BRANCH) != base:
            return False
        if self.location.path is not None:
            folder = self.location.repository_path
            icechunk_files.write_reference(folder, f"branch.{BRANCH}", snapshot_id, self.location.sync)
            return True
        if not purging and PURGING in self.branches():
            return False
        try:
            self.icechunk.reset_branch(BRANCH, snapshot_id, from_snapshot_id=base)
        except (icechunk.IcechunkError, icechunk.ConflictError):
            if self.icechunk.lookup_branch(BRANCH) == base:
                raise
            return False
        return True

    def wait_for_purge(self, timeout: float = LOCK_SECONDS) -> None:
        """Return when no purge is at work; on a local disk the writer lock does that.

        Raises:
            StoreInUse: one still is after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while self.location.path is None and PURGING in self.branches():
            if time.monotonic() > deadline:
                raise StoreInUse(
                    f"{self.location} has been in the middle of a purge for {timeout:.0f} seconds",
                    "wait for `mbc memory compact --purge` to end; if it was interrupted, run it again",
                )
            time.sleep(_PURGE_POLL_SECONDS)

    def branches(self) -> set[str]:
        """``main``, and those that commands in progress or interrupted ones made."""
        with translated(self.location):
            root = self.location.path
            return set(icechunk_files.references(root, "branch") if root else self.icechunk.list_branches())

    def _start_branch(self, name: str, snapshot_id: str) -> None:
        """Make a branch, in place of one that an interrupted command left."""
        if name in self.branches():
            self.icechunk.delete_branch(name)
        if self.location.path is not None:
            icechunk_files.write_reference(self.location.repository_path, f"branch.{name}", snapshot_id)
        else:
            self.icechunk.create_branch(name, snapshot_id)

    def delete_leftover_branches(self) -> None:
        """Delete what interrupted commands left. Call with the writer lock held."""
        for name in self.branches() - {BRANCH, PURGING}:
            self.icechunk.delete_branch(name)


@dataclass(frozen=True, slots=True)
class Draft:
    """A snapshot in the making. Write through ``session``, then ``flush``.

    Attributes:
        parent: the snapshot it will follow.
        stamp: when it will have been committed, where not now.
    """

    repository: Repository
    session: icechunk.Session
    parent: str
    stamp: datetime | None

    def flush(self, message: str, metadata: Metadata) -> str:
        """Write everything but the reference to it; the id of the snapshot."""
        root = self.repository.location.path
        try:
            snapshot_id = self.session.flush(message, metadata)
        except icechunk.IcechunkError as error:
            # The snapshot is complete; Icechunk compares its time with the file's in the end.
            if root is None or CLOCK_SIGNS[1] not in str(error):
                raise
            self.repository.icechunk = icechunk.Repository.open(self.repository.location.storage())
            snapshot_id = icechunk_files.snapshot_ids(root)[0]
            if self.repository.icechunk.lookup_snapshot(snapshot_id).message != message:
                raise
            self.repository.tell_once(
                "drift", "the clock differs by more than 10 minutes from that of the disk the store is on"
            )
        if root is not None and self.stamp is not None:
            file = SnapshotFile(icechunk_files.snapshots(root) / snapshot_id)
            file.stamp(self.stamp)
            file.write()
            self.repository.reopen()
        return snapshot_id
