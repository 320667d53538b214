"""Reading codes, passages and documents, and filtering them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from mbc_store import MemoryStore
from mbc_store.codes import count_codes
from mbc_store.filters import microseconds
from mbc_store.waiting import wait

from tests.support.store import SMALL, make_record, make_records, state_of

DAY = 86_400_000_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    """9,000 documents of about 18,000 passages: several chunks of every array, a sixth forgotten."""
    store = MemoryStore.create(tmp_path_factory.mktemp("large") / "store", SMALL)
    sources = ["wire", "blog", "forum"]
    for first in range(0, 9000, 4500):
        with store.transaction("load") as transaction:
            transaction.upsert(
                [
                    replace(
                        record,
                        timestamp=n * DAY if n % 5 else None,
                        metadata={
                            "source": sources[n % 3],
                            "nested": {"year": 2000 + n % 2},
                            "tags": ["all", str(n % 4)],
                        },
                    )
                    for n, record in enumerate(make_records(first, 4500), start=first)
                ]
            )
    with store.transaction("forget") as transaction:
        transaction.forget([f"doc-{n}" for n in range(0, 9000, 6)])
    return store


def test_chunks_of_codes_join_to_the_rows_asked_for(large: MemoryStore) -> None:
    with large.snapshot() as snapshot:
        parts = list(snapshot.iter_codes(5000))
        assert [first for first, _, _ in parts] == list(range(0, snapshot.row_count, 5000))
        codes = np.concatenate([part for _, part, _ in parts])
        rows = np.random.default_rng(0).integers(0, snapshot.row_count, 300)
        assert np.array_equal(snapshot.codes(rows), codes[rows])
        assert np.array_equal(snapshot.codes(np.empty(0, int)), codes[:0])
        assert np.array_equal(np.concatenate([alive for _, _, alive in parts]), snapshot.alive())


def test_rows_outside_the_store_are_refused(large: MemoryStore) -> None:
    with large.snapshot() as snapshot, pytest.raises(IndexError, match="outside"):
        snapshot.codes([snapshot.row_count])


def test_passages_name_document_place_and_text(large: MemoryStore) -> None:
    with large.snapshot() as snapshot:
        record = make_record("doc-5001", 5002)
        document = snapshot.document("doc-5001")
        passages = snapshot.passages(list(document.rows)[::-1])[::-1]
        assert [p.index for p in passages] == list(range(len(record.codes)))
        assert [p.text for p in passages] == [record.text[a:b] for a, b in record.spans]
        assert {p.document_id for p in passages} == {"doc-5001"}
        assert passages[0].metadata["source"] == "wire"


def test_documents_come_in_order_and_in_pages(large: MemoryStore) -> None:
    with large.snapshot() as snapshot:
        expected = [f"doc-{n}" for n in range(9000) if n % 6]
        assert [d.id for d in snapshot.documents(4000, 7)] == expected[4000:4007]
        assert [d.id for d in snapshot.documents(limit=2)] == expected[:2]
        assert [d.id for d in snapshot.iter_documents()] == expected


def test_a_time_range_takes_documents_from_since_up_to_until(large: MemoryStore) -> None:
    with large.snapshot() as snapshot:
        ids = snapshot.matching_ids(since=datetime(1970, 1, 11, tzinfo=UTC), until=21 * DAY)
        assert ids == [f"doc-{n}" for n in range(10, 21) if n % 5 and n % 6]
        mask = snapshot.row_mask(since=10 * DAY, until=21 * DAY)
        assert {p.document_id for p in snapshot.passages(np.flatnonzero(mask))} == set(ids)


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ({"source": "blog"}, lambda n: n % 3 == 1),
        ({"nested.year": "2001"}, lambda n: n % 2 == 1),
        ({"tags": "2"}, lambda n: n % 4 == 2),
        ({"source": "wire", "tags": "1"}, lambda n: n % 3 == 0 and n % 4 == 1),
        pytest.param(
            {"absent": "x"},
            lambda n: False,
            marks=pytest.mark.filterwarnings("ignore:no document has the metadata key"),
        ),
    ],
)
def test_metadata_filters_take_what_a_scan_would(large: MemoryStore, where: dict, keep) -> None:
    with large.snapshot() as snapshot:
        expected = [f"doc-{n}" for n in range(9000) if n % 6 and keep(n)]
        assert snapshot.matching_ids(where=where) == expected


def test_counts_under_a_mask_are_those_of_the_chosen_codes(large: MemoryStore) -> None:
    with large.snapshot() as snapshot:
        mask = snapshot.row_mask(where={"source": "forum"})
        chosen = snapshot.codes(np.flatnonzero(mask))
        assert np.array_equal(snapshot.code_counts(mask), count_codes(chosen, SMALL))
        assert np.array_equal(snapshot.code_counts(snapshot.row_mask()), snapshot.code_counts())


def test_any_zone_means_the_same_moment() -> None:
    assert microseconds(datetime.fromisoformat("2026-05-01T02:00:00+02:00")) == microseconds(
        datetime(2026, 5, 1)
    )


def test_info_adds_up(large: MemoryStore) -> None:
    info = large.info()
    with large.snapshot() as snapshot:
        assert (info.documents, info.passages) == (7500, snapshot.passage_count)
        assert info.dead_passages == snapshot.row_count - snapshot.passage_count
        counts = snapshot.code_counts().astype(float)
    share = counts / counts.sum(-1, keepdims=True)
    assert info.code_entropy_bits == pytest.approx(-(share * np.log2(share)).sum())
    assert info.codes_used == 1.0
    files = sum(p.stat().st_size for p in (Path(str(large.location)) / "icechunk").rglob("*") if p.is_file())
    assert info.disk_bytes == files > info.current_bytes > info.code_bytes > 0
    assert info.commits == len(large.history()) == 4


def test_codes_of_many_rows_take_close_to_their_entropy(large: MemoryStore) -> None:
    info = large.info()
    bound = info.code_entropy_bits / 8 * (info.passages + info.dead_passages)
    assert info.code_bytes < 1.10 * bound


def test_a_store_is_read_and_written_within_a_running_event_loop_and_in_threads(store: MemoryStore) -> None:
    async def within() -> int:
        with store.transaction("load") as transaction:
            transaction.upsert(make_records(0, 7))
        return len(state_of(store))

    assert asyncio.run(within()) == 7
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: len(state_of(store)), range(3))) == [7, 7, 7]


def test_reading_goes_on_after_an_interrupt() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    async def goes_on() -> int:
        return 3

    with pytest.raises(KeyboardInterrupt):
        wait(interrupted())
    assert wait(goes_on()) == 3
