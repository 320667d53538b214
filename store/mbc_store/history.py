"""Commits, the names of snapshots, finding the one that a user means, and going back to it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

import icechunk

from mbc_store import icechunk_files
from mbc_store.errors import StoreConflict, StoreCorrupt, StoreError, StoreNotFound, StoreWarning
from mbc_store.records import Commit, Counts
from mbc_store.repository import Repository

Moment = str | datetime

_SNAPSHOT_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{20}")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_YEAR_OR_MONTH = re.compile(r"\d{4}(-?\d\d)?")


@dataclass(frozen=True, slots=True)
class Rollback:
    """``tag`` keeps what was the newest snapshot; ``undone`` commits are no longer in the history."""

    snapshot: str
    undone: int
    tag: str | None


def commits(repository: Repository) -> Iterator[Commit]:
    """Newest first; the empty snapshots that making a repository leaves behind are left out."""
    tags: dict[str, list[str]] = {}
    for name, snapshot_id in repository.tags().items():
        tags.setdefault(snapshot_id, []).append(name)
    for info in repository.ancestry():
        if "operation" in info.metadata:
            yield commit_of(info, tuple(tags.get(info.id, ())))


def commit_of(info: icechunk.SnapshotInfo, tags: tuple[str, ...] = ()) -> Commit:
    """What a snapshot says of itself. Raises StoreCorrupt where no commit says that."""
    metadata = info.metadata
    try:
        mean_error = metadata.get("quantization_error")
        return Commit(
            id=info.id,
            time=info.written_at.astimezone(UTC),
            message=info.message,
            operation=str(metadata["operation"]),
            counts=Counts(**{name: int(count) for name, count in metadata.get("counts", {}).items()}),
            documents=int(metadata.get("documents", 0)),
            passages=int(metadata.get("passages", 0)),
            quantization_error=None if mean_error is None else float(mean_error),
            tags=tags,
        )
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise StoreCorrupt(
            f"the commit {info.id} says of itself what no commit says: {error}", "run `mbc memory repair`"
        ) from error


def resolve(repository: Repository, at: Moment | None) -> str:
    """The snapshot that ``at`` means: the newest if None, else a tag, a snapshot id (or its unique beginning,
    6 characters at least), or a time (datetime or ISO 8601; a bare date is midnight UTC): the newest commit
    at or before it.

    Raises:
        StoreNotFound: no such snapshot; the message says what there is.
    """
    if at is None:
        return repository.head()
    if isinstance(at, str):
        tags = repository.tags()
        if at in tags:
            if _is_date(at):  # which create_tag refuses, but others may not
                warnings.warn(
                    f"{at} is a tag of {repository.location}; write {at}T00:00Z for the time",
                    StoreWarning,
                    stacklevel=2,
                )
            return tags[at]
        if _SNAPSHOT_ID.fullmatch(at) and repository.has_snapshot(at):
            return at
    moment = at if isinstance(at, datetime) else parse_time(at)
    if moment is None:
        assert isinstance(at, str)
        matches = [c.id for c in commits(repository) if len(at) >= 6 and c.id.startswith(at)]
        if len(matches) == 1:
            return matches[0]
        raise StoreNotFound(
            f"{repository.location} has no tag or snapshot {at!r}",
            "see `mbc memory history`; times are written like 2026-05-01 or 2026-05-01T12:00:00Z",
        )
    oldest = None
    for commit in commits(repository):
        if commit.time <= moment:
            return commit.id
        oldest = commit
    since = f"; its history begins {oldest.time:%Y-%m-%dT%H:%M:%SZ}" if oldest else ""
    raise StoreNotFound(
        f"{repository.location} held nothing at {moment.isoformat()}{since}", "see `mbc memory history`"
    )


def parse_time(text: str) -> datetime | None:
    """ISO 8601, UTC where no zone is given; None if it is not a time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_date(text: str) -> bool:
    return parse_time(text) is not None or _YEAR_OR_MONTH.fullmatch(text) is not None


def create_tag(repository: Repository, name: str, at: Moment | None) -> str:
    """Tag ``at`` and return its snapshot id. Call with the writer lock held."""
    if not _TAG.fullmatch(name):
        raise StoreError(
            f"{name!r} cannot be a tag",
            "use up to 100 letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    if _SNAPSHOT_ID.fullmatch(name) or _is_date(name):
        raise StoreError(
            f"{name!r} cannot be a tag: it would be taken for a snapshot or a date",
            f"put a word before it, such as on-{name}",
        )
    if name in repository.tags():
        raise StoreError(f"there is a tag {name!r} already", "choose another name")
    snapshot_id = resolve(repository, at)
    used = StoreError(f"the tag {name!r} was used before and deleted", "choose another name")
    root = repository.location.path
    if root is not None:
        if icechunk_files.was_deleted(root, name):
            raise used
        icechunk_files.write_reference(repository.location.repository_path, f"tag.{name}", snapshot_id)
    else:
        try:
            repository.icechunk.create_tag(name, snapshot_id)
        except icechunk.IcechunkError as error:
            raise used from error
    return snapshot_id


def delete_tag(repository: Repository, name: str) -> None:
    """Remove a tag. Call with the writer lock held."""
    if name not in repository.tags():
        raise StoreNotFound(f"{repository.location} has no tag {name!r}", "see `mbc memory history`")
    repository.icechunk.delete_tag(name)
    repository.location.sync()


def rollback(repository: Repository, to: Moment) -> Rollback:
    """Move the head to ``to``, keeping the present head under a tag. Call with the writer lock held."""
    head = repository.head()
    target = resolve(repository, to)
    if target == head:
        return Rollback(target, 0, None)
    undone = sum(1 for _ in takewhile(lambda commit: commit.id != target, commits(repository)))
    name = f"before-rollback-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    create_tag(repository, name, head)
    if not repository.move_head(head, target):
        raise StoreConflict(f"{repository.location} was changed meanwhile", "repeat the command")
    return Rollback(target, undone, name)
