"""The store of one memory: open it, change it in transactions, read it through snapshots."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import icechunk
import zarr

from mbc_store import history
from mbc_store.codes import code_statistics
from mbc_store.columns import Recent
from mbc_store.creation import create_repository
from mbc_store.difference import Difference, difference
from mbc_store.distributed import Block, commit_block
from mbc_store.errors import FingerprintMismatch, StoreCorrupt, StoreExists, StoreReadOnly, StoreWarning
from mbc_store.expiry import chosen
from mbc_store.format import StoreConfig, create_arrays, new_attributes
from mbc_store.history import Moment, Rollback
from mbc_store.location import Location
from mbc_store.locking import ReaderLease
from mbc_store.maintenance import (
    KEEP_HISTORY,
    REMOTE_GRACE,
    Collected,
    Compacted,
    change_posting_lists,
    collect_garbage,
    compact_store,
    prune_history,
)
from mbc_store.measure import array_bytes, disk_bytes
from mbc_store.portable import check_export, export_snapshot
from mbc_store.records import Commit, Counts, StoredDocument, StoreInfo
from mbc_store.repair import RepairPlan, apply_repair, plan_repair, salvaged_texts
from mbc_store.repository import Metadata, Repository
from mbc_store.snapshot import Snapshot
from mbc_store.transaction import Transaction
from mbc_store.transfer import copy_snapshot, import_export, merge_snapshot
from mbc_store.verification import Problem, check_history, check_snapshot

Where = str | os.PathLike[str] | Location


class MemoryStore:
    """A versioned store of codes and documents; see docs/store-format.md.

    Safe to use from many processes at once: writers queue at a lock, readers see whole commits. After
    ``fork`` make a new one (Icechunk's threads do not survive it).
    """

    def __init__(self, repository: Repository, at: str | None = None) -> None:
        """See ``open``. ``at`` is the snapshot to stay at."""
        self.repository = repository
        self.location = repository.location
        self._at = at
        self._recent: dict[str, Recent] = {}
        with self.snapshot() as snapshot:
            self.config = snapshot.config

    def __repr__(self) -> str:
        return f"MemoryStore({self.location})"

    # --- making and opening --------------------------------------------------------------------------

    @classmethod
    def create(cls, location: Where, config: StoreConfig) -> MemoryStore:
        """Make an empty store.

        Raises:
            StoreExists: there is one already, or a folder with other things in it.
        """

        def fill(session: icechunk.Session) -> Metadata:
            group = zarr.group(session.store)
            create_arrays(group, config)
            group.update_attributes(new_attributes(config))
            return {"operation": "create", "counts": {}, "documents": 0, "passages": 0}

        return cls(create_repository(Location.parse(location), "create", fill))

    @classmethod
    def open_or_create(cls, location: Where, config: StoreConfig) -> MemoryStore:
        """The store at ``location``, made first if there is none. Processes that start together all get it.

        Raises:
            StoreExists: a folder with other things in it.
            FingerprintMismatch: there is one, made with another adapter than ``config``.
        """
        try:
            return cls.create(location, config)
        except StoreExists:
            if not cls.exists(location):
                raise
        return cls.open(location, fingerprint=config.fingerprint)

    @classmethod
    def open(
        cls, location: Where, *, fingerprint: str | None = None, at: Moment | None = None
    ) -> MemoryStore:
        """Open a store, optionally as it was at a tag, snapshot or time (then it cannot be changed).

        Args:
            fingerprint: of the adapter that will read or write it.

        Raises:
            StoreNotFound: no store there, or nothing at ``at``.
            StoreCorrupt: its head is lost, or cannot be read.
            FingerprintMismatch: made with another adapter; names both and the ways out.
        """
        repository = Repository.open(Location.parse(location))
        store = cls(repository, None if at is None else history.resolve(repository, at))
        if fingerprint is not None:
            store.require_fingerprint(fingerprint)
        return store

    def require_fingerprint(self, fingerprint: str) -> None:
        """Check that the adapter of this fingerprint may read and write the store.

        Raises:
            FingerprintMismatch: made with another adapter; names both and the ways out.
        """
        if fingerprint != self.config.fingerprint:
            _refuse_fingerprint(self.location, self.config, fingerprint)

    @staticmethod
    def exists(location: Where) -> bool:
        """Whether there is a store at ``location``.

        Raises:
            StoreCorrupt: there is one whose head is lost or cannot be read.
        """
        return Repository.exists(Location.parse(location))

    @staticmethod
    def plan_repair(location: Where) -> RepairPlan:
        """What ``repair`` would do to a store, damaged or not. Changes nothing.

        Raises:
            StoreNotFound: there is no store.
            StoreCorrupt: nothing of it can be read.
        """
        return plan_repair(Location.parse(location))

    @staticmethod
    def repair(location: Where, plan: RepairPlan) -> None:
        """Carry out a plan."""
        apply_repair(Location.parse(location), plan)

    @staticmethod
    def salvaged_texts(location: Where, plan: RepairPlan) -> Iterator[StoredDocument]:
        """Documents that a plan loses, but for their text: read them before it is carried out, and encode
        them again when it is."""
        return salvaged_texts(Location.parse(location), plan)

    # --- reading -------------------------------------------------------------------------------------

    def snapshot(self, at: Moment | None = None) -> Snapshot:
        """One consistent view: of ``at``, or what the store was opened at, or the newest commit."""
        lease = self._lease()
        wanted = at if at is not None else self._at
        try:
            if wanted is not None and lease is not None:
                # An old snapshot may be collected right now; the newest never is.
                with self.repository.no_collection():
                    snapshot_id = history.resolve(self.repository, wanted)
                    lease.protect(snapshot_id)
            else:
                snapshot_id = history.resolve(self.repository, wanted)
                if lease is not None:
                    lease.protect(snapshot_id)
            committed_at = self.repository.committed_at(snapshot_id)
            return Snapshot(self.repository.session(snapshot_id), committed_at, self.location, lease)
        except BaseException:
            if lease is not None:
                lease.release()
            raise

    def _lease(self) -> ReaderLease | None:
        """None on object storage and where the folder is read-only: collection cannot run through there."""
        if self.location.path is None:
            return None
        try:
            return ReaderLease(self.location.path)
        except OSError:
            return None

    def history(self) -> list[Commit]:
        """Commits, newest first; where damage ends the history, those that can be read, and a warning."""
        found: list[Commit] = []
        try:
            for commit in history.commits(self.repository):
                found.append(commit)
        except StoreCorrupt:
            if not found:
                raise
            warnings.warn(
                f"the history of {self.location} before {found[-1].id} cannot be read; "
                "`mbc memory repair` cuts it off there",
                StoreWarning,
                stacklevel=2,
            )
        return found

    def tags(self) -> dict[str, str]:
        """Snapshot id by tag."""
        return self.repository.tags()

    def info(self) -> StoreInfo:
        """Size and state; reads no codes."""
        with self.snapshot() as snapshot:
            entropy, used = code_statistics(snapshot.code_counts(), self.config)
            return StoreInfo(
                location=str(self.location),
                snapshot=snapshot.id,
                documents=snapshot.document_count,
                passages=snapshot.passage_count,
                dead_passages=snapshot.row_count - snapshot.passage_count,
                slots=self.config.slots,
                num_quantizers=self.config.num_quantizers,
                codebook_size=self.config.codebook_size,
                fingerprint=self.config.fingerprint,
                adapter=self.config.adapter,
                base_model=self.config.base_model,
                keep_text=self.config.keep_text,
                vector_width=self.config.vector_width,
                array_bytes=array_bytes(snapshot.session),
                disk_bytes=disk_bytes(self.location),
                code_entropy_bits=entropy,
                codes_used=used,
                commits=len(self.history()),
                tags=self.tags(),
            )

    def diff(self, before: Moment, after: Moment | None = None) -> Difference:
        """Documents added, removed and changed between two snapshots."""
        with self.snapshot(before) as first, self.snapshot(after) as second:
            return difference(first, second)

    def verify(self) -> list[Problem]:
        """Everything that is wrong with the newest snapshot and the history, or with the one opened; empty if
        all is well."""
        snapshot_id = history.resolve(self.repository, self._at)
        problems = check_snapshot(self.repository.session(snapshot_id), self.location)
        return problems if self._at is not None else problems + check_history(self.repository)

    def export_to(self, folder: str | os.PathLike[str]) -> int:
        """Write ``documents.jsonl`` and ``codes.parquet`` into a new folder; the number of documents."""
        with self.snapshot() as snapshot:
            return export_snapshot(snapshot, Path(folder))

    def copy_to(self, destination: Where) -> MemoryStore:
        """A store elsewhere (a folder, ``s3://``, ``gs://``) with the same documents, without history."""
        with self.snapshot() as snapshot:
            copy_snapshot(snapshot, Location.parse(destination))
        return MemoryStore.open(destination)

    # --- changing ------------------------------------------------------------------------------------

    def transaction(
        self, message: str = "encode", operation: str = "encode", newest_wins: bool = False
    ) -> Transaction:
        """Collect changes and commit them together; see ``Transaction``.

        Args:
            newest_wins: keep a stored document unless the record's timestamp is later.
        """
        self._check_writable()
        return Transaction(self.repository, self.config, message, operation, newest_wins, self._recent)

    def commit_block(self, message: str, digests: dict[str, int], block: Block) -> tuple[Counts, int]:
        """Store documents, by id and digest, whose rows other processes write; see ``distributed``."""
        self._check_writable()
        return commit_block(self.repository, self._recent, message, digests, block)

    def tag(self, name: str, at: Moment | None = None) -> str:
        """Give a snapshot (the newest one) a name that keeps it from expiring; its id.

        Raises:
            StoreError: the name is taken, was used before, or is not a plain name.
        """
        self._check_writable()
        with self.repository.exclusive():
            return history.create_tag(self.repository, name, at)

    def delete_tag(self, name: str) -> None:
        """Raises StoreNotFound where there is no such tag. The name cannot be used again."""
        self._check_writable()
        with self.repository.exclusive():
            history.delete_tag(self.repository, name)

    def rollback(self, to: Moment) -> Rollback:
        """Make an earlier snapshot the newest again. What came after stays under a tag."""
        self._check_writable()
        with self.repository.exclusive():
            return history.rollback(self.repository, to)

    def keep_posting_lists(self, wanted: bool = True) -> None:
        """Make lists of the passages that hold each code, kept up to date by every commit from then on; or,
        where they are not ``wanted``, remove them. They cost about as many bytes as the codes.

        Raises:
            StoreError: passages have codes of several levels.
        """
        self._check_writable()
        change_posting_lists(self.repository, wanted)

    def compact(self, *, purge: bool = False) -> Compacted:
        """Rewrite the store without the rows of forgotten and replaced documents.

        Args:
            purge: also delete all history and all tags, so that nothing forgotten is left on disk. On
                object storage writers wait meanwhile, and whoever reads an older snapshot loses it.

        Raises:
            StoreInUse: purging while somebody reads.
        """
        self._check_writable()
        return compact_store(self.repository, purge)

    def gc(self, *, older_than: timedelta = KEEP_HISTORY, grace: timedelta = REMOTE_GRACE) -> Collected:
        """Forget commits older than ``older_than`` (the newest and tagged ones stay) and delete what is no
        longer needed. Open snapshots, here and in other processes on this machine, stay readable.

        Args:
            grace: object storage only: spare unreferenced objects younger than this, which a writer may be
                about to refer to.
        """
        self._check_writable()
        return collect_garbage(self.repository, older_than, grace)

    def prune(self, *, keep_last: int = 0, keep_daily: int = 0, grace: timedelta = REMOTE_GRACE) -> Collected:
        """Thin out the history. Of its commits the last ``keep_last`` stay, the newest one of each of the
        last ``keep_daily`` days that have any (UTC), and tagged ones; the documents stay as they are.

        On object storage commits can go only by age: those that are older than all that stay.

        Args:
            grace: as for ``gc``.

        Raises:
            StoreError: both numbers are zero, or one is negative.
            StoreCorrupt: the history is damaged.
        """
        self._check_writable()
        return prune_history(self.repository, keep_last, keep_daily, grace)

    def pruned(self, *, keep_last: int = 0, keep_daily: int = 0) -> list[Commit]:
        """The commits that ``prune`` would let go of a local store, newest first. Changes nothing."""
        found = self.history()
        staying = {commit.id for commit in chosen(found, keep_last, keep_daily)}
        return [commit for commit in found if commit.id not in staying]

    def merge(self, source: MemoryStore) -> Counts:
        """Add another store's documents; see ``mbc_store.transfer.merge_snapshot``."""
        self._check_writable()
        with source.snapshot() as snapshot:
            return merge_snapshot(snapshot, self.repository, self.config)

    def import_from(self, folder: str | os.PathLike[str]) -> Counts:
        """Upsert what ``export_to`` wrote. All of it is read first: a failure leaves the store as it was."""
        self._check_writable()
        check_export(Path(folder))
        return import_export(Path(folder), self.repository, self.config)

    @classmethod
    def import_at(cls, location: Where, folder: str | os.PathLike[str]) -> Counts:
        """``import_from`` into the store at ``location``, which is made, if there is none, when all of
        ``folder`` has been read."""
        config = check_export(Path(folder))
        store = cls.open(location) if cls.exists(location) else cls.open_or_create(location, config)
        return import_export(Path(folder), store.repository, store.config)

    def _check_writable(self) -> None:
        if self._at is not None:
            raise StoreReadOnly(
                f"{self.location} was opened as of {self._at}; the past cannot be changed",
                "open it without `at`",
            )


def _refuse_fingerprint(where: Location, config: StoreConfig, fingerprint: str) -> None:
    made_with = config.fingerprint + (f" ({config.adapter})" if config.adapter else "")
    ways = "use the adapter it was made with"
    ways += (
        ", or `mbc memory reencode` from the kept texts"
        if config.keep_text
        else "; it keeps no texts to re-encode"
    )
    raise FingerprintMismatch(f"{where} was made with adapter {made_with}, not with {fingerprint}", ways)
