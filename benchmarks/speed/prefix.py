"""A prefix from the whole bank: attention over the counts of codes, against the published bank of vectors.

python -m benchmarks.speed.prefix
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mbc_store import DocumentRecord, MemoryStore, StoreConfig
from mbc_store.codes import count_codes
from torch import Tensor

from benchmarks.speed.peak_memory import peak_mb
from benchmarks.speed.published_preset import build_preset, prefix_as_published
from benchmarks.speed.side_by_side import machine_gives, medians, show
from mbc_cli.inference.bank import CodeBank
from mbc_cli.inference.memory_filter import MemoryFilter
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel

TOKENS = 16  # of the question
COMPARED = (1665, 10_000)
COUNTED = (1000, 10_000, 100_000, 1_000_000, 10_000_000)
PEAK = """
import torch
from benchmarks.speed import prefix
from benchmarks.speed.published_preset import build_preset, prefix_as_published
model = build_preset()
config = prefix.store_config(model)
with torch.inference_mode():
    if {published}:
        prefix_as_published(model, *prefix.question(), prefix.decodable(prefix.codes_of({count}, config)))
    else:
        prefix.from_counts(model, prefix.counts_of({count}, config))
"""


@torch.inference_mode()
def measure(quick: bool) -> dict[str, Any]:
    model = build_preset()
    config = store_config(model)
    figures: dict[str, float] = {}
    for count in COMPARED:
        figures |= _compared(model, codes_of(count, config), rounds=1 if quick else 3)
    figures |= _by_size(model, COUNTED[:-2] if quick else COUNTED, rounds=5 if quick else 25)
    with tempfile.TemporaryDirectory() as folder:
        figures |= _from_stores(Path(folder), config, (1000, 20_000 if quick else 200_000))
    for name, count, published in (
        ("peak_1000_mb", 1000, False),
        ("peak_10000_mb", 10_000, False),
        ("published_peak_10000_mb", 10_000, True),
    ):
        figures[name] = peak_mb(PEAK.format(count=count, published=published))
    gives = machine_gives()
    ours, theirs = (_needed_gflop(model, rows) for rows in (config.codebook_size, 10_000 * config.slots))
    return {
        "row": "prefix",
        "what": f"a question of {TOKENS} tokens, its tokens to its prefix; distilgpt2 preset, random codes",
        "figures": figures,
        "target": "at least 15 times at 1,665 documents, 100 at 10,000; within 10 % from 1,000 to 10,000,000",
        "roofline": {
            "needed": f"{ours:.1f} GFLOP at any size, {1000 * ours / gives['float32_gflops']:.0f} ms at this "
            f"machine's peak; the published way {theirs:.0f} GFLOP at 10,000 documents",
            **gives,
            "in_the_way": "products of few rows, for which each weight is read: the T5, the prefix's slots",
        },
    }


def store_config(model: WholeBankMemoryModel) -> StoreConfig:
    slots, levels, codes = model.code_shape
    return StoreConfig(slots=slots, num_quantizers=levels, codebook_size=codes, fingerprint="0" * 32)


def question() -> tuple[Tensor, Tensor]:
    """Ids and mask (1, S) int64 of a question."""
    ids = torch.randint(5, 32_000, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    return ids, torch.ones_like(ids)


def codes_of(count: int, config: StoreConfig) -> np.ndarray:
    """Random codes (count, T, L) uint16."""
    shape = (count, config.slots, config.num_quantizers)
    return np.random.default_rng(count).integers(0, config.codebook_size, shape, dtype=np.uint16)


def decodable(codes: np.ndarray) -> Tensor:
    return torch.from_numpy(codes.astype(np.int64))


def counts_of(count: int, config: StoreConfig) -> Tensor:
    """How often each code occurs among the random ones of ``count`` documents: (T, L, K) int64."""
    counts, part = np.zeros(config.counts_shape, dtype=np.int64), 100_000
    for first in range(0, count, part):
        counts += count_codes(codes_of(min(part, count - first), config), config)
    return torch.from_numpy(counts)


def from_counts(model: WholeBankMemoryModel, counts: Tensor) -> Tensor:
    """The states of the question's prefix, given what the store counts."""
    asked = model.encode_questions(*question())
    return model.prefix(asked, model.attended_by_counts(counts)).states


