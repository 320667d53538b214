"""Making a store so that it is either there and complete, or not there."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import icechunk
import zarr

from mbc_store.commit import BRANCH
from mbc_store.errors import StoreError, StoreExists
from mbc_store.layout import create_arrays
from mbc_store.location import REPOSITORY, Location
from mbc_store.locking import LOCK_FOLDER
from mbc_store.schema import StoreConfig, new_attributes

_UNFINISHED = "unfinished-"

Fill = Callable[[icechunk.Repository], None]


def create_repository(where: Location, fill: Fill) -> icechunk.Repository:
    """Make a store's repository. If that fails, no folder made on the way is left.

    A local one is made under another name and renamed when it is complete and synced.

    Args:
        fill: writes and commits the first contents into the new, empty repository.

    Raises:
        StoreExists: there is one already, or a folder with other things in it.
        StoreCorrupt: there is one that has lost its head.
        StoreError: nothing can be written there.
    """
    if where.path is None:
        return _create_remote(where, fill)
    with _new_folder(where, where.path):
        if where.has_store():
            raise _exists(where)
        for entry in where.path.iterdir():
            if entry.name.startswith(_UNFINISHED):
                shutil.rmtree(entry)
            elif entry.name != LOCK_FOLDER:
                raise StoreExists(f"{where} is not empty and not a store", "choose an empty or new folder")
        unfinished = _UNFINISHED + uuid.uuid4().hex
        try:
            fill(icechunk.Repository.create(where.storage(unfinished)))
            where.sync()
            (where.path / unfinished).rename(where.path / REPOSITORY)
        except BaseException:
            shutil.rmtree(where.path / unfinished, ignore_errors=True)
            raise
        where.sync()
        return icechunk.Repository.open(where.storage())


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


def _create_remote(where: Location, fill: Fill) -> icechunk.Repository:
    if not icechunk.Repository.exists(where.storage()):
        repository = icechunk.Repository.create(where.storage())
    else:
        # The empty repository of a creation that was cut short has no arrays yet.
        repository = icechunk.Repository.open(where.storage())
        if any("operation" in info.metadata for info in repository.ancestry(branch=BRANCH)):
            raise _exists(where)
    fill(repository)
    return repository


def _exists(where: Location) -> StoreExists:
    return StoreExists(f"there is a store at {where} already", "open it, or choose another place")


def empty_store(config: StoreConfig) -> Fill:
    """Contents of a new store without documents."""

    def fill(repository: icechunk.Repository) -> None:
        session = repository.writable_session(BRANCH)
        group = zarr.group(session.store)
        create_arrays(group, config)
        group.update_attributes(new_attributes(config))
        session.commit("create", {"operation": "create", "counts": {}, "documents": 0, "passages": 0})

    return fill
