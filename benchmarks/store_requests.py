"""Requests and bytes of a store that many machines fill, computed from its layout without filling it.

    python -m benchmarks.store_requests                                     # docs/scale.md's plan
    python -m benchmarks.store_requests --documents 1e8 --block 65536

Every block of documents is one commit. What it puts: the chunks that its rows touch, for every array that
changed a manifest with all chunks of that array, a snapshot, a log and the branch. What it gets: the chunks
of the index of ids that its ids fall into, and, when runs of that index are merged, their entries and the ids
since. tests/distributed/test_store_requests.py compares with what real commits put and get.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, prod

from mbc_store.format import StoreConfig, array_specs
from mbc_store.id_index import _ENTRY, _FENCE, GROWTH, TAIL

INLINE_BYTES = 512
"""A smaller chunk stands in its array's manifest."""
BYTES_PER_REFERENCE, MANIFEST_BYTES = 23, 136
"""Of a chunk in a manifest, and of a manifest without any (measured by the test)."""
SNAPSHOT_BYTES, LOG_BYTES, LOG_BYTES_PER_CHUNK = 2600, 350, 6
BYTES_PER_COUNT = 1
ENTRY_BYTES = 6.6  # of the 8 of an entry: sorted hashes pack a little
# What the one that commits gets: seconds until an answer, requests at once, bytes and chunks a second.
LATENCY, AT_ONCE, BANDWIDTH, UNPACKED = 0.03, 64, 1.25e9, 10_000
# Dollars: requests per 1,000, storage per GB and month, a machine with a GPU per hour. Inputs: check yours.
PRICES = {"put": 0.005, "get": 0.0004, "storage": 0.023, "machine_hour": 10.0}


@dataclass(frozen=True, slots=True)
class Corpus:
    """What documents are like.

    Attributes:
        row_bytes: packed bytes of a row of each array (``mbc memory info --json`` divides to them); arrays
            that are not named hold nothing.
    """

    passages_per_document: float
    row_bytes: dict[str, float]


@dataclass(slots=True)
class Requests:
    """Of one block, or of several together: counts and bytes by kind of object."""

    puts: dict[str, int] = field(default_factory=dict)
    put_bytes: dict[str, float] = field(default_factory=dict)
    gets: dict[str, float] = field(default_factory=dict)
    get_bytes: dict[str, float] = field(default_factory=dict)
    merged_entries: int = 0
    """Of the index, in memory at once on the machine that commits."""

    def put(self, kind: str, size: float, count: int = 1) -> None:
        self.puts[kind] = self.puts.get(kind, 0) + count
        self.put_bytes[kind] = self.put_bytes.get(kind, 0) + size

    def get(self, kind: str, size: float, count: float = 1) -> None:
        self.gets[kind] = self.gets.get(kind, 0) + count
        self.get_bytes[kind] = self.get_bytes.get(kind, 0) + size

    def add(self, other: Requests) -> None:
        for mine, others in (
            (self.puts, other.puts),
            (self.put_bytes, other.put_bytes),
            (self.gets, other.gets),
            (self.get_bytes, other.get_bytes),
        ):
            for kind, value in others.items():
                mine[kind] = mine.get(kind, 0) + value  # type: ignore[assignment,operator]
        self.merged_entries = max(self.merged_entries, other.merged_entries)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the index of ids, as ``mbc_store.id_index`` keeps them."""

    level: int
    start: int
    stop: int

    @property
    def chunks(self) -> int:
        return ceil((self.stop - self.start) / _ENTRY.rows_per_chunk)


def runs_after(runs: list[Run], documents: int) -> tuple[list[Run], list[Run]]:
    """The runs when there are so many documents, and those of ``runs`` that were merged for it."""
    if documents - max((run.stop for run in runs), default=0) <= TAIL:
        return runs, []

    def end_above(level: int) -> int:
        return max((run.stop for run in runs if run.level > level), default=0)

    level = 0
    while documents - end_above(level) > TAIL * GROWTH ** (level + 1):
        level += 1
    merged = [run for run in runs if run.level <= level]
    return [run for run in runs if run.level > level] + [Run(level, end_above(level), documents)], merged


def simulate(config: StoreConfig, corpus: Corpus, blocks: Iterator[int]) -> Iterator[tuple[int, Requests]]:
    """Documents in the store after each block, and what the block cost. All documents are new."""
    specs = {path: spec for path, spec in array_specs(config).items() if corpus.row_bytes.get(path)}
    documents, runs = 0, list[Run]()
    for block in blocks:
        requests = Requests()
        before, documents = documents, documents + block
        references = 0
        for path, spec in specs.items():
            scale = corpus.passages_per_document if path.startswith("passages/") else 1
            first, stop = round(before * scale), round(documents * scale)
            rows, size = spec.rows_per_chunk, corpus.row_bytes[path]
            touched = range(first // rows, ceil(stop / rows))
            held = [min(stop, (chunk + 1) * rows) - chunk * rows for chunk in (touched[0], touched[-1])]
            for chunk, filled in zip((touched[0], touched[-1])[: len(touched)], held, strict=False):
                if filled * size >= INLINE_BYTES:
                    requests.put("chunks", filled * size)
                if chunk == touched[0] and first % rows:
                    requests.get("heads", (first % rows) * size)
            between = max(0, len(touched) - 2)
            if between and rows * size >= INLINE_BYTES:
                requests.put("chunks", between * rows * size, between)
            requests.put("manifests", MANIFEST_BYTES + BYTES_PER_REFERENCE * touched.stop)
            requests.get("manifests", MANIFEST_BYTES + BYTES_PER_REFERENCE * touched.start)
            references += len(touched)
        requests.put("manifests", MANIFEST_BYTES + BYTES_PER_REFERENCE)  # counts of codes
        requests.put("chunks", BYTES_PER_COUNT * prod(config.counts_shape))
        _look_up(requests, runs, block)
        runs, merged = runs_after(runs, documents)
        if runs and runs[-1].stop == documents:
            _merge(requests, runs[-1], merged, before, corpus)
        requests.put("snapshots", SNAPSHOT_BYTES)
        requests.put("transactions", LOG_BYTES + LOG_BYTES_PER_CHUNK * references)
        requests.put("branch", 40)
        yield documents, requests


def _look_up(requests: Requests, runs: list[Run], ids: int) -> None:
    """A block's ids fall anywhere: into every chunk of a run, where there are more ids than chunks."""
    for run in runs:
        touched = run.chunks * (1 - (1 - 1 / run.chunks) ** ids)
        requests.get("index", touched * _ENTRY.rows_per_chunk * ENTRY_BYTES, touched)


