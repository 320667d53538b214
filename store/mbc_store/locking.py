"""Durability and mutual exclusion on local disks: the writer lock, readers' leases, and syncing."""

from __future__ import annotations

import ctypes
import os
import sys
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mbc_store.errors import StoreInUse, StoreWarning

LOCK_FOLDER = "locks"
WRITER_LOCK, COLLECTOR_LOCK = "writer.lock", "collector.lock"
LOCK_SECONDS = 600.0
SILENT_SECONDS = 1.0
"""Who waits longer than this for a lock is told who holds it."""
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
    with _held(root / LOCK_FOLDER / WRITER_LOCK, f"writing to {root}", timeout):
        yield


@contextmanager
def collector_lock(root: Path) -> Iterator[None]:
    """Held while old snapshots are deleted, and for a moment by readers that choose one: these need not wait
    for writers. Raises as ``writer_lock`` does."""
    with _held(root / LOCK_FOLDER / COLLECTOR_LOCK, f"collecting garbage in {root}", LOCK_SECONDS):
        yield


@contextmanager
def _held(path: Path, doing: str, timeout: float) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, poll_interval=POLL_SECONDS)
    try:
        lock.acquire(timeout=min(SILENT_SECONDS, timeout))
    except Timeout:
        holder = _holder(path)
        warnings.warn(f"waiting for {holder}, which is {doing}", StoreWarning, stacklevel=2)
        try:
            lock.acquire(timeout=max(timeout - SILENT_SECONDS, 0))
        except Timeout as error:
            raise StoreInUse(
                f"{holder} has been {doing} for {timeout:.0f} seconds",
                "wait for it to end, or stop it: the lock goes with the process",
            ) from error
    try:
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    """Who holds a lock, as far as Linux tells; a holder on another machine is never known."""
    with suppress(OSError, ValueError):
        status = path.stat()
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            fields = line.split()  # number: FLOCK ADVISORY WRITE process device start end
            if fields[1] == "FLOCK" and fields[5] == device:
                words = Path(f"/proc/{int(fields[4])}/cmdline").read_text(errors="replace").split("\0")
                command = " ".join(" ".join(words).split())
                return f"process {fields[4]} ({command[:80]})"
    return "another process"


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
