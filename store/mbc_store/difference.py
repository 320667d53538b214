"""What changed between two snapshots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mbc_store.snapshot import DOCUMENTS_PER_READ, Snapshot


@dataclass(frozen=True, slots=True)
class Difference:
    """Document ids, in the order of the snapshot that has them."""

    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


def difference(before: Snapshot, after: Snapshot) -> Difference:
    """Compare living documents by id and content digest.

    Blocks of documents that are equal in both are skipped, so memory follows the size of the difference
    unless the store was compacted in between.
    """
    old: dict[str, int] = {}
    new: dict[str, int] = {}
    for start in range(0, max(before.lengths.documents, after.lengths.documents), DOCUMENTS_PER_READ):
        was, now = _block(before, start), _block(after, start)
        if was != now:
            old |= was
            new |= now
    return Difference(
        before.id,
        after.id,
        added=tuple(i for i in new if i not in old),
        removed=tuple(i for i in old if i not in new),
        changed=tuple(i for i in new if i in old and old[i] != new[i]),
    )


def _block(snapshot: Snapshot, start: int) -> dict[str, int]:
    """Digest by id of the living documents among ``DOCUMENTS_PER_READ`` numbers."""
    stop = min(start + DOCUMENTS_PER_READ, snapshot.lengths.documents)
    if stop <= start:
        return {}
    first = snapshot.columns.read("documents/first_row", start, stop)
    alive = snapshot.columns.take("passages/alive", first)
    ids, digests = snapshot.columns.take_many(
        ["documents/id", "documents/digest"], start + np.flatnonzero(alive)
    )
    return dict(zip(ids.tolist(), digests.tolist(), strict=True))
