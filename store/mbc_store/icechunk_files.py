"""Everything that touches Icechunk 1's own files on a local disk.

The store writes and reads through Icechunk, but for what its API does not offer: references that survive a
power cut, letting history go without reading all of it, commits while the clock is wrong, deleted tags, files
left by killed writers, and opening a repository that lost its head. That relies on the layout of Icechunk 1:

- ``refs/branch.NAME/ref.json`` and ``refs/tag.NAME/ref.json`` hold ``{"snapshot": ID}``;
  ``ref.json.deleted`` beside one marks a tag that was deleted;
- ``snapshots/ID`` name their parent and their time (``SnapshotFile``);
- a file is written as ``NAME#NUMBER`` and renamed, so names with ``#`` are never complete.

Icechunk 2 keeps all references and the history in one ``repo`` object and other snapshots. A move to it
replaces this file: ``write_reference`` by the fsync that its own commit lacks or has by then,
``SnapshotFile`` by its expiry and its checks of time, ``snapshot_ids`` and ``view_with_head`` by what it has
for a lost head. It opens stores of Icechunk 1 and upgrades them for good, after which Icechunk 1 cannot read
them: such a store needs a format number of its own (``mbc_store.format``).

Functions take ``root``, the folder of the store, whose repository is in ``icechunk``. Those that write want
the writer lock held.
"""

from __future__ import annotations

import json
import os
import secrets
import struct
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import icechunk
import zstandard

from mbc_store import durable
from mbc_store.errors import DamagedChunk, StoreUnsafe
from mbc_store.locking import LOCK_FOLDER

REPOSITORY = "icechunk"
FIRST_SNAPSHOT = "1CECHNKREP0F1RSTCMT0"
"""The empty snapshot that every repository begins with."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD_BYTES = 39
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # of ids, five bits each


def snapshots(root: Path) -> Path:
    """The folder of the snapshots."""
    return root / REPOSITORY / "snapshots"


def snapshot_ids(root: Path) -> list[str]:
    """Ids of the snapshots on disk, newest file first."""
    if not snapshots(root).is_dir():
        return []
    files = [path for path in snapshots(root).iterdir() if path.is_file() and "#" not in path.name]
    return [path.name for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True)]


def refuse_foreign_entries(root: Path) -> None:
    """Raise StoreUnsafe if anything in the store is a link, a pipe or a device.

    A store may come from anybody: through a link, collection would delete another store's chunks and a
    commit overwrite any file; a pipe blocks whoever reads it. Call this before anything is read.
    """
    folders = [root / REPOSITORY, root / LOCK_FOLDER]
    for top in folders:
        if top.is_symlink():
            raise _unsafe(root, top)
    while folders:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    raise _unsafe(root, Path(entry.path))


def _unsafe(root: Path, entry: Path) -> StoreUnsafe:
    what = "a symbolic link" if entry.is_symlink() else "neither a file nor a folder"
    return StoreUnsafe(
        f"{entry.relative_to(root)} in the store {root} is {what}; nothing of it was read",
        "a store holds only files and folders: get it anew, from somebody you trust",
    )


def references(root: Path, kind: str) -> list[str]:
    """Names of the branches or tags, sorted. Icechunk's own listing fails where a stray file lies by them."""
    folders = (root / REPOSITORY / "refs").glob(f"{kind}.*")
    found = [path for path in folders if (path / "ref.json").is_file()]
    return sorted(p.name.removeprefix(f"{kind}.") for p in found if not (p / "ref.json.deleted").exists())


def move_stray_files(root: Path) -> None:
    """Move files that lie directly in ``refs`` (a file manager's, say) up, where Icechunk does not trip over
    them."""
    for path in (root / REPOSITORY / "refs").iterdir():
        if path.is_file():
            path.replace(root / REPOSITORY / f"stray-{uuid.uuid4().hex}-{path.name}")


