"""Sizes and times of the store, as one table.

    python benchmarks/store_figures.py                         # banks of 1,000 and 100,000 documents
    python benchmarks/store_figures.py --banks 1000 100000 1000000 --index 10000000

Codes are drawn per slot from a Zipf-like distribution of ``--entropy`` bits, numbered by frequency as
adapters number them; ``--codes-from STORE`` draws documents from a real store instead.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
from mbc_store import DocumentRecord, MemoryStore, StoreConfig
from mbc_store.columns import Columns
from mbc_store.format import ROWS_PER_CHUNK, Lengths
from mbc_store.id_index import IdIndex

SLOTS, CODES = 24, 512
BATCH = 10_000


def zipf(entropy: float) -> np.ndarray:
    """Probabilities of ``CODES`` codes in falling order whose Shannon entropy is ``entropy`` bits."""
    low, high = 0.0, 4.0
    for _ in range(60):
        exponent = (low + high) / 2
        shares = np.arange(1, CODES + 1) ** -exponent
        shares /= shares.sum()
        low, high = (exponent, high) if -(shares * np.log2(shares)).sum() > entropy else (low, exponent)
    return shares


def drawn(entropy: float) -> Callable[[np.random.Generator, int], np.ndarray]:
    shares = zipf(entropy)
    return lambda generator, count: generator.choice(CODES, (count, SLOTS, 1), p=shares).astype(np.uint16)


def sampled(source: str) -> tuple[StoreConfig, Callable[[np.random.Generator, int], np.ndarray]]:
    store = MemoryStore.open(source)
    with store.snapshot() as snapshot:
        codes = np.concatenate([part[alive] for _, part, alive in snapshot.iter_codes()])
    return store.config, lambda generator, count: codes[generator.integers(0, len(codes), count)]


def records(draw: Callable, generator: np.random.Generator, first: int, count: int) -> list[DocumentRecord]:
    codes = draw(generator, count)
    lengths = generator.integers(150, 400, count).tolist()
    digests = generator.integers(0, 2**63, count).tolist()
    return [
        DocumentRecord(f"document-{first + n:09d}", codes[n : n + 1], np.array([[0, lengths[n]]]), digests[n])
        for n in range(count)
    ]


def commit_seconds(store: MemoryStore, batch: list[DocumentRecord]) -> float:
    started = time.perf_counter()
    with store.transaction("benchmark") as transaction:
        transaction.upsert(batch)
    return time.perf_counter() - started


def bank_figures(root: Path, size: int, config: StoreConfig, draw: Callable, repeats: int) -> Iterator[tuple]:
    generator = np.random.default_rng(size)
    store = MemoryStore.create(root / f"bank-{size}", config)
    for first in range(0, size, BATCH):
        commit_seconds(store, records(draw, generator, first, min(BATCH, size - first)))
    store.gc(older_than=timedelta(0))
    info = store.info()
    bound = info.code_entropy_bits / 8 * info.passages
    ids = info.array_bytes["documents/id"]
    yield size, "codes on disk / Shannon entropy", info.code_bytes / bound, "≤ 1.10"
    yield size, "bytes per document, codes", info.code_bytes / size, ""
    yield size, "bytes per document, everything", info.current_bytes / size, ""
    yield size, "everything / (entropy + ids)", info.current_bytes / (bound + ids), ""
    for count in (1, 100, 10_000):
        tries = repeats if count < 10_000 else 3
        times = [
            commit_seconds(
                store, records(draw, generator, size + 10**8 * (tries + 1) + count * 1000 * n, count)
            )
            for n in range(tries)
        ]
        limit = "≤ 30" if count <= 100 else ""
        yield size, f"commit of {count:,} documents, ms (median)", 1000 * statistics.median(times), limit
        if count < 10_000:
            yield size, f"commit of {count:,} documents, ms (fastest)", 1000 * min(times), limit
    opened = [first_read(root / f"bank-{size}") for _ in range(3)]
    yield size, "open + first read, ms, fresh process, imports apart", statistics.median(opened), "≤ 300"


def first_read(path: Path) -> float:
    """Milliseconds to open a store and read counts, one document and one row, in a fresh process."""
    code = """
import sys, time
from mbc_store import MemoryStore
started = time.perf_counter()
with MemoryStore.open(sys.argv[1]).snapshot() as snapshot:
    snapshot.code_counts()
    snapshot.document("document-000000500")
    snapshot.codes([500])
print((time.perf_counter() - started) * 1000)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def small_commit_figures(root: Path, count: int, config: StoreConfig, draw: Callable) -> Iterator[tuple]:
    generator = np.random.default_rng(0)
    batch = records(draw, generator, 0, count)
    many, one = MemoryStore.create(root / "many", config), MemoryStore.create(root / "one", config)
    for record in batch:
        commit_seconds(many, [record])
    commit_seconds(one, batch)
    one.gc(older_than=timedelta(0))
    before = many.info().disk_bytes or 0
    started = time.perf_counter()
    many.gc(older_than=timedelta(0))
    seconds = time.perf_counter() - started
    after, single = many.info().disk_bytes or 0, one.info().disk_bytes or 1
    yield count, "one-document commits, then gc / one commit, bytes", after / single, "≤ 1.3"
    yield count, "the same before gc", before / single, ""
    yield count, "that gc, ms", 1000 * seconds, ""


