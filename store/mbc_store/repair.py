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
import numpy as np

from mbc_store import icechunk_files
from mbc_store.columns import Columns
from mbc_store.compaction import Salvage, read_blocks, read_texts
from mbc_store.errors import StoreCorrupt, StoreError, StoreNotFound, translated
from mbc_store.expiry import let_go
from mbc_store.history import commit_of, commits
from mbc_store.icechunk_files import FIRST_SNAPSHOT
from mbc_store.id_index import IdIndex
from mbc_store.location import Location
from mbc_store.maintenance import rewrite, start_new_history
from mbc_store.records import Counts, StoredDocument
from mbc_store.repository import BRANCH, Repository
from mbc_store.verification import Problem, check_history, check_snapshot

ANCESTORS = 100
RESTORE = "restore it from a copy or an export"
RENUMBERING = ("compact", "repair", "create")
"""Operations after which documents have other numbers than before."""

MOST_DOCUMENTS = 2**32
"""Numbers of documents have four bytes in the index."""

Action = Literal["none", "rewrite", "restore", "cut"]


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What ``repair`` would do.

    Attributes:
        action: ``none``; ``cut`` off the part of the history that cannot be read; ``rewrite`` the newest
            commit without what cannot be read (counts and index are made anew); or ``restore`` a snapshot as
            the newest because the head is lost or holds less.
        snapshot: the one that is kept.
        documents: living documents after the repair.
        lost_documents: documents of the newest commit that are not among them; None where not even their
            number is known.
        recovered_documents: documents that can be read in an earlier snapshot only, and come from there.
        lost_details: documents that keep their codes but lose text, title, time or metadata.
        lost_commits: commits newer than ``snapshot``.
        forgotten_again: documents of ``snapshot`` that later commits forgot; the repair forgets them too.
        returning: forgotten documents that come back, since it is not known which; None where not even their
            number is known.
        reverted: documents that go back to what they held before they were replaced; None likewise.
        reencodable: documents whose codes are lost and whose text is not (``salvaged_texts``).
        problems: what is wrong now.
    """

    action: Action
    snapshot: str
    documents: int
    lost_documents: int | None = 0
    recovered_documents: int = 0
    lost_details: int = 0
    lost_commits: int = 0
    forgotten_again: int = 0
    returning: int | None = 0
    reverted: int | None = 0
    reencodable: int = 0
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
    problems = [Problem("unreadable", "the head is lost or cannot be read")]
    best: RepairPlan | None = None
    since = _Since(repository, head)
    for age, snapshot_id in enumerate(_candidates(repository, head)):
        session = _session(repository, snapshot_id)
        found = (
            check_snapshot(session, location)
            if session
            else [Problem("unreadable", f"snapshot {snapshot_id}")]
        )
        if snapshot_id == head:
            problems = found
            if session and not found:
                problems = check_history(repository)
                documents = Columns(session, location).lengths.alive
                return RepairPlan("cut" if problems else "none", head, documents, problems=tuple(problems))
        if session is not None:
            with suppress(StoreCorrupt):
                columns = Columns(session, location)
                plan = _plan(repository, columns, snapshot_id, bool(found), head, age, since)
                # Forgotten documents that come back are no gain.
                if best is None or plan.documents - (plan.returning or 0) > best.documents:
                    best = plan
        if not found:
            break
    if best is None:
        raise StoreCorrupt(f"no snapshot of {location} can be read", RESTORE)
    texts = 0 if head is None else sum(1 for _ in _salvaged(repository, head, best))
    return replace(best, reencodable=texts, problems=tuple(problems))


def _plan(
    repository: Repository,
    columns: Columns,
    snapshot_id: str,
    damaged: bool,
    head: str | None,
    age: int,
    since: _Since,
) -> RepairPlan:
    if snapshot_id == head:
        salvage = Salvage(_ancestors(repository, snapshot_id))
        kept = sum(len(block.passages) for block in read_blocks(columns, salvage))
        lost = max(columns.lengths.alive - kept, 0)
        return RepairPlan(
            "rewrite", snapshot_id, kept, lost, len(salvage.recovered), len(salvage.stripped), age
        )
    forgotten = since.forgotten(snapshot_id)
    salvage = Salvage(_ancestors(repository, snapshot_id) if damaged else [], forgotten)
    kept = columns.lengths.alive
    if damaged or forgotten:
        kept = sum(len(block.passages) for block in read_blocks(columns, salvage))
    counts = since.counts(snapshot_id)
    return RepairPlan(
        "restore",
        snapshot_id,
        kept,
        None if since.documents is None else max(since.documents - kept, 0),
        len(salvage.recovered),
        len(salvage.stripped),
        age,
        len(forgotten),
        None if counts is None else counts.forgotten - len(forgotten),
        None if counts is None else counts.replaced,
    )


def apply_repair(location: Location, plan: RepairPlan) -> None:
    """Carry out ``plan``. Nothing is deleted: damaged objects stay until the next collection."""
    if plan.action == "none":
        return
    with translated(location), location.exclusive():
        if plan.action == "restore":
            repository = _restored(location, plan)
        else:
            repository = Repository(icechunk.Repository.open(location.storage()), location)
            if plan.action == "rewrite":
                rewrite(repository, Salvage(_ancestors(repository, plan.snapshot)))
        if check_history(repository):
            if location.path is not None:
                let_go(repository, None, deep=True)
            else:
                start_new_history(repository)
        location.sync()


def _restored(location: Location, plan: RepairPlan) -> Repository:
    """Make ``plan.snapshot`` the newest, without what later commits forgot."""
    with _readable(location) as (repository, head):
        forgotten = _Since(repository, head).forgotten(plan.snapshot)
        session = _session(repository, plan.snapshot)
        whole = session is not None and not check_snapshot(session, location)
    if whole and not forgotten:
        return _with_head(location, plan.snapshot)
    # The forgotten must not be there for a moment: until the new commit is the head, there is none to read.
    repository = _with_head(location, FIRST_SNAPSHOT)
    rewrite(repository, Salvage(_ancestors(repository, plan.snapshot), forgotten), plan.snapshot)
    return repository


def salvaged_texts(location: Location, plan: RepairPlan) -> Iterator[StoredDocument]:
    """Documents of the newest commit whose text can be read, which ``plan`` loses: read them before it is
    carried out, and encode them when it is."""
    if plan.reencodable:
        with translated(location), _readable(location) as (repository, head):
            if head is not None:
                yield from _salvaged(repository, head, plan)


def _salvaged(repository: Repository, head: str, plan: RepairPlan) -> Iterator[StoredDocument]:
    session = _session(repository, head)
    if session is None:
        return
    with suppress(StoreCorrupt):
        columns = Columns(session, repository.location)
        if plan.action == "rewrite":
            salvage = Salvage(_ancestors(repository, head))
            for _ in read_blocks(columns, salvage):
                pass
            yield from read_texts(columns, salvage.lost)
        else:
            kept = Columns(repository.session(plan.snapshot), repository.location)
            for document in read_texts(columns, range(columns.lengths.documents)):
                number = IdIndex(kept).find([document.id]).get(document.id)
                if number is None or kept.take("documents/digest", np.array([number]))[0] != document.digest:
                    yield document


class _Since:
    """What the commits after a snapshot did, as far as the history can be read."""

    def __init__(self, repository: Repository, head: str | None) -> None:
        self._commits: list[icechunk.SnapshotInfo] = []
        if head is not None:
            with suppress(StoreError):
                for info in repository.ancestry(head):
                    self._commits.append(info)
        documents = self._commits[0].metadata.get("documents") if self._commits else None
        self.documents = documents if isinstance(documents, int) else None

    def _after(self, snapshot_id: str) -> list[icechunk.SnapshotInfo] | None:
        """Commits after a snapshot, oldest first."""
        ids = [info.id for info in self._commits]
        return self._commits[: ids.index(snapshot_id)][::-1] if snapshot_id in ids else None

    def counts(self, snapshot_id: str) -> Counts | None:
        """Documents replaced and forgotten since; None where that cannot be read."""
        after = self._after(snapshot_id)
        if after is None:
            return None
        try:
            done = [commit_of(info).counts for info in after]
        except StoreCorrupt:
            return None
        return Counts(
            replaced=sum(counts.replaced for counts in done),
            forgotten=sum(counts.forgotten for counts in done),
        )

    def forgotten(self, snapshot_id: str) -> frozenset[int]:
        """Numbers, in that snapshot, of the documents that are known to have been forgotten since."""
        numbers: set[int] = set()
        for info in self._after(snapshot_id) or []:
            if info.metadata.get("operation") in RENUMBERING:
                break
            # What is no list of ranges was written by no store; then it is not known which they are.
            with suppress(TypeError, ValueError):
                for first, stop in info.metadata.get("forgotten", []):
                    numbers.update(range(first, min(stop, MOST_DOCUMENTS)))
        return frozenset(numbers)


def _ancestors(repository: Repository, snapshot_id: str) -> list[Columns]:
    """Earlier snapshots in which documents have the same numbers: back to the last compaction."""
    found: list[Columns] = []
    with suppress(StoreError):
        for info in islice(repository.ancestry(snapshot_id), ANCESTORS):
            if info.id != snapshot_id:
                with suppress(StoreError):
                    found.append(Columns(repository.session(info.id), repository.location))
            if info.metadata.get("operation") in RENUMBERING:
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


def _with_head(location: Location, snapshot_id: str) -> Repository:
    """The repository, its head set to ``snapshot_id``."""
    if location.path is not None:
        icechunk_files.write_reference(location.repository_path, f"branch.{BRANCH}", snapshot_id)
        return Repository(icechunk.Repository.open(location.storage()), location)
    opened = icechunk.Repository.open(location.storage())
    head = _head(opened)
    if head != snapshot_id:
        opened.reset_branch(BRANCH, snapshot_id, from_snapshot_id=head)
    return Repository(opened, location)
