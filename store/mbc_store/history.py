"""Commits, tags, and finding the snapshot that a user means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import icechunk

from mbc_store.commit import BRANCH
from mbc_store.errors import StoreNotFound
from mbc_store.records import Commit, Counts

Moment = str | datetime

_SNAPSHOT_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{20}")


def commits(repository: icechunk.Repository, branch: str = BRANCH) -> Iterator[Commit]:
    """Newest first; the empty snapshots that making a repository leaves behind are left out."""
    tags: dict[str, list[str]] = {}
    for name in sorted(repository.list_tags()):
        tags.setdefault(repository.lookup_tag(name), []).append(name)
    for info in repository.ancestry(branch=branch):
        commit = _commit(info, tuple(tags.get(info.id, ())))
        if commit is not None:
            yield commit


def _commit(info: Any, tags: tuple[str, ...]) -> Commit | None:
    metadata = info.metadata
    if "operation" not in metadata:
        return None
    return Commit(
        id=info.id,
        time=info.written_at.astimezone(UTC),
        message=info.message,
        operation=str(metadata["operation"]),
        counts=Counts(**metadata.get("counts", {})),
        documents=int(metadata.get("documents", 0)),
        passages=int(metadata.get("passages", 0)),
        quantization_error=metadata.get("quantization_error"),
        tags=tags,
    )


def tags(repository: icechunk.Repository) -> dict[str, str]:
    """Snapshot id by tag name."""
    return {name: repository.lookup_tag(name) for name in sorted(repository.list_tags())}


def resolve(repository: icechunk.Repository, at: Moment | None, location: object) -> str:
    """The snapshot that ``at`` means: a tag, a snapshot id (or its unique beginning, 6 characters at least),
    or a time (datetime or ISO 8601; a bare date is midnight UTC): the newest commit at or before it.

    Raises:
        StoreNotFound: no such snapshot; the message says what there is.
    """
    if at is None:
        return repository.lookup_branch(BRANCH)
    if isinstance(at, str):
        if at in repository.list_tags():
            return repository.lookup_tag(at)
        if _is_snapshot(repository, at):
            return at
        matches = [c.id for c in commits(repository) if len(at) >= 6 and c.id.startswith(at)]
        if len(matches) == 1:
            return matches[0]
    moment = at if isinstance(at, datetime) else parse_time(at)
    if moment is None:
        raise StoreNotFound(
            f"{location} has no tag or snapshot {at!r}",
            "see `mbc memory history`; times are written like 2026-05-01 or 2026-05-01T12:00:00Z",
        )
    oldest = None
    for commit in commits(repository):
        if commit.time <= moment:
            return commit.id
        oldest = commit
    since = f"; its history begins {oldest.time:%Y-%m-%dT%H:%M:%SZ}" if oldest else ""
    raise StoreNotFound(f"{location} held nothing at {moment.isoformat()}{since}", "see `mbc memory history`")


def _is_snapshot(repository: icechunk.Repository, text: str) -> bool:
    """Whether ``text`` is the id of a snapshot that is still there, in the history or not."""
    if not _SNAPSHOT_ID.fullmatch(text):
        return False
    try:
        return bool(repository.lookup_snapshot(text).id == text)
    except icechunk.IcechunkError:
        return False


def parse_time(text: str) -> datetime | None:
    """ISO 8601, UTC where no zone is given; None if it is not a time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
