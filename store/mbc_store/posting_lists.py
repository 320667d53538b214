"""From codes to the passages that hold them, without reading the passages' codes (an inverted index).

Rows of passages are kept in a few runs, each a range of rows with one list for every code. Passages newer
than every run (at most `TAIL`) are found by reading their codes. A new run swallows the smaller ones before
it, as in the id index: lists of neighbouring runs, one behind the other, are the lists of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mbc_store.columns import Columns
from mbc_store.errors import StoreCorrupt, StoreError
from mbc_store.format import ArraySpec, StoreConfig

TAIL = 8192
GROWTH = 16
ROWS_AT_ONCE = 65536
"""Rows whose codes are sorted together."""
ENTRIES_AT_ONCE = 1 << 22
"""Entries of lists that are merged together, four bytes each."""
_START = ArraySpec((), 65536, "int64", 0)
"""Where the list of each code begins; K + 1 of them."""
_ROW = ArraySpec((), 32768, "uint32", 0)
"""The lists: rows, counted from the first of the run, ascending in each."""


@dataclass(frozen=True, slots=True)
class _Lists:
    """Lists in memory: of the rows from ``first`` on."""

    first: int
    starts: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Run:
    """The passages from row ``start`` to ``stop``, and for each code those that hold it."""

    columns: Columns
    name: str
    start: int
    stop: int

    def lengths(self, codes: np.ndarray) -> np.ndarray:
        """How many passages hold each of ``codes`` (n,): (n,) int64."""
        starts = self.starts
        found: np.ndarray = starts[codes + 1] - starts[codes]
        return found

    def lists(self, codes: np.ndarray) -> list[np.ndarray]:
        """For each of ``codes`` (n,) its passages, ascending: uint32, counted from ``start``."""
        starts = self.starts
        parts = [slice(int(starts[code]), int(starts[code + 1])) for code in codes.tolist()]
        found = self.columns.read_many([(_path(self.name, "row"), part) for part in parts])
        if any(rows.size and rows.max() >= self.stop - self.start for rows in found):
            raise self._damaged()
        return found

    @cached_property
    def starts(self) -> np.ndarray:
        """Where the list of each code begins and the last one ends, (K + 1,) int64."""
        config = self.columns.config
        starts = self.columns.read(_path(self.name, "start"), 0, config.codebook_size + 1)
        most = (self.stop - self.start) * config.slots
        if starts[0] != 0 or starts[-1] > most or (np.diff(starts) < 0).any():
            raise self._damaged()
        return starts

    def _damaged(self) -> StoreCorrupt:
        return StoreCorrupt(
            f"the posting lists of rows {self.start} to {self.stop - 1} are damaged",
            "run `mbc memory repair`, or ask without --probes",
        )


class PostingLists:
    """The lists stored beside ``columns``, if the store keeps any."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._runs: list[dict[str, Any]] | None = columns.posting_runs
        for run in self._runs or ():
            self._announce(run["name"])

    @property
    def are_kept(self) -> bool:
        return self._runs is not None

    @property
    def indexed(self) -> int:
        """Rows below this number are in a run."""
        return max((run["stop"] for run in self._runs or ()), default=0)

    @property
    def runs(self) -> list[Run]:
        """From the first row on; together they cover the rows below ``indexed``."""
        return [Run(self._columns, run["name"], run["start"], run["stop"]) for run in self._runs or ()]

    def update(self) -> list[dict[str, Any]] | None:
        """Bring the runs up to the rows of the columns if the tail has outgrown its bound.

        Returns:
            What the header says of them; None where the store keeps no lists.
        """
        if self._runs is not None:
            rows = self._columns.lengths.rows
            while rows - self.indexed > TAIL:
                self._extend(min(rows, self.indexed + ROWS_AT_ONCE))
        return self._runs

    def build(self) -> list[dict[str, Any]] | None:
        """Make the lists of everything there is, whatever lists there are.

        Raises:
            StoreError: passages have codes of several levels.
        """
        config = self._columns.config
        if config.num_quantizers > 1:
            raise StoreError(
                f"posting lists are of codes of one level, those of this store have {config.num_quantizers}",
                "ask it without lists: every passage is compared then",
            )
        self.drop()
        self._runs = []
        return self.update()

    def drop(self) -> None:
        """Remove all lists; the store keeps none from then on."""
        for run in self._runs or ():
            self._columns.delete(f"postings/{run['name']}")
        self._runs = None

    def _extend(self, stop: int) -> None:
        """Cover the rows up to ``stop``, in a run of the smallest level that holds them and those before."""
        level = 0
        while stop - self._end_of_runs_above(level) > TAIL * GROWTH ** (level + 1):
            level += 1
        assert self._runs is not None
        swallowed = [run for run in self._runs if run["level"] <= level]
        start = self._end_of_runs_above(level)
        tail_start = max((run["stop"] for run in swallowed), default=start)
        codes = self._columns.read("passages/codes", tail_start, stop)[..., 0]
        parts: list[_Lists | Run] = [
            *(Run(self._columns, run["name"], run["start"], run["stop"]) for run in swallowed),
            sorted_lists(codes, tail_start, self._columns.config),
        ]
        name = f"run-{level}-{stop}"
        self._announce(name)
        starts = np.sum([part.starts for part in parts], axis=0)
        self._columns.write_array(_path(name, "start"), _START, starts)
        self._columns.write_parts(_path(name, "row"), _ROW, int(starts[-1]), _merged(parts, starts, start))
        for run in swallowed:
            self._columns.delete(f"postings/{run['name']}")
        self._runs = [
            *(run for run in self._runs if run["level"] > level),
            {"name": name, "level": level, "start": start, "stop": stop},
        ]

    def _end_of_runs_above(self, level: int) -> int:
        return max((run["stop"] for run in self._runs or () if run["level"] > level), default=0)

    def _announce(self, name: str) -> None:
        self._columns.specs[_path(name, "start")] = _START
        self._columns.specs[_path(name, "row")] = _ROW


