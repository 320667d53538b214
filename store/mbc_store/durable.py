"""Writes that a power cut leaves either undone or done, on any file system.

Icechunk renames new files into place without syncing them first. For chunks, manifests and new snapshots
that is harmless: nothing refers to them before they are synced. It is not for files that are already
referred to: the head, tags, and snapshots whose history is let go.
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path


def partial_path(path: Path) -> Path:
    """A new name beside ``path`` that nobody can guess, so nobody can have put a link there.

    Icechunk leaves names that end in ``#`` and digits out of its listings, and collection deletes them.
    """
    return path.with_name(f"{path.name}#{uuid.uuid4().int}")


def prepare(path: Path, content: str | bytes) -> Path:
    """Write what ``path`` shall hold into a file beside it, whose path is returned. It is not synced.

    Raises:
        OSError: it cannot be written; then nothing of it is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(partial, flags, 0o666), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
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


def write_file(path: Path, content: str | bytes) -> None:
    """Make ``path`` hold ``content``: after a power cut it holds that or what it held before.

    Raises:
        OSError: it cannot be written; then nothing changed.
    """
    partial = prepare(path, content)
    try:
        _fsync(partial)
        publish(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
