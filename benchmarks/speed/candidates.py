"""Selection with candidates first, by posting lists, against comparing every passage: time, recall and bytes.

    python -m benchmarks.speed.candidates --documents 1000000 --spliced 10000000

Invented news is encoded with the adapter `news`, and asked questions about it. A larger memory is made of the
same codes: each of its passages is the first half of one and the second half of another, so that codes occur
as often, and beside each other, as they do.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mbc_store import DocumentRecord, MemoryStore

from benchmarks.speed.machine import peak_growth_bytes
from mbc_cli import Memory
from mbc_cli.inference import bank as banks
from mbc_cli.inference.memory_filter import MemoryFilter
from mbc_cli.model import match_kernel
from mbc_cli.model.bank import best_passages
from mbc_cli.news.generator import generate_news

SEED, QUESTIONS, PROBES = 11, 100, (2, 4, 8)
_PASSAGES_PER_DOCUMENT = 100  # of the spliced memory


def measure(
    quick: bool, documents: int = 100_000, spliced: int = 1_000_000, kept: Path | None = None
) -> dict[str, Any]:
    if quick:
        documents, spliced = 20_000, 100_000
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        real = kept or Path(folder, "real.mbc")
        with Memory.open_or_create(real, "news", keep_text=False, device="cpu") as memory:
            news = (item.document for item in generate_news(documents, seed=SEED))
            memory.encode(news, commit_every=4096)
            memory.store.keep_posting_lists(False)
            start = time.perf_counter()
            memory.store.keep_posting_lists()
            figures[f"{documents:,} real, seconds to make the lists"] = round(time.perf_counter() - start, 2)
            questions = _questions(documents)
            figures |= _asked(memory, questions, f"{documents:,} real")
            if spliced:
                _splice(memory.store, Path(folder, "spliced.mbc"), spliced)
        if spliced:
            with Memory.open(Path(folder, "spliced.mbc"), device="cpu") as memory:
                figures |= _asked(memory, questions, f"{spliced:,} spliced")
    return {
        "row": "candidates",
        "what": f"{QUESTIONS} questions one by one, {torch.get_num_threads()} threads",
        "figures": figures,
        "target": "20 ms at 1e6, 100 ms at 1e7 documents; recall@1 99 % of exact",
        "roofline": {"bytes": "4 an entry of the lists that are read, as many of the promises they add to"},
    }


def _questions(documents: int) -> list[str]:
    chance = random.Random(SEED)
    chosen = set(chance.sample(range(documents), QUESTIONS))
    items = enumerate(generate_news(documents, seed=SEED))
    return [chance.choice(item.questions).question for number, item in items if number in chosen]


def _asked(memory: Memory, questions: list[str], name: str) -> dict[str, Any]:
    """What questions cost and find, by comparing all and by candidates; from the third question on."""
    sizes = memory.store.info().array_bytes
    figures: dict[str, Any] = {
        f"{name}, bytes of the lists / of the codes": round(sizes["postings"] / sizes["passages/codes"], 2)
    }
    match_kernel.pays(match_kernel.WORTH_COMPILING)  # a process that has asked a while
    with memory.store.snapshot() as snapshot:
        bank = banks.CodeBank(snapshot, torch.device("cpu"))
        exact = [_ask(memory, bank, question) for question in [*questions[:3], *questions]][3:]
        figures[f"{name}, all compared, ms"] = _median_ms(exact)
        for probes in PROBES:
            bank.probes = probes
            found = [_ask(memory, bank, question) for question in [*questions[:3], *questions]][3:]
            figures[f"{name}, {probes} probes, ms"] = _median_ms(found)
            figures[f"{name}, {probes} probes, recall@1"] = _recall(found, exact)
        fits, banks.CACHED_CODE_BYTES = banks.CACHED_CODE_BYTES, 0
        try:
            larger = banks.CodeBank(snapshot, torch.device("cpu"))
            larger.probes = 4
            found = []
            grown = peak_growth_bytes(
                lambda: found.extend(_ask(memory, larger, question) for question in questions)
            )
        finally:
            banks.CACHED_CODE_BYTES = fits
        figures[f"{name}, 4 probes, codes on disk, ms"] = _median_ms(found)
        figures[f"{name}, 4 probes, codes on disk, recall@1"] = _recall(found, exact)
        figures[f"{name}, 4 probes, codes on disk, MB more"] = round(grown / 2**20)
    return figures


def _ask(memory: Memory, bank: banks.CodeBank, question: str) -> tuple[float, float]:
    """Seconds of selection, and the score of the best passage."""
    model = memory.model
    with torch.inference_mode():
        batch = memory.tokenizers.encode_questions([question])
        encoded = model.encode_questions(batch.input_ids, batch.attention_mask)
        start = time.perf_counter()
        tables = model.selection.tables(encoded.query, model.quantizer.codebooks)
        parts = bank.filtered(MemoryFilter()).chunks(tables)
        scores, _ = best_passages(
            parts,
            lambda codes, reach: tables.scores(codes[..., 0], reach),
            5,
            questions=1,
            device=torch.device("cpu"),
        )
        return time.perf_counter() - start, float(scores[0, 0])


def _median_ms(asked: list[tuple[float, float]]) -> float:
    return round(float(np.median([seconds for seconds, _ in asked])) * 1e3, 2)


def _recall(found: list[tuple[float, float]], exact: list[tuple[float, float]]) -> float:
    """How often the best passage, or one of the same score, is found."""
    return round(float(np.mean([a[1] == b[1] for a, b in zip(found, exact, strict=True)])), 3)


def _splice(source: MemoryStore, destination: Path, passages: int) -> None:
    """A store of ``passages``: those of ``source`` first, then such as halves of them make up."""
    with source.snapshot() as snapshot:
        codes = np.concatenate([part for _, part, _ in snapshot.iter_codes()])
    store = MemoryStore.create(destination, source.config)
    store.keep_posting_lists()
    chance = np.random.default_rng(SEED)

    def rows(first: int) -> np.ndarray:
        if first + _PASSAGES_PER_DOCUMENT <= len(codes):
            return codes[first : first + _PASSAGES_PER_DOCUMENT]
        one, other = chance.integers(0, len(codes), (2, _PASSAGES_PER_DOCUMENT))
        half = codes.shape[1] // 2
        return np.concatenate([codes[one, :half], codes[other, half:]], axis=1)

    def records() -> Iterator[DocumentRecord]:
        spans = np.zeros((_PASSAGES_PER_DOCUMENT, 2), dtype=np.int64)
        for first in range(0, passages, _PASSAGES_PER_DOCUMENT):
            yield DocumentRecord(id=str(first), codes=rows(first), spans=spans, digest=first + 1)

    made = records()
    while some := list(islice(made, 2500)):
        with store.transaction("spliced") as transaction:
            transaction.upsert(some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000, help="encoded: 1,000 a second or so")
    parser.add_argument(
        "--spliced", type=int, default=1_000_000, help="passages of the larger memory; 0: none"
    )
    parser.add_argument("--memory", type=Path, help="where the memory of news is, or is made and kept")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, help="a JSON file to write")
    arguments = parser.parse_args()
    found = measure(arguments.quick, arguments.documents, arguments.spliced, arguments.memory)
    for key, value in found["figures"].items():
        print(f"{key:<55} {value}")
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