def sorted_lists(codes: np.ndarray, first: int, config: StoreConfig) -> _Lists:
    """The lists of passages (n, T) whose first one has row ``first``; a passage is once in a list."""
    order = np.argsort(codes.reshape(-1), kind="stable")
    sorted_codes = codes.reshape(-1)[order]
    rows = (order // codes.shape[1]).astype(np.uint32)
    again = np.zeros(len(rows), dtype=bool)
    again[1:] = (sorted_codes[1:] == sorted_codes[:-1]) & (rows[1:] == rows[:-1])
    counts = np.bincount(sorted_codes[~again], minlength=config.codebook_size)
    return _Lists(first, np.concatenate([[0], np.cumsum(counts)]), rows[~again])


def _merged(parts: Sequence[_Lists | Run], starts: np.ndarray, first: int) -> Iterator[np.ndarray]:
    """The lists of neighbouring ranges of rows in one, some codes at a time; rows count from ``first``."""
    each = [part.starts for part in parts]
    code, codes = 0, len(starts) - 1
    while code < codes:
        last = int(np.searchsorted(starts, starts[code] + ENTRIES_AT_ONCE, side="right")) - 1
        last = min(max(last, code + 1), codes)
        rows, of = [], []
        for part, own in zip(parts, each, strict=True):
            begin, end = int(own[code]), int(own[last])
            if isinstance(part, _Lists):
                found, shift = part.rows[begin:end], part.first - first
            else:
                (found,) = part.columns.read_many([(_path(part.name, "row"), slice(begin, end))], keep=False)
                shift = part.start - first
            rows.append(found + np.uint32(shift))
            of.append(np.repeat(np.arange(last - code, dtype=np.uint32), np.diff(own[code : last + 1])))
        order = np.argsort(np.concatenate(of), kind="stable")
        yield np.concatenate(rows)[order]
        code = last


def mixed(codes: np.ndarray, rows: np.ndarray) -> int:
    """A sum over pairs of code and row that differs, but for one chance in 2^64, where the pairs differ."""
    x = (codes.astype(np.uint64) << np.uint64(40)) ^ rows.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return int((x ^ (x >> np.uint64(31))).sum(dtype=np.uint64))


def differing_runs(columns: Columns) -> Iterator[Run]:
    """The runs whose lists are not those of the codes; memory is bounded by a part of either."""
    for run in PostingLists(columns).runs:
        try:
            starts = run.starts
        except StoreCorrupt:
            yield run
            continue
        in_codes = in_lists = 0
        for first in range(run.start, run.stop, ROWS_AT_ONCE):
            codes = columns.read_many(
                [("passages/codes", slice(first, min(first + ROWS_AT_ONCE, run.stop)))], keep=False
            )[0][..., 0]
            lists = sorted_lists(codes, first, columns.config)
            of = np.repeat(np.arange(len(starts) - 1), np.diff(lists.starts))
            in_codes += mixed(of, lists.rows.astype(np.int64) + first)
        sound, entries = True, int(starts[-1])
        last = (-1, -1)  # code and row: both ascend
        for first in range(0, entries, ENTRIES_AT_ONCE):
            stop = min(first + ENTRIES_AT_ONCE, entries)
            (rows,) = columns.read_many([(_path(run.name, "row"), slice(first, stop))], keep=False)
            of = np.searchsorted(starts, np.arange(first, stop), side="right") - 1
            follows = (np.diff(of) > 0) | (np.diff(rows.astype(np.int64)) > 0)
            sound = sound and bool(follows.all()) and (last < (int(of[0]), int(rows[0])))
            last = int(of[-1]), int(rows[-1])
            in_lists += mixed(of, rows.astype(np.int64) + run.start)
        if not sound or (in_codes - in_lists) % 2**64:
            yield run


def _path(name: str, part: str) -> str:
    return f"postings/{name}/{part}"
