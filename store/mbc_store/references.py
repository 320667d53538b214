"""Names for snapshots, and moving the head back. Call these with the writer lock held."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import icechunk

from mbc_store.commit import BRANCH, move_head
from mbc_store.errors import StoreConflict, StoreError, StoreNotFound
from mbc_store.history import Moment, commits, resolve
from mbc_store.location import Location

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Rollback:
    """``tag`` keeps what was the newest snapshot; ``undone`` commits are no longer in the history."""

    snapshot: str
    undone: int
    tag: str | None


def create_tag(repository: icechunk.Repository, location: Location, name: str, at: Moment | None) -> str:
    """Tag ``at`` and return its snapshot id."""
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} cannot be a tag",
            "use up to 100 letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    if name in repository.list_tags():
        raise StoreError(f"there is a tag {name!r} already", "choose another name")
    snapshot_id = resolve(repository, at, location)
    used = StoreError(f"the tag {name!r} was used before and deleted", "choose another name")
    if location.path is not None:
        # Icechunk marks deleted tags, so that a name never changes its meaning.
        if (location.repository_path / "refs" / f"tag.{name}" / "ref.json.deleted").exists():
            raise used
        location.write_reference(f"tag.{name}", snapshot_id)
    else:
        try:
            repository.create_tag(name, snapshot_id)
        except icechunk.IcechunkError as error:
            raise used from error
    return snapshot_id


def delete_tag(repository: icechunk.Repository, location: Location, name: str) -> None:
    """Remove a tag."""
    if name not in repository.list_tags():
        raise StoreNotFound(f"{location} has no tag {name!r}", "see `mbc memory history`")
    repository.delete_tag(name)
    location.sync()


def rollback(repository: icechunk.Repository, location: Location, to: Moment) -> Rollback:
    """Move the head to ``to``, keeping the present head under a tag."""
    head = repository.lookup_branch(BRANCH)
    target = resolve(repository, to, location)
    if target == head:
        return Rollback(target, 0, None)
    after = [commit.id for commit in commits(repository)]
    undone = after.index(target) if target in after else len(after)
    name = f"before-rollback-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    create_tag(repository, location, name, head)
    if not move_head(repository, location, head, target):
        raise StoreConflict(f"{location} was changed meanwhile", "repeat the command")
    return Rollback(target, undone, name)
