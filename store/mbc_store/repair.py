"""Bringing a damaged store back: what would be kept and lost is decided first and done on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import icechunk

from mbc_store import icechunk_files
from mbc_store.columns import Columns
from mbc_store.compaction import Salvage, read_blocks
from mbc_store.errors import StoreCorrupt, StoreError, StoreNotFound, translated
from mbc_store.history import commits
from mbc_store.location import Location
from mbc_store.maintenance import rewrite
from mbc_store.repository import BRANCH, Repository
from mbc_store.verification import Problem, check_snapshot

ANCESTORS = 100
RESTORE = "restore it from a copy or an export"

Action = Literal["none", "rewrite", "restore"]


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What ``repair`` would do.

    Attributes:
        action: ``none``; ``rewrite`` the newest commit without what cannot be read (counts and index are
            made anew); or ``restore`` a snapshot as the newest because the head is lost or cannot be
            opened.
        snapshot: the one that is kept.
        documents: living documents after the repair.
        lost_documents: documents of the newest commit that cannot be read; None where not even their number
            is known.
        recovered_documents: documents that can be read in an earlier snapshot only, and come from there.
        lost_details: documents that keep their codes but lose text, title, time or metadata.
        lost_commits: commits newer than ``snapshot``.
        problems: what is wrong now.
    """

    action: Action
    snapshot: str
    documents: int
    lost_documents: int | None
    recovered_documents: int
    lost_details: int
    lost_commits: int
    problems: tuple[Problem, ...] = field(default=())


def plan_repair(location: Location) -> RepairPlan:
    """Find the repair that keeps the most documents. Changes nothing.

    Raises:
        StoreNotFound: there is no store.
        StoreCorrupt: no snapshot of the store can be read.
    """
    with suppress(StoreCorrupt):
        if not Repository.exists(location):
            raise StoreNotFound(f"there is no store at {location}", "check the path")
    with translated(location), _readable(location) as (repository, head):
        return _best_plan(repository, head)


def _best_plan(repository: Repository, head: str | None) -> RepairPlan:
    location = repository.location
    problems: tuple[Problem, ...] = (Problem("unreadable", "the head is lost or cannot be read"),)
    best: RepairPlan | None = None
    best_gain = 0
    forgotten = _forgotten_since(repository)
    for age, snapshot_id in enumerate(_candidates(repository, head)):
        session = _session(repository, snapshot_id)
        found = (
            check_snapshot(session, location)
            if session
            else [Problem("unreadable", f"snapshot {snapshot_id}")]
        )
        if snapshot_id == head:
            problems = tuple(found)
            if session and not found:
                documents = Columns(session, location).lengths.alive
                return RepairPlan("none", snapshot_id, documents, 0, 0, 0, 0)
        plan = _plan(repository, session, snapshot_id, bool(found), snapshot_id == head, age)
        # An older snapshot also brings back what was forgotten since; that is no gain.
        if plan is not None and (best is None or plan.documents - forgotten.get(snapshot_id, 0) > best_gain):
            best, best_gain = plan, plan.documents - forgotten.get(snapshot_id, 0)
        if not found:
            break
    if best is None:
        raise StoreCorrupt(f"no snapshot of {location} can be read", RESTORE)
    return replace(best, problems=problems)


def _plan(
    repository: Repository,
    session: icechunk.Session | None,
    snapshot_id: str,
    damaged: bool,
    newest: bool,
    age: int,
) -> RepairPlan | None:
    if session is None:
        return None
    if not damaged:
        documents = Columns(session, repository.location).lengths.alive
        return RepairPlan("restore", snapshot_id, documents, None, 0, 0, age)
    salvage = Salvage(_ancestors(repository, snapshot_id))
    try:
        columns = Columns(session, repository.location)
        kept = sum(len(block.passages) for block in read_blocks(columns, salvage))
    except StoreError:
        return None
    lost = max(columns.lengths.alive - kept, 0)
    action: Action = "rewrite" if newest else "restore"
    return RepairPlan(action, snapshot_id, kept, lost, len(salvage.recovered), len(salvage.stripped), age)


