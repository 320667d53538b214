"""Durability and mutual exclusion on local disks: the writer lock, readers' leases, and syncing."""

from __future__ import annotations

import ctypes
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mbc_store.errors import StoreInUse

LOCK_FOLDER = "locks"
LOCK_SECONDS = 600.0
POLL_SECONDS = 0.005


def sync_file_system(path: Path) -> None:
    """Return once everything written so far to the file system of ``path`` is on the device.

    Raises:
        OSError: the device reported an error.
    """
    if sys.platform == "linux":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(path))
        finally:
            os.close(descriptor)
    else:
        os.sync()


@contextmanager
def writer_lock(root: Path, timeout: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the store's writer lock; the operating system releases it when a process dies.

    Raises:
        StoreInUse: another writer held it for ``timeout`` seconds.
        OSError: the folder cannot be written.
    """
    folder = root / LOCK_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "writer.lock", timeout=timeout, poll_interval=POLL_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreInUse(
            f"another process has been writing to {root} for {timeout:.0f} seconds",
            "wait for it to end, or stop it: the lock goes with the process",
        ) from error
    try:
        yield
    finally:
        lock.release()


class ReaderLease:
    """Tells garbage collection which snapshot a reader is looking at.

    A lease is a locked file; an empty second file names the snapshot in its own name. It is taken before
    the snapshot is chosen and named after, so collection can never miss a reader. A dead process holds
    nothing back: its lock is gone, and the next collection removes the files.
    """

    def __init__(self, root: Path) -> None:
        """Raises OSError where the folder cannot be written (then nothing can collect through it either)."""
        folder = root / LOCK_FOLDER / "readers"
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{os.getpid()}-{uuid.uuid4().hex}.lock"
        self._lock = FileLock(self._path, thread_local=False)
        self._lock.acquire()

    def protect(self, snapshot_id: str) -> None:
        """Name the snapshot that must stay readable.

        On a disk without room for a name the lease is given up: reading must still work there, and an
        unnamed lease would keep collection from making room.
        """
        try:
            self._path.with_suffix(f".{snapshot_id}").touch()
        except OSError:
            self.release()

    def release(self) -> None:
        """Idempotent."""
        with suppress(OSError):
            _remove(self._path)
        self._lock.release()


def _remove(lease: Path) -> None:
    for path in [*lease.parent.glob(f"{lease.stem}.*")]:
        path.unlink(missing_ok=True)


def leased_snapshots(root: Path) -> dict[str, list[str]]:
    """Snapshots that living readers look at, each with the readers' process ids.

    The key "" stands for readers that have not chosen theirs yet. Leases of dead processes are removed.
    Call with the writer lock held.
    """
    leases: dict[str, list[str]] = {}
    for path in sorted((root / LOCK_FOLDER / "readers").glob("*.lock")):
        probe = FileLock(path, timeout=0)
        try:
            probe.acquire()
        except Timeout:
            names = [other.suffix[1:] for other in path.parent.glob(f"{path.stem}.*") if other != path]
            leases.setdefault(names[0] if names else "", []).append(path.name.split("-")[0])
            continue
        except OSError:
            continue
        _remove(path)
        probe.release()
    return leases