def _merge(requests: Requests, run: Run, merged: list[Run], before: int, corpus: Corpus) -> None:
    entries = run.stop - run.start
    tail = run.stop - max((old.stop for old in merged), default=run.start)
    size = corpus.row_bytes["documents/id"]
    requests.get("ids", tail * size, ceil(tail / 4096))
    for old in merged:
        requests.get("index", (old.stop - old.start) * ENTRY_BYTES, old.chunks)
    whole, rest = divmod(entries, _ENTRY.rows_per_chunk)
    requests.put("chunks", entries * ENTRY_BYTES, whole + (rest * ENTRY_BYTES >= INLINE_BYTES))
    fences = ceil(run.chunks / _FENCE.rows_per_chunk)
    if run.chunks * 3.2 >= INLINE_BYTES:
        requests.put("chunks", run.chunks * 3.2, fences)
    requests.put("manifests", MANIFEST_BYTES + BYTES_PER_REFERENCE * run.chunks)
    requests.put("manifests", MANIFEST_BYTES + BYTES_PER_REFERENCE * fences)
    requests.merged_entries = entries


# What the plan is made for: codes as the default adapter makes them, texts of about 1 kB.
PLAN = StoreConfig(slots=24, num_quantizers=1, codebook_size=49_152, fingerprint="plan", shared_counts=True)
PLAN_CORPUS = Corpus(
    passages_per_document=4,
    row_bytes={
        "passages/codes": 38.0,
        "passages/location": 3.0,
        "documents/id": 12.0,
        "documents/digest": 8.0,
        "documents/first_row": 1.0,
        "documents/timestamp": 4.0,
        "documents/title": 20.0,
        "documents/metadata": 20.0,
        "documents/text": 450.0,
    },
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=float, default=1e9)
    parser.add_argument("--block", type=int, default=2**20, help="documents per commit")
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--rate", type=float, default=500, help="documents/s of one machine, measured")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    documents = int(arguments.documents)
    blocks = iter([arguments.block] * ceil(documents / arguments.block))
    total, last = Requests(), Requests()
    for _, last in simulate(PLAN, PLAN_CORPUS, blocks):
        total.add(last)
    hours = documents / (arguments.rate * arguments.machines) / 3600
    puts, gets = sum(total.puts.values()), sum(total.gets.values())
    stored = sum(
        size * documents * (PLAN_CORPUS.passages_per_document if path.startswith("passages/") else 1)
        for path, size in PLAN_CORPUS.row_bytes.items()
    )
    waits = gets * LATENCY / AT_ONCE + sum(total.get_bytes.values()) / BANDWIDTH + gets / UNPACKED
    dollars = {
        "puts": puts / 1000 * PRICES["put"],
        "gets": gets / 1000 * PRICES["get"],
        "storage a month": stored / 1e9 * PRICES["storage"],
        "machines": hours * arguments.machines * PRICES["machine_hour"],
    }
    if arguments.json:
        print(
            json.dumps(
                {
                    "puts": total.puts,
                    "put_bytes": total.put_bytes,
                    "gets": total.gets,
                    "get_bytes": total.get_bytes,
                    "dollars": dollars,
                    "hours": hours,
                    "commit_hours": waits / 3600,
                }
            )
        )
        return
    print(
        f"{documents:,} documents in commits of {arguments.block:,}; held in the end {stored / 1e9:,.0f} GB"
    )
    print(f"encoding: {hours:,.1f} h on {arguments.machines} machines of {arguments.rate:,.0f} documents/s")
    for name, counts, sizes in (
        ("puts", total.puts, total.put_bytes),
        ("gets by the one that commits", total.gets, total.get_bytes),
    ):
        print(f"{name}:")
        for kind in counts:
            print(f"  {kind:13}{counts[kind]:>16,.0f}{sizes[kind] / 1e9:>12,.1f} GB")
    read, times = last.get_bytes.get("index", 0), last.gets.get("index", 0)
    print(f"last commit: {last.put_bytes['manifests'] / 1e6:,.0f} MB of manifests written")
    print(f"last commit: {read / 1e9:,.1f} GB of the index read in {times:,.0f} requests")
    print(
        f"largest merge of the index: {total.merged_entries:,} entries, "
        f"about {total.merged_entries * 32 / 1e9:,.1f} GB of memory"
    )
    print(f"the one that commits waits {waits / 3600:,.1f} h for the store")
    print("dollars: " + ", ".join(f"{name} {value:,.0f}" for name, value in dollars.items()))


if __name__ == "__main__":
    main()
