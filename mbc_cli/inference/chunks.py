"""Documents as they are committed: so many at a time, of equal ids the last one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from mbc_cli.read_ahead import Pause

# Held at once: a chunk ends early when its documents are long.
CHUNK_CHARACTERS = 4_000_000


class Sized(Protocol):
    """A document, or what stands for one."""

    @property
    def id(self) -> str:
        """Names it for good."""

    @property
    def characters(self) -> int:
        """Of its text and metadata."""


Item = TypeVar("Item", bound=Sized)


class SeenIds:
    """Counts the ids that come again."""

    def __init__(self) -> None:
        self._seen: set[int] = set()  # hashes: one chance in thirty million of a clash among a million ids
        self.again = 0

    def counting(self, items: Iterable[Item | Pause]) -> Iterator[Item | Pause]:
        """``items``, each counted as it passes."""
        for item in items:
            if not isinstance(item, Pause):
                digest = hash(item.id)
                self.again += digest in self._seen
                self._seen.add(digest)
            yield item


def chunks(
    items: Iterable[Item | Pause], size: int, characters: int = CHUNK_CHARACTERS
) -> Iterator[list[Item]]:
    """Up to ``size`` of ``items``, fewer where they come to so many characters, or at a pause.

    Of equal ids in a chunk the last one counts, at the place of the first.
    """
    chunk: dict[str, Item] = {}
    total = 0
    for item in items:
        if not isinstance(item, Pause):
            chunk[item.id] = item
            total += item.characters
            if len(chunk) < size and total < characters:
                continue
        if chunk:
            yield list(chunk.values())
            chunk, total = {}, 0
    if chunk:
        yield list(chunk.values())
