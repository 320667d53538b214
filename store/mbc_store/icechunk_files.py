"""Everything that touches Icechunk 1's own files on a local disk.

The store writes and reads through Icechunk, but for what its API does not offer: references that survive a
power cut, expiry that a power cut cannot leave half done, deleted tags, files left by killed writers, and
opening a repository that lost its head. All of that relies on the layout of Icechunk 1:

- ``refs/branch.NAME/ref.json`` and ``refs/tag.NAME/ref.json`` hold ``{"snapshot": ID}``;
  ``ref.json.deleted`` beside one marks a tag that was deleted;
- ``snapshots/ID`` are rewritten in place by expiry, and by nothing else;
- a file is written as ``NAME#NUMBER`` and renamed, so names with ``#`` are never complete.

Icechunk 2 keeps all references and the history in one ``repo`` object and other snapshots. A move to it
replaces this file: ``write_reference`` and ``rewriting_snapshots`` by the fsync that its own commit lacks or
has by then, ``snapshot_ids`` and ``view_with_head`` by what it offers for a lost head. It opens stores of
Icechunk 1 and upgrades them for good, after which Icechunk 1 cannot read them: such a store needs a format
number of its own (``mbc_store.format``).

Functions take ``root``, the folder of the store. Those that write want the writer lock held.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mbc_store import durable
from mbc_store.errors import StoreUnsafe
from mbc_store.locking import LOCK_FOLDER

REPOSITORY = "icechunk"
FIRST_SNAPSHOT = "1CECHNKREP0F1RSTCMT0"
"""The empty snapshot that every repository begins with."""
_GUARD = Path(LOCK_FOLDER) / "expiring"


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


def write_reference(root: Path, name: str, snapshot_id: str, sync: Callable[[], None] | None = None) -> None:
    """Point ``branch.NAME`` or ``tag.NAME`` at a snapshot.

    Args:
        sync: makes everything written so far survive a power cut; called before the reference is moved.

    Raises:
        OSError: it cannot be written.
    """
    path = root / REPOSITORY / "refs" / name / "ref.json"
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


@contextmanager
def rewriting_snapshots(root: Path, sync: Callable[[], None]) -> Iterator[None]:
    """While expiry rewrites snapshots keep the originals, so that ``undo_rewriting`` can bring them back.

    When the block has ended and everything is synced, the originals go.
    """
    guard = root / _GUARD
    partial = guard.with_name(guard.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(snapshots(root), partial, copy_function=_link)
    except BaseException:  # on a full disk, say: what was copied would make it fuller
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync()
    partial.rename(guard)
    sync()
    yield
    sync()
    guard.rename(partial)
    sync()
    shutil.rmtree(partial)


def is_rewriting(root: Path) -> bool:
    """Whether snapshots are being rewritten now, or were when a process or the machine stopped."""
    return (root / _GUARD).is_dir()


def undo_rewriting(root: Path, sync: Callable[[], None]) -> None:
    """Bring back the originals if a rewrite was cut short."""
    guard = root / _GUARD
    if not guard.is_dir():
        return
    for original in guard.iterdir():
        target = snapshots(root) / original.name
        partial = durable.partial_path(target)
        _link(original, partial)
        partial.replace(target)
    sync()
    shutil.rmtree(guard)


def view_with_head(root: Path, view: Path, name: str, snapshot_id: str) -> None:
    """Make ``view`` a store of links to everything in ``root`` but its references, with one of its own."""
    write_reference(view, name, snapshot_id)
    for entry in (root / REPOSITORY).iterdir():
        if entry.name != "refs":
            (view / REPOSITORY / entry.name).symlink_to(entry)


def _link(source: str | Path, target: str | Path) -> None:
    """Original and copy may share their bytes: Icechunk replaces files and never writes into them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
