"""Letting history go: the old part of it, and the part that can no longer be read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import icechunk

from mbc_store import icechunk_files
from mbc_store.columns import Columns
from mbc_store.errors import StoreCorrupt, translated
from mbc_store.icechunk_files import FIRST_SNAPSHOT, SnapshotFile
from mbc_store.records import Commit
from mbc_store.repository import BRANCH, Repository
from mbc_store.waiting import wait


@dataclass(slots=True)
class Line:
    """What can be read of a reference's history.

    Attributes:
        reference: ``branch.NAME`` or ``tag.NAME``.
        snapshots: newest first, without the empty one that all history begins with.
        damage: the newest snapshot that cannot be read, None if all can.
    """

    reference: str
    snapshots: list[icechunk.SnapshotInfo] = field(default_factory=list)
    damage: str | None = None


def lines(repository: Repository, deep: bool = False) -> Iterator[Line]:
    """The history of every branch and tag.

    Args:
        deep: read the lists of chunks too, instead of only looking whether they are there (local stores).
    """
    sound: dict[str, icechunk.SnapshotInfo | None] = {}
    tips = {f"branch.{name}": repository.icechunk.lookup_branch(name) for name in repository.branches()}
    tips |= {f"tag.{name}": snapshot_id for name, snapshot_id in repository.tags().items()}
    for reference, tip in tips.items():
        line = Line(reference)
        current: str | None = tip
        seen: set[str] = set()
        while current is not None:
            if current not in sound:
                sound[current] = _look_up(repository, current, deep)
            info = sound[current]
            if info is None or current in seen:
                line.damage = current
                break
            seen.add(current)
            if current == FIRST_SNAPSHOT:
                break
            line.snapshots.append(info)
            current = info.parent_id
        yield line


def _look_up(repository: Repository, snapshot_id: str, deep: bool) -> icechunk.SnapshotInfo | None:
    """None if it, or what says where its chunks are, is damaged.

    Raises:
        StoreError: the storage does not answer, which is no damage.
    """
    root = repository.location.path
    try:
        with translated(repository.location):
            info = repository.icechunk.lookup_snapshot(snapshot_id)
            if root is not None and not all(_is_whole(root, manifest) for manifest in info.manifests):
                return None
            if deep and "operation" in info.metadata:
                session = repository.session(snapshot_id)
                Columns(session, repository.location)
                wait(_list(session))
            return info
    except StoreCorrupt:
        return None


def _is_whole(root: Path, manifest: icechunk.ManifestFileInfo) -> bool:
    path = root / icechunk_files.REPOSITORY / "manifests" / manifest.id
    return path.is_file() and path.stat().st_size == manifest.size_bytes


async def _list(session: icechunk.Session) -> None:
    async for _ in session.store.list_prefix(""):
        pass


def chosen(commits: Sequence[Commit], keep_last: int, keep_daily: int) -> list[Commit]:
    """Of ``commits``, newest first, the last ones and the newest of each of the last days with any (UTC).

    Tagged ones and the newest stay in any case.
    """
    newest = {commit.time.date(): commit for commit in reversed(commits)}
    daily = {newest[day].id for day in sorted(newest, reverse=True)[:keep_daily]}
    last = max(keep_last, 1)
    return [commit for n, commit in enumerate(commits) if n < last or commit.id in daily or commit.tags]


def thin(repository: Repository, kept: Collection[str]) -> int:
    """Leave all commits but ``kept``, and those that branches and tags name, out of the history of a local
    store; how many went. Call with the writer lock held.

    A commit that stays follows the next older one that stays: one file is replaced for each, and at any
    moment the store is whole.

    Raises:
        StoreCorrupt: the history is damaged.
    """
    root = repository.location.path
    assert root is not None
    found = list(lines(repository))
    if any(line.damage is not None for line in found):
        raise StoreCorrupt(f"the history of {repository.location} is damaged", "run `mbc memory repair`")
    gone: set[str] = set()
    followed: set[str] = set()
    for line in found:
        older = FIRST_SNAPSHOT
        for snapshot in reversed(line.snapshots):
            if snapshot.id not in kept and snapshot is not line.snapshots[0]:
                gone.add(snapshot.id)
                continue
            if snapshot.id not in followed and snapshot.parent_id not in (None, older):
                file = SnapshotFile(icechunk_files.snapshots(root) / snapshot.id)
                file.follow(older)
                file.write()
            followed.add(snapshot.id)
            older = snapshot.id
    repository.reopen()
    return len(gone)


def let_go(repository: Repository, expire_before: datetime | None, deep: bool = False) -> tuple[int, int]:
    """Cut off the history of a local store: what is older than ``expire_before`` and what is damaged. The
    newest commit and tagged ones stay. Call with the writer lock held.

    One file is replaced for each branch or tag; at any moment the store is whole.

    Returns:
        How many commits went, and how many of them because damage lies between them and what stays.

    Raises:
        StoreCorrupt: the newest commit is damaged.
    """
    root = repository.location.path
    assert root is not None
    if _look_up(repository, FIRST_SNAPSHOT, deep=False) is None:
        icechunk_files.restore_first_snapshot(root)
        repository.reopen()
    kept: set[str] = set()
    readable: set[str] = set()
    damaged: set[str] = set()
    for line in lines(repository, deep):
        if line.damage is not None:
            damaged.add(line.damage)
        if not line.snapshots:
            if line.reference == f"branch.{BRANCH}" and line.damage is not None:
                raise StoreCorrupt(
                    f"the newest commit of {repository.location} is damaged", "run `mbc memory repair`"
                )
            if line.damage is not None and line.reference.startswith("tag."):
                repository.icechunk.delete_tag(line.reference.removeprefix("tag."))
            continue
        before = expire_before or datetime.min.replace(tzinfo=UTC)
        old = (n for n, snapshot in enumerate(line.snapshots) if n and snapshot.written_at < before)
        count = next(old, len(line.snapshots))
        readable |= {snapshot.id for snapshot in line.snapshots}
        kept |= {snapshot.id for snapshot in line.snapshots[:count]}
        last = line.snapshots[count - 1]
        if last.parent_id not in (None, FIRST_SNAPSHOT):
            file = SnapshotFile(icechunk_files.snapshots(root) / last.id)
            file.follow(FIRST_SNAPSHOT)
            file.write()
    repository.reopen()
    return len(readable - kept) + len(damaged - kept), len(damaged - kept)