def index_figures(root: Path, size: int) -> Iterator[tuple]:
    """Id look-up in a bank of ``size`` documents with one tiny code each.

    Most are written as compaction writes them, the last 60,000 by commits, so that there are several runs and
    documents in none.
    """
    config = StoreConfig(slots=1, num_quantizers=1, codebook_size=2, fingerprint="index", keep_text=False)
    store = MemoryStore.create(root / "index", config)
    code, span = np.zeros((1, 1, 1), np.uint16), np.array([[0, 1]])
    committed = min(60_000, size // 2)
    store.repository.commit(
        "bulk", lambda session: written_at_once(Columns(session, store.location), size - committed)
    )
    for first in (*range(size - committed, size - 3000, 19_000), *range(size - 3000, size, 1000)):
        last = min(first + 19_000, size - 3000) if first < size - 3000 else first + 1000
        commit_seconds(store, [DocumentRecord(f"document-{n}", code, span, n) for n in range(first, last)])
    yield from look_up_figures(store, size)


def written_at_once(columns: Columns, count: int) -> dict:
    for first in range(0, count, 16 * ROWS_PER_CHUNK):
        numbers = np.arange(first, min(first + 16 * ROWS_PER_CHUNK, count))
        ids = np.empty(len(numbers), dtype=object)
        ids[:] = [f"document-{number}" for number in numbers.tolist()]
        values = {
            "passages/codes": np.zeros((len(numbers), 1, 1), np.uint16),
            "passages/alive": np.ones(len(numbers), bool),
            "passages/location": np.column_stack([numbers, 0 * numbers, 0 * numbers + 1]),
            "documents/id": ids,
            "documents/digest": numbers.astype(np.uint64),
            "documents/first_row": numbers,
        }
        columns.append_many([(path, first, array) for path, array in values.items()])
        columns.set_header(Lengths(*[first + len(numbers)] * 3))
        columns.flush()
    columns.write_counts(np.array([[[count, 0]]]))
    columns.set_header(columns.lengths, IdIndex(columns).rebuild())
    columns.flush()
    return {"operation": "import", "counts": {"added": count}, "documents": count, "passages": count}


def look_up_figures(store: MemoryStore, size: int) -> Iterator[tuple]:
    chance = np.random.default_rng(1)
    with store.snapshot() as snapshot:
        snapshot.find(["document-0"])
        times, computing = [], []
        for number in chance.integers(0, size, 200).tolist():
            started, used = time.perf_counter(), time.process_time()
            assert snapshot.find([f"document-{number}"]) == {f"document-{number}": number}
            times.append(time.perf_counter() - started)
            computing.append(time.process_time() - used)
    runs = len(snapshot.columns.runs)
    yield size, f"id look-up, ms (median of 200; {runs} runs)", 1000 * statistics.median(times), "≤ 3"
    yield size, "id look-up, ms (fastest tenth)", 1000 * statistics.quantiles(times, n=10)[0], "≤ 3"
    yield size, "id look-up, ms of processor time (median)", 1000 * statistics.median(computing), ""


def peak_megabytes(path: Path) -> float:
    """Peak memory of streaming all codes of a store, in a fresh process.

    From /proc: getrusage also counts what the process that started it held.
    """
    code = """
import re, sys
from pathlib import Path
from mbc_store import MemoryStore
with MemoryStore.open(sys.argv[1]).snapshot() as snapshot:
    for _ in snapshot.iter_codes():
        pass
print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--banks", type=int, nargs="*", default=[1000, 100_000])
    parser.add_argument(
        "--index", type=int, default=0, help="size of the bank for id look-ups; 0 leaves it out"
    )
    parser.add_argument("--small-commits", type=int, default=200, help="one-document commits before gc")
    parser.add_argument("--entropy", type=float, default=6.87, help="bits per code")
    parser.add_argument("--codes-from", help="a store whose codes to draw from")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(dir=arguments.folder))
    config, draw = StoreConfig(SLOTS, 1, CODES, "benchmark", keep_text=False), drawn(arguments.entropy)
    if arguments.codes_from:
        config, draw = sampled(arguments.codes_from)

    def figures() -> Iterator[tuple]:
        for size in arguments.banks:
            yield from bank_figures(root, size, config, draw, arguments.repeats)
            yield size, "peak memory of reading all codes, MB", peak_megabytes(root / f"bank-{size}"), "flat"
        if arguments.small_commits:
            yield from small_commit_figures(root, arguments.small_commits, config, draw)
        if arguments.index:
            yield from index_figures(root, arguments.index)

    try:
        for size, name, value, limit in figures():
            if arguments.json:
                row = json.dumps({"documents": size, "figure": name, "value": value, "limit": limit})
            else:
                row = f"{size:>12,}  {name:<60} {value:>10.3f}  {limit}"
            print(row, flush=True)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