def _compared(model: WholeBankMemoryModel, codes: np.ndarray, rounds: int) -> dict[str, float]:
    """Seconds of both ways over the same codes, which give the same prefix."""
    counts = torch.from_numpy(count_codes(codes, store_config(model)))
    stored = decodable(codes)
    sides: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: from_counts(model, counts),
        "published": lambda: prefix_as_published(model, *question(), stored).states,
    }
    ours, theirs = (side() for side in sides.values())
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4):
        raise AssertionError(f"the prefixes differ by {(ours - theirs).abs().max()}")
    medians({"ours": sides["ours"]}, 3)  # after the other's gigabytes, memory of its own again
    seconds = medians(sides, rounds) | medians({"ours": sides["ours"]}, 9)
    return {
        f"ours_{len(codes)}_ms": round(1000 * seconds["ours"], 1),
        f"published_{len(codes)}_ms": round(1000 * seconds["published"], 1),
        f"ratio_{len(codes)}": round(seconds["published"] / seconds["ours"], 1),
    }


def _by_size(model: WholeBankMemoryModel, sizes: tuple[int, ...], rounds: int) -> dict[str, float]:
    """Milliseconds from counts alone, of which there are as many at any size."""
    counts = {size: counts_of(size, store_config(model)) for size in sizes}
    sides = {str(size): (lambda its=its: from_counts(model, its)) for size, its in counts.items()}
    medians(sides, 2)
    seconds = medians(sides, rounds)
    return {f"counts_of_{size}_ms": round(1000 * value, 2) for size, value in seconds.items()} | {
        "counts_most_to_least": round(max(seconds.values()) / min(seconds.values()), 3)
    }


def _from_stores(folder: Path, config: StoreConfig, sizes: tuple[int, ...]) -> dict[str, float]:
    """Milliseconds to read the counts of a stored bank, and how many codes there are."""
    sides: dict[str, Callable[[], Tensor]] = {}
    for size in sizes:
        codes, part = codes_of(size, config), 20_000
        store = MemoryStore.create(folder / f"{size}.mbc", config)
        for first in range(0, size, part):
            with store.transaction("benchmark") as transaction:
                transaction.upsert(
                    [
                        DocumentRecord(f"{first + n}", its[None], np.array([[0, 1]]), first + n)
                        for n, its in enumerate(codes[first : first + part])
                    ]
                )
        sides[str(size)] = lambda store=store: _read_counts(store)
        if int(sides[str(size)]().sum()) != codes.size:
            raise AssertionError(f"the store of {size} documents counts other codes than were stored")
    seconds = medians(sides, 25)
    return {f"store_of_{size}_counts_ms": round(1000 * value, 2) for size, value in seconds.items()} | {
        "store_counts_most_to_least": round(max(seconds.values()) / min(seconds.values()), 3)
    }


def _read_counts(store: MemoryStore) -> Tensor:
    """As a question of another process's bank reads them: of a fresh snapshot."""
    with store.snapshot() as snapshot:
        return CodeBank(snapshot, torch.device("cpu")).counts(MemoryFilter())


def _needed_gflop(model: WholeBankMemoryModel, rows: int) -> float:
    """Keys and values of ``rows`` vectors in every block, the question's T5 and the prefix's slots."""
    config = model.config
    width, blocks = model.backbone.shape.hidden_size, config.aggregation.blocks
    bank = blocks * 2 * rows * width * config.aggregation.heads * config.aggregation.head_dimension
    # The question's T5: 18.9 M weights meet its tokens and 25.2 M its slots; each weight of a slot one row.
    t5 = 18.9e6 * TOKENS + 25.2e6 * config.context_vectors
    slots = sum(weight.numel() for weight in model.modulation.parameters())
    return 2 * (bank + t5 + slots) / 1e9


if __name__ == "__main__":
    show(measure(quick="--quick" in sys.argv))
