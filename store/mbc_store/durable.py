"""Writes that a power cut leaves either undone or done, on any file system.

Icechunk renames new files into place without syncing them first. For chunks, manifests and new snapshots
that is harmless: nothing refers to them before they are synced. It is not for files that are already
referred to: the head, tags, and the snapshots that expiry rewrites.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

GUARD = Path("locks") / "expiring"


def prepare(path: Path, text: str) -> Path:
    """Write what ``path`` shall hold into a file beside it, whose path is returned. It is not synced.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}#{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    return partial


def publish(partial: Path, path: Path) -> None:
    """Rename ``partial``, which must be synced, to ``path``: a power cut leaves the old file or the new.

    Raises:
        OSError: it cannot be renamed, or the device reported an error.
    """
    if sys.platform != "linux":  # elsewhere syncing a file system may only begin to
        _fsync(partial)
    partial.replace(path)
    if os.name == "posix":
        _fsync(path.parent)


def write_file(path: Path, text: str) -> None:
    """Make ``path`` hold ``text``: after a power cut it holds that or what it held before.

    Raises:
        OSError: it cannot be written; then nothing changed.
    """
    partial = prepare(path, text)
    _fsync(partial)
    publish(partial, path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def guarded(root: Path, folder: Path, sync: Callable[[], None]) -> Iterator[None]:
    """While files of ``folder`` are rewritten keep the originals, so that ``undo`` can bring them back.

    When the block has ended and everything is synced, the originals go. Call with the writer lock held.
    """
    guard = root / GUARD
    partial = guard.with_name(guard.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder, partial, copy_function=_link)
    sync()
    partial.rename(guard)
    sync()
    yield
    sync()
    guard.rename(partial)
    sync()
    shutil.rmtree(partial)


def needs_undo(root: Path) -> bool:
    """Whether files are being rewritten now, or were when a process or the machine stopped."""
    return (root / GUARD).is_dir()


def undo(root: Path, folder: Path, sync: Callable[[], None]) -> None:
    """Bring back the originals if a rewrite was cut short. Call with the writer lock held."""
    guard = root / GUARD
    if not guard.is_dir():
        return
    for original in guard.iterdir():
        partial = folder / f"{original.name}#0"  # listings leave out names of this form
        partial.unlink(missing_ok=True)
        _link(original, partial)
        partial.replace(folder / original.name)
    sync()
    shutil.rmtree(guard)


def _link(source: str | Path, target: str | Path) -> None:
    """Original and copy may share their bytes: Icechunk replaces files and never writes into them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
