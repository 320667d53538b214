"""A commit that many processes write is the one that a single process would have written."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mbc_store import DocumentRecord, MemoryStore
from mbc_store.changes import columns_of
from mbc_store.distributed import Part, WrittenPart, commit_block, parts_of, write_part
from mbc_store.format import Lengths, array_specs
from mbc_store.location import Location

from tests.support.store import SMALL
from tests.support.store.contents import assert_same_contents, contents_of


def records(first: int, count: int, version: int = 0) -> list[DocumentRecord]:
    """Documents of one to three passages, whose values all differ."""
    generator = np.random.default_rng([first, count, version])
    made = []
    for number in range(first, first + count):
        passages = 1 + number % 3
        made.append(
            DocumentRecord(
                id=f"doc-{number}",
                codes=generator.integers(0, 32, (passages, 3, 2)).astype(np.uint16),
                spans=np.sort(generator.integers(0, 999, (passages, 2))),
                digest=number + version * 10**6,
                text=f"text {number} {version}",
                title=f"title {number}" if number % 5 else None,
                timestamp=number if number % 7 else None,
                metadata={"number": number} if number % 2 else {},
                quantization_error=number / 7 if number % 11 else None,
            )
        )
    return made


class Forks:
    """Writes each part through a copy of the session that has travelled, backwards, some of them twice."""

    def __init__(self, given: Sequence[DocumentRecord], location: Location) -> None:
        self._given = {record.id: record for record in given}
        self._location = location
        self._written: list[DocumentRecord] = []
        self.parts: Sequence[Part] = ()

    def passages(self, ids: Sequence[str]) -> list[tuple[float | None, int]]:
        self._written = [self._given[i] for i in ids]
        return [(record.quantization_error, len(record.codes)) for record in self._written]

    def write(self, session: object, parts: Sequence[Part]) -> Iterable[WrittenPart]:
        self.parts = parts
        for number, part in reversed(list(enumerate(parts))):
            for _ in range(1 + number % 2):  # a worker that dies after it has written is replaced
                fork = pickle.loads(pickle.dumps(session))
                written = write_part(fork, self._location, part, self._written[part.records])
            yield pickle.loads(pickle.dumps(written))


def commit(store: MemoryStore, given: Sequence[DocumentRecord], passages_per_part: int) -> Forks:
    forks = Forks(given, store.location)
    digests = {record.id: record.digest for record in given}
    commit_block(store.repository, {}, "encode", digests, forks, passages_per_part)
    return forks


@pytest.mark.slow
@pytest.mark.parametrize("passages_per_part", [700, 9000, 10**9])
def test_blocks_written_in_parts_are_those_of_one_writer(tmp_path: Path, passages_per_part: int) -> None:
    one = MemoryStore.create(tmp_path / "one", SMALL)
    many = MemoryStore.create(tmp_path / "many", SMALL)
    most = 0
    # Small and large ones, starting within chunks and at their edges, replacing; arrays grow on the way.
    for block in (
        records(0, 100),
        records(100, 156),
        records(256, 20_000),
        records(150, 900, version=1) + records(30_000, 33),
        records(40_000, 25_000),
        records(0, 300, version=2),
    ):
        with one.transaction("encode") as transaction:
            transaction.upsert(block)
        forks = commit(many, block, passages_per_part)
        assert_same_contents(one, many)
        assert one.history()[0].quantization_error == many.history()[0].quantization_error
        assert one.history()[0].counts == many.history()[0].counts
        most = max(most, len(forks.parts))
    assert (most > 1) == (passages_per_part < 10**9)
    assert many.verify() == []
    assert len(many.history()) == 7


def test_a_block_of_known_documents_makes_no_commit(store: MemoryStore) -> None:
    commit(store, records(0, 10), 4)
    head = store.repository.head()
    commit(store, records(0, 10), 4)
    assert store.repository.head() == head


def test_a_block_that_fails_half_way_leaves_the_store_as_it_was(store: MemoryStore) -> None:
    commit(store, records(0, 300), 50)
    before = contents_of(store)

    class Failing(Forks):
        def write(self, session: object, parts: Sequence[Part]) -> Iterable[WrittenPart]:
            yield next(iter(super().write(session, parts)))
            raise RuntimeError("the cluster is gone")

    given = records(200, 700, version=1)
    with pytest.raises(RuntimeError, match="the cluster is gone"):
        commit_block(
            store.repository,
            {},
            "encode",
            {r.id: r.digest for r in given},
            Failing(given, store.location),
            50,
        )
    np.testing.assert_equal(contents_of(store), before)
    assert store.verify() == []


def test_every_row_is_written_once() -> None:
    """Whatever the lengths: by one part's whole chunks, or by whoever commits, and by nobody else."""
    generator = np.random.default_rng(3)
    for _ in range(20):
        documents = int(generator.integers(1, 40_000))
        before = Lengths(documents + int(generator.integers(0, 9000)), documents, documents)
        passages = generator.integers(1, 4, int(generator.integers(1, 30_000)))
        parts = parts_of(before, passages, SMALL, int(generator.integers(1, 20_000)))
        for path, spec in array_specs(SMALL).items():
            block = range(parts[0].numbers(path).start, parts[-1].numbers(path).stop)
            chunks = [chunk for part in parts for chunk in part.whole_chunks(path, spec)]
            expected = range(-(-block.start // spec.rows_per_chunk), block.stop // spec.rows_per_chunk)
            assert chunks == list(expected)
            for part in parts:
                for chunk in part.whole_chunks(path, spec):
                    last = (chunk + 1) * spec.rows_per_chunk - 1
                    if path.startswith("passages/"):
                        last = before.documents + int(
                            np.searchsorted(np.cumsum(passages), last - before.rows, side="right")
                        )
                    assert part.needed > last


def test_values_of_a_part_name_their_place(store: MemoryStore) -> None:
    values = columns_of(records(0, 4), Lengths(9, 5, 5), store.config)
    assert values["documents/first_row"].tolist() == [9, 10, 12, 15]
    assert values["passages/location"][:, 0].tolist() == [5, 6, 6, 7, 7, 7, 8]


def test_posting_lists_cover_the_rows_that_others_wrote(tmp_path: Path) -> None:
    store = MemoryStore.create(tmp_path / "listed", replace(SMALL, num_quantizers=1))
    store.keep_posting_lists()
    block = [replace(record, codes=record.codes[..., :1]) for record in records(0, 9000)]
    commit(store, block, 4000)
    with store.snapshot() as snapshot:
        lists = snapshot.posting_lists()
        assert lists is not None
        assert snapshot.row_count - lists.indexed <= 8192 < lists.indexed
    assert store.verify() == []
