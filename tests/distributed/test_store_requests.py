"""The plan's arithmetic of requests and bytes is that of commits that were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from mbc_store import DocumentRecord, MemoryStore, StoreConfig
from mbc_store.measure import array_bytes

from benchmarks.store_requests import Corpus, simulate
from tests.store.test_distributed import commit

CONFIG = StoreConfig(slots=5, num_quantizers=2, codebook_size=4096, fingerprint="test")
PASSAGES = 2
BLOCKS = (3000, 3000, 9000, 9000, 41_000)


def records(first: int, count: int) -> list[DocumentRecord]:
    """Documents of contents that cannot be packed."""
    generator = np.random.default_rng(first)
    return [
        DocumentRecord(
            id=f"document-{generator.integers(2**60):x}-{number}",
            codes=generator.integers(0, 4096, (PASSAGES, 5, 2)),
            spans=np.sort(generator.integers(0, 2**30, (PASSAGES, 2))),
            digest=int(generator.integers(2**60)),
            text=f"{generator.integers(2**60):x} {generator.integers(2**60):x}",
            title=f"{generator.integers(2**60):x}",
            timestamp=int(generator.integers(2**50)),
            metadata={"number": int(generator.integers(2**60))},
        )
        for number in range(first, first + count)
    ]


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def objects_put(folder: Path, store: MemoryStore, blocks: Sequence[int]) -> list[dict[str, list[int]]]:
    """Of each block, by kind, the sizes of the objects that its commit made."""
    put, first = [], 0
    for block in blocks:
        before = files(folder)
        commit(store, records(first, block), 10**9)  # in one part: what is put twice is not counted twice
        first += block
        made: dict[str, list[int]] = {}
        for path, size in files(folder).items():
            if path not in before:
                made.setdefault(path.parent.name, []).append(size)
        put.append(made)
    return put


@pytest.mark.slow
def test_what_is_put_is_what_was_computed(tmp_path: Path) -> None:
    store = MemoryStore.create(tmp_path / "store", CONFIG)
    put = objects_put(tmp_path / "store", store, BLOCKS)
    with store.snapshot() as snapshot:
        sizes, lengths = array_bytes(snapshot.session), snapshot.lengths
    rows = {
        path: size / (lengths.rows if path.startswith("passages/") else lengths.documents)
        for path, size in sizes.items()
        if path.startswith(("passages/", "documents/"))
    }

    computed = [requests for _, requests in simulate(CONFIG, Corpus(PASSAGES, rows), iter(BLOCKS))]

    assert len({len(made["chunks"]) for made in put}) > 3
    for made, requests in zip(put, computed, strict=True):
        counts = Counter({kind: len(objects) for kind, objects in made.items() if kind != "refs"})
        for kind in ("chunks", "manifests", "snapshots", "transactions"):
            assert counts[kind] == requests.puts[kind], kind
            assert sum(made[kind]) == pytest.approx(requests.put_bytes[kind], rel=0.25), kind
    total = sum(sum(made["chunks"]) for made in put)
    assert total == pytest.approx(sum(requests.put_bytes["chunks"] for requests in computed), rel=0.05)
