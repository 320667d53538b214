"""Making a repository so that it is either there and complete, or not there."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import icechunk

from mbc_store.errors import StoreError, StoreExists, translated
from mbc_store.icechunk_files import EPOCH, FIRST_SNAPSHOT, SnapshotFile
from mbc_store.location import Location
from mbc_store.locking import LOCK_FOLDER
from mbc_store.repository import ATTEMPTS, BRANCH, Metadata, Repository

_POLL_SECONDS = 0.1
_UNFINISHED = "unfinished-"

Fill = Callable[[icechunk.Session], Metadata]
"""Writes the first contents through the session and returns their commit's metadata."""


def create_repository(location: Location, message: str, fill: Fill) -> Repository:
    """Make a repository whose first commit holds what ``fill`` writes.

    A local one is made under another name and renamed when it is synced; where that fails, no folder made on
    the way is left.

    Raises:
        StoreExists: there is one already, or a folder with other things in it.
        StoreCorrupt: there is one that has lost its head.
        StoreError: nothing can be written there.
    """
    location.refuse_foreign_entries()
    location.refuse_inside_store()
    with translated(location):
        if location.path is None:
            return Repository(_create_remote(location, message, fill), location)
        with _new_folder(location, location.path):
            _create_local(location, location.path, message, fill)
            return Repository(icechunk.Repository.open(location.storage()), location)


def _create_local(where: Location, root: Path, message: str, fill: Fill) -> None:
    if Repository.exists(where):
        raise _exists(where)
    for entry in root.iterdir():
        if entry.name.startswith(_UNFINISHED):
            shutil.rmtree(entry)
        elif entry.name != LOCK_FOLDER:
            raise StoreExists(f"{where} is not empty and not a store", "choose an empty or new folder")
    unfinished = Location.parse(root / (_UNFINISHED + uuid.uuid4().hex))
    folder = unfinished.repository_path
    try:
        folder.mkdir(parents=True)  # Icechunk ends in a panic where it cannot make the folder
        icechunk.Repository.create(unfinished.storage())
        # Long ago, since what follows must come after it by any clock.
        first = SnapshotFile(folder / "snapshots" / FIRST_SNAPSHOT)
        first.stamp(EPOCH)
        first.write()
        repository = Repository(icechunk.Repository.open(unfinished.storage()), unfinished)
        with repository.draft() as draft:
            repository.replace_head(draft, draft.parent, message, fill(draft.session))
        where.sync()
        folder.rename(where.repository_path)
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
    where.sync()


def _create_remote(where: Location, message: str, fill: Fill) -> icechunk.Repository:
    for attempt in range(ATTEMPTS):
        try:
            if not icechunk.Repository.exists(where.storage()):
                repository = icechunk.Repository.create(where.storage())
            else:
                # The empty repository of a creation that was cut short has no arrays yet.
                repository = icechunk.Repository.open(where.storage())
                if any("operation" in info.metadata for info in repository.ancestry(branch=BRANCH)):
                    raise _exists(where)
            session = repository.writable_session(BRANCH)
            session.commit(message, fill(session))
            return repository
        except (icechunk.IcechunkError, icechunk.ConflictError):
            # Somebody else is making the same store, and one of both has to give way.
            if attempt + 1 == ATTEMPTS or not icechunk.Repository.exists(where.storage()):
                raise
            time.sleep(_POLL_SECONDS)
    raise AssertionError("the last attempt returns or raises")


def _exists(where: Location) -> StoreExists:
    return StoreExists(f"there is a store at {where} already", "open it, or choose another place")


@contextmanager
def _new_folder(where: Location, folder: Path) -> Iterator[None]:
    """Make the folder and hold its writer lock; on an error remove again what is empty and was not there."""
    locks = folder / LOCK_FOLDER
    new = [path for path in (locks, folder, *folder.parents) if not path.exists()]
    try:
        with where.exclusive():
            try:
                yield
            except BaseException:
                if locks in new:
                    (locks / "writer.lock").unlink()
                raise
    except BaseException as error:
        for path in new:
            with suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise StoreError(
                f"no store can be created at {where}: {error.strerror or error} ({error.filename})",
                "choose a folder that can be written",
            ) from error
        raise