def apply_repair(location: Location, plan: RepairPlan) -> None:
    """Carry out ``plan``. Nothing is deleted: damaged objects stay until the next collection."""
    if plan.action == "none":
        return
    with translated(location), location.exclusive():
        repository = _with_head(location, plan.snapshot)
        session = _session(repository, plan.snapshot)
        if session is None or check_snapshot(session, location):
            rewrite(repository, Salvage(_ancestors(repository, plan.snapshot)))
        location.sync()


def _ancestors(repository: Repository, snapshot_id: str) -> list[Columns]:
    """Earlier snapshots in which documents have the same numbers: back to the last compaction."""
    found: list[Columns] = []
    with suppress(StoreError):
        for info in islice(repository.ancestry(snapshot_id), ANCESTORS):
            if info.id != snapshot_id:
                with suppress(StoreError):
                    found.append(Columns(repository.session(info.id), repository.location))
            if info.metadata.get("operation") in ("compact", "repair", "create"):
                break
    return found


@contextmanager
def _readable(location: Location) -> Iterator[tuple[Repository, str | None]]:
    """The repository and its head; where that cannot be read, a view of the repository, and None.

    Icechunk opens nothing without a head. The view is a folder elsewhere of links to everything but the
    references, with a head of its own at the newest snapshot, so that the store stays as it is.

    Raises:
        StoreCorrupt: there are no snapshots.
    """
    try:
        opened = icechunk.Repository.open(location.storage())
    except icechunk.IcechunkError as error:
        snapshots = [] if location.path is None else icechunk_files.snapshot_ids(location.path)
        if location.path is None or not snapshots:
            raise StoreCorrupt(f"no snapshot of {location} can be read", RESTORE) from error
        with TemporaryDirectory(prefix="mbc-repair-") as folder:
            icechunk_files.view_with_head(location.path, Path(folder), f"branch.{BRANCH}", snapshots[0])
            opened = icechunk.Repository.open(Location.parse(folder).storage())
            yield Repository(opened, location), None
    else:
        yield Repository(opened, location), _head(opened)


def _head(opened: icechunk.Repository) -> str | None:
    try:
        return opened.lookup_branch(BRANCH)
    except icechunk.IcechunkError:
        return None


def _session(repository: Repository, snapshot_id: str) -> icechunk.Session | None:
    try:
        return repository.session(snapshot_id)
    except StoreError:
        return None


def _candidates(repository: Repository, head: str | None) -> list[str]:
    """Snapshots worth trying, newest first: the head and its history, else every snapshot on disk."""
    known: list[str] = [head] if head else []
    with suppress(StoreError):
        known += [commit.id for commit in commits(repository) if commit.id != head]
    root = repository.location.path
    if len(known) < 2 and root is not None:
        known += [name for name in icechunk_files.snapshot_ids(root) if name not in known]
    return known


def _forgotten_since(repository: Repository) -> dict[str, int]:
    """By snapshot: how many documents the commits after it forgot."""
    after: dict[str, int] = {}
    total = 0
    with suppress(StoreError):
        for commit in commits(repository):
            after[commit.id] = total
            total += commit.counts.forgotten
    return after


def _with_head(location: Location, snapshot_id: str) -> Repository:
    """The repository, its head set to ``snapshot_id``."""
    if location.path is not None:
        icechunk_files.write_reference(location.path, f"branch.{BRANCH}", snapshot_id)
        return Repository(icechunk.Repository.open(location.storage()), location)
    opened = icechunk.Repository.open(location.storage())
    head = _head(opened)
    if head != snapshot_id:
        opened.reset_branch(BRANCH, snapshot_id, from_snapshot_id=head)
    return Repository(opened, location)