def write_reference(
    repository: Path, name: str, snapshot_id: str, sync: Callable[[], None] | None = None
) -> None:
    """Point ``branch.NAME`` or ``tag.NAME`` at a snapshot.

    Args:
        sync: makes everything written so far survive a power cut; called before the reference is moved.

    Raises:
        OSError: it cannot be written.
    """
    path = repository / "refs" / name / "ref.json"
    text = json.dumps({"snapshot": snapshot_id})
    if sync is None:
        durable.write_file(path, text)
    else:
        partial = durable.prepare(path, text)
        sync()
        durable.publish(partial, path)


def was_deleted(root: Path, tag: str) -> bool:
    """Whether there was a tag of that name. Icechunk marks them, so that a name never changes its meaning."""
    return (root / REPOSITORY / "refs" / f"tag.{tag}" / "ref.json.deleted").exists()


def sweep_partial_files(root: Path) -> None:
    """Delete files that killed writers left half written."""
    for path in (root / REPOSITORY).rglob("*#*"):
        if path.is_file():
            path.unlink(missing_ok=True)


class SnapshotFile:
    """A snapshot's file: 39 bytes that describe it, then a table in the FlatBuffers format, packed by zstd.

    Fields of the table by Icechunk's ``snapshot.fbs``: 0 id, 1 parent_id, 2 nodes, 3 flushed_at, ... Ids and
    times have fixed sizes, so both can be changed in place; nothing else is.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError, or DamagedChunk where it is no such file."""
        self._path = path
        data = path.read_bytes()
        self._head, body = data[:_HEAD_BYTES], data[_HEAD_BYTES:]
        try:
            if self._head[-1]:  # the last of them says how the table is packed
                body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
            self._table = bytearray(body)
            self._parent, self._time = self._field(1), self._field(3)
        except (struct.error, IndexError, zstandard.ZstdError) as error:
            raise DamagedChunk(f"{path.name} is no snapshot: {error}") from error

    def _field(self, number: int) -> int:
        """Where a field of the root table begins."""
        (table,) = struct.unpack_from("<I", self._table, 0)
        (back,) = struct.unpack_from("<i", self._table, table)
        (offset,) = struct.unpack_from("<H", self._table, table - back + 4 + 2 * number)
        return int(table + offset) if offset else 0

    def follow(self, parent: str) -> None:
        """Make it the child of another snapshot; the root of all has no place for a parent."""
        assert self._parent
        number = sum(_DIGITS.index(digit) << 5 * (19 - place) for place, digit in enumerate(parent))
        self._table[self._parent : self._parent + 12] = (number >> 4).to_bytes(12, "big")

    def stamp(self, moment: datetime) -> None:
        """Set when it was committed."""
        struct.pack_into("<Q", self._table, self._time, (moment - EPOCH) // timedelta(microseconds=1))

    def write(self, path: Path | None = None) -> None:
        """Write it to where it came from, or elsewhere. Raises OSError; then nothing changed."""
        packed = zstandard.compress(bytes(self._table)) if self._head[-1] else bytes(self._table)
        durable.write_file(path or self._path, self._head + packed)


def stand_in(root: Path, snapshot_id: str) -> str:
    """A snapshot like another, committed long ago; its id. What is written on it follows the other, whose id
    its file holds."""
    name = "".join(secrets.choice(_DIGITS) for _ in range(19)) + "0"
    file = SnapshotFile(snapshots(root) / snapshot_id)
    file.stamp(EPOCH)
    file.write(snapshots(root) / name)
    return name


def restore_first_snapshot(root: Path) -> None:
    """Put back the snapshot that all history begins with, which is the same in every repository."""
    with TemporaryDirectory(prefix="mbc-first-") as folder:
        icechunk.Repository.create(icechunk.local_filesystem_storage(folder))
        file = SnapshotFile(Path(folder) / "snapshots" / FIRST_SNAPSHOT)
        file.stamp(EPOCH)
        file.write(snapshots(root) / FIRST_SNAPSHOT)


def view_with_head(root: Path, view: Path, name: str, snapshot_id: str) -> None:
    """Make ``view`` a store of links to everything in ``root`` but its references, with one of its own."""
    write_reference(view / REPOSITORY, name, snapshot_id)
    for entry in (root / REPOSITORY).iterdir():
        if entry.name != "refs":
            (view / REPOSITORY / entry.name).symlink_to(entry)
