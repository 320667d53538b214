"""Tasks on blocks of rows, which stay where they are: what is in them, and their way into the store."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mbc_store import DocumentRecord
from mbc_store.distributed import Part, WrittenPart, write_part
from mbc_store.location import Location

from mbc_cli.distributed.cluster import failures_named
from mbc_cli.distributed.encoder import rows_of
from mbc_cli.distributed.reading import Item

# What a task does can be done again: its objects in the store are nobody's until the commit.
TASK = {"num_cpus": 0.1, "max_retries": 10}


@dataclass(frozen=True, slots=True)
class Row:
    """A document as whoever commits knows it.

    Attributes:
        block: where its record is, a reference of Ray's to a block of rows.
        place: which of its rows.
        passages: 0 where there is no record, since the store held the document when that was looked up.
    """

    id: str
    digest: int
    passages: int
    characters: int
    error: float | None
    block: Any
    place: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a block of rows: columns, and the items that are no documents by their place."""

    ids: list[str]
    digests: list[int]
    passages: list[int]
    characters: list[int]
    errors: list[float]
    others: dict[int, bytes]

    def rows(self, block: Any) -> Iterator[Row | Item]:
        """Documents as rows of ``block``, and the other items, in their order."""
        columns = zip(self.ids, self.digests, self.passages, self.characters, self.errors, strict=True)
        for place, (identifier, digest, passages, characters, error) in enumerate(columns):
            if not identifier:
                item: Item = pickle.loads(self.others[place])
                yield item
                continue
            known = None if error != error else error  # not a number
            yield Row(identifier, digest, passages, characters, known, block, place)


def contents_of(block: Any) -> Contents:
    """A task: everything of a block (a table of ``encoder.Rows``) but the records."""
    ids = block["id"].to_pylist()
    content = block["content"]
    others = {place: content[place].as_py() for place, identifier in enumerate(ids) if not identifier}
    digests, passages, characters, errors = (
        block[name].to_pylist() for name in ("digest", "passages", "characters", "error")
    )
    return Contents(ids, digests, passages, characters, errors, others)


def contents_at(block: Any, places: Sequence[int]) -> list[bytes]:
    """A task: what is pickled in some rows of a block."""
    return block["content"].take(list(places)).to_pylist()  # type: ignore[no-any-return]


def write(
    session: Any, location: Location, part: Part, picks: Sequence[tuple[int, int]], *blocks: Any
) -> WrittenPart:
    """A task: write a part of a commit. ``picks`` are the block and the place in it of each record."""
    contents = [block["content"] for block in blocks]
    records = [pickle.loads(contents[block][place].as_py()) for block, place in picks]
    return write_part(session, location, part, records)


class RayBlock:
    """The documents of one commit as ``mbc_store.distributed.commit_block`` asks for them."""

    def __init__(self, rows: Sequence[Row], location: Location, encode: Any) -> None:
        """``encode`` gives the records of documents that are to be stored after all."""
        self._rows = {row.id: row for row in rows}
        self._location = location
        self._encode = encode
        self._written: list[Row] = []

    def passages(self, ids: Sequence[str]) -> list[tuple[float | None, int]]:
        """See ``Block``."""
        with failures_named():
            self._encode_missing([row for i in ids if not (row := self._rows[i]).passages])
        self._written = [self._rows[i] for i in ids]
        return [(row.error, row.passages) for row in self._written]

    def _encode_missing(self, rows: Sequence[Row]) -> None:
        """Documents that were stored as they are when a worker looked, and have been changed since."""
        import pyarrow
        import ray

        if not rows:
            return
        task = ray.remote(**TASK)(contents_at)
        pickled = ray.get([task.remote(row.block, [row.place]) for row in rows])
        documents = [pickle.loads(one) for (one,) in pickled]
        records: list[DocumentRecord] = self._encode(documents, [row.digest for row in rows])
        made = rows_of(documents, {id(d): r for d, r in zip(documents, records, strict=True)})
        table = pyarrow.table({name: pyarrow.array(values) for name, values in made.items()})
        for row in contents_of(table).rows(ray.put(table)):
            assert isinstance(row, Row)
            self._rows[row.id] = row

    def write(self, session: Any, parts: Sequence[Part]) -> Iterator[WrittenPart]:
        """See ``Block``."""
        import ray

        task = ray.remote(**TASK)(write)
        fork = ray.put(session)
        tasks = []
        for part in parts:
            rows = self._written[part.records]
            blocks = {row.block: None for row in rows}
            numbers = {block: number for number, block in enumerate(blocks)}
            picks = [(numbers[row.block], row.place) for row in rows]
            tasks.append(task.remote(fork, self._location, part, picks, *blocks))
        with failures_named():
            yield from ray.get(tasks)
