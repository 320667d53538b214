"""From document id to document number without reading the ids.

Numbers of documents are kept in a few runs, each sorted by a 32-bit hash of the id. Run k holds at most
4096 * 16**(k+1) documents; documents newer than every run (at most 4096) are found by reading their ids.
A new run swallows the smaller ones, so a document is rewritten a handful of times in its life and a look-up
reads one chunk per run (a log-structured merge tree: O'Neil et al. 1996).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from mbc_store.columns import Columns
from mbc_store.errors import InvalidRecord
from mbc_store.format import ArraySpec

TAIL = 4096
GROWTH = 16
CHUNKS_AT_ONCE = 64
_FENCE = ArraySpec((), 16384, "uint32", 0)
"""First hash of each chunk of a run's entries."""
_ENTRY = ArraySpec((2,), 4096, "uint32", 0, by_column=True)
"""Rows of a run: hash, document number."""


def _touched(fence: np.ndarray, hashes: np.ndarray) -> list[int]:
    """Chunks of a run, given the first hash of each, that may hold one of ``hashes``."""
    first = np.maximum(np.searchsorted(fence, hashes, side="left") - 1, 0)
    last = np.maximum(np.searchsorted(fence, hashes, side="right") - 1, 0)
    spans = set(zip(first.tolist(), last.tolist(), strict=True))
    return sorted({chunk for a, b in spans for chunk in range(a, b + 1)})


def _path(run: dict[str, Any], part: str) -> str:
    return f"index/{run['name']}/{part}"


def _count(run: dict[str, Any]) -> int:
    return int(run["stop"] - run["start"])


def hash_ids(ids: Iterable[str]) -> np.ndarray:
    """uint32: the first four bytes of BLAKE2b-32 of each id in UTF-8, little endian.

    Raises:
        InvalidRecord: an id holds half of a surrogate pair.
    """
    try:
        digests = b"".join(blake2b(identifier.encode(), digest_size=4).digest() for identifier in ids)
    except UnicodeEncodeError as error:
        raise InvalidRecord(f"the id {error.object!r:.100} is not valid UTF-8") from None
    return np.frombuffer(digests, dtype="<u4")


class IdIndex:
    """The index stored beside ``columns``."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._runs: list[dict[str, Any]] = list(columns.runs)
        for run in self._runs:
            columns.specs[_path(run, "fence")] = _FENCE
            columns.specs[_path(run, "entry")] = _ENTRY

    @property
    def indexed(self) -> int:
        """Documents below this number are in a run."""
        return max((run["stop"] for run in self._runs), default=0)

    def find(self, ids: Sequence[str]) -> dict[str, int]:
        """Numbers of the living documents among ``ids``."""
        matches = self._matches(ids)
        if not matches:
            return {}
        numbers = np.array([number for _, number in matches], dtype=np.int64)
        alive = self._columns.take("passages/alive", self._columns.take("documents/first_row", numbers))
        return {name: number for (name, number), living in zip(matches, alive, strict=True) if living}

    def versions(self, ids: Sequence[str]) -> list[int]:
        """Numbers of all documents that ever had one of ``ids``, living or not, sorted."""
        return sorted(number for _, number in self._matches(ids))

    def _matches(self, ids: Sequence[str]) -> list[tuple[str, int]]:
        wanted = list(dict.fromkeys(ids))
        if not wanted or self._columns.lengths.documents == 0:
            return []
        hashes = np.unique(hash_ids(wanted))
        documents = self._candidates(hashes)
        tail_start, tail_stop = self.indexed, self._columns.lengths.documents
        names, _ = self._columns.take_many(["documents/id", "documents/first_row"], documents)
        tail_names = self._columns.read("documents/id", tail_start, tail_stop)
        asked = set(wanted)
        matches = [
            (name, int(number)) for name, number in zip(names, documents, strict=True) if name in asked
        ]
        return matches + [(name, tail_start + i) for i, name in enumerate(tail_names) if name in asked]

    def _candidates(self, hashes: np.ndarray) -> np.ndarray:
        """Documents in runs whose hash is among ``hashes`` (sorted)."""
        per_chunk = _ENTRY.rows_per_chunk
        fences = self._columns.read_many(
            [(_path(run, "fence"), slice(0, -(-_count(run) // per_chunk))) for run in self._runs]
        )
        places = [
            (_path(run, "entry"), slice(chunk * per_chunk, min((chunk + 1) * per_chunk, _count(run))))
            for run, fence in zip(self._runs, fences, strict=True)
            for chunk in _touched(fence, hashes)
        ]
        found = [np.empty(0, np.uint32)]
        for first in range(0, len(places), CHUNKS_AT_ONCE):
            for entries in self._columns.read_many(places[first : first + CHUNKS_AT_ONCE]):
                found.append(entries[_among(entries[:, 0], hashes), 1])
        return np.unique(np.concatenate(found)).astype(np.int64)

    def update(self) -> list[dict[str, Any]]:
        """Bring the runs up to the documents of the columns if the tail has outgrown its bound."""
        documents = self._columns.lengths.documents
        if documents - self.indexed > TAIL:
            level = 0
            while documents - self._end_of_runs_above(level) > TAIL * GROWTH ** (level + 1):
                level += 1
            self._merge(level)
        return self._runs

    def rebuild(self) -> list[dict[str, Any]]:
        """One run over everything, whatever is there."""
        level = 0
        while self._columns.lengths.documents > TAIL * GROWTH ** (level + 1):
            level += 1
        for run in self._runs:
            self._columns.delete(f"index/{run['name']}")
        self._runs = []
        if self._columns.lengths.documents:
            self._merge(level)
        return self._runs

    def _end_of_runs_above(self, level: int) -> int:
        return max((run["stop"] for run in self._runs if run["level"] > level), default=0)

    def _merge(self, level: int) -> None:
        """Replace the runs up to ``level`` and the tail by one run."""
        start, stop = self._end_of_runs_above(level), self._columns.lengths.documents
        merged = [run for run in self._runs if run["level"] <= level]
        tail_start = max((run["stop"] for run in merged), default=start)
        added = np.column_stack(
            [
                hash_ids(self._columns.read("documents/id", tail_start, stop)),
                np.arange(tail_start, stop, dtype=np.uint32),
            ]
        )
        old = self._columns.read_many([(_path(run, "entry"), slice(0, _count(run))) for run in merged])
        entries = np.concatenate([*old, added])
        entries = entries[np.argsort(entries[:, 0], kind="stable")]
        for run in merged:
            self._columns.delete(f"index/{run['name']}")
        run = {"name": f"run-{level}-{stop}", "level": level, "start": start, "stop": stop}
        self._columns.write_array(_path(run, "fence"), _FENCE, entries[:: _ENTRY.rows_per_chunk, 0])
        self._columns.write_array(_path(run, "entry"), _ENTRY, entries)
        self._runs = [*(r for r in self._runs if r["level"] > level), run]


def _among(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where ``values`` (sorted, may repeat) hold one of ``wanted`` (sorted)."""
    inside = wanted[np.searchsorted(wanted, values[0]) : np.searchsorted(wanted, values[-1], side="right")]
    first, last = np.searchsorted(values, inside), np.searchsorted(values, inside, side="right")
    return np.concatenate(
        [np.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)] or [first]
    )
