"""Documents a second: the distilgpt2 preset against the published way, and the bundled adapters with a store.

python -m benchmarks.speed.encode
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mbc_store import MemoryStore, StoreConfig
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from benchmarks.speed.published_preset import build_preset, encode_as_published
from benchmarks.speed.side_by_side import machine_gives, medians, show
from mbc_cli import Document, Memory
from mbc_cli.inference.encode import encode
from mbc_cli.model.llm.plain_tokenizer import PlainTokenizer
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.news.generator import generate_news


def measure(quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        figures = _preset(Path(folder), 32 if quick else 64, rounds=1 if quick else 3)
        for adapter, count in (("news", 2048), ("default", 256 if quick else 512)):
            figures |= _bundled(Path(folder), adapter, count, rounds=2 if quick else 5)
    gives = machine_gives()
    needed = figures["preset_tokens"] * 2 * 18.9e6 / 1e9
    return {
        "row": "encode",
        "what": "distilgpt2 preset, random weights, documents of 60 to 400 tokens, against the "
        "published way; the bundled adapters on documents of 45 tokens; the store included",
        "figures": figures,
        "target": "12 times, 85 % of the time in the forward pass; 1,500 and 60 documents/s",
        "roofline": {
            "needed": f"preset: {needed:.1f} GFLOP a document and its attention, "
            f"{gives['float32_gflops'] / needed:.1f} documents/s at this machine's peak",
            **gives,
            "in_the_way": "float32: in bf16, 2.5 times faster, 0.5 % of the codes are others",
        },
    }


def _preset(folder: Path, count: int, rounds: int) -> dict[str, float]:
    model = build_preset()
    documents = list(documents_of(count, 60, 400))
    tokenizer = _tokenizer([document.text for document in documents])
    tokenizers = Tokenizers(model.config, tokenizer, tokenizer, tokenizer)
    rows = [row.tolist() for row in tokenizers.document_ids([document.text for document in documents])]
    forward = _timed(model)
    number = 0

    def ours() -> None:
        nonlocal number
        number += 1
        store = _store(folder / f"preset-{number}", model)
        encode(model, tokenizers, store, documents)

    published = rows[:16]
    medians({"ours": ours}, 1)
    forward.clear()
    seconds = medians({"ours": ours, "published": lambda: encode_as_published(model, published)}, rounds)
    rate, published_rate = count / seconds["ours"], len(published) / seconds["published"]
    return {
        "preset_tokens": round(sum(map(len, rows)) / count, 1),
        "preset_documents_per_s": round(rate, 2),
        "published_documents_per_s": round(published_rate, 2),
        "preset_ratio": round(rate / published_rate, 1),
        "preset_forward_share": round(sum(forward) / rounds / seconds["ours"], 3),
    }


def _bundled(folder: Path, adapter: str, count: int, rounds: int) -> dict[str, float]:
    documents = [item.document for item in generate_news(count, seed=3)]
    rates, shares = [], []
    for number in range(rounds + 1):
        with Memory.create(folder / f"{adapter}-{number}", adapter) as memory:
            forward = _timed(memory.model)
            start = time.perf_counter()
            memory.encode(documents)
            seconds = time.perf_counter() - start
        rates.append(count / seconds)
        shares.append(sum(forward) / seconds)
    rates, shares = sorted(rates[1:]), sorted(shares[1:])  # the first one warms up
    middle = len(rates) // 2
    return {
        f"{adapter}_documents_per_s": round(rates[middle], 1),
        f"{adapter}_forward_share": round(shares[middle], 3),
    }


def documents_of(count: int, least: int, most: int) -> Iterator[Document]:
    """News of lengths drawn evenly between two numbers of tokens, in no order."""
    rng = random.Random(0)
    words = " ".join(item.document.text for item in generate_news(40 * count, seed=5)).split()
    place = 0
    for number in range(count):
        length = int(rng.randint(least, most) / 1.17)  # tokens of this tokenizer per word
        yield Document(f"d{number}", " ".join(words[place : place + length]))
        place += length


def _tokenizer(texts: list[str]) -> PlainTokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PlainTokenizer(tokenizer, {}, Path())


def _store(place: Path, model: MemoryModel) -> MemoryStore:
    slots, levels, codes = model.code_shape
    config = StoreConfig(
        slots=slots, num_quantizers=levels, codebook_size=codes, fingerprint="0" * 32, keep_text=True
    )
    return MemoryStore.create(place, config)


def _timed(model: MemoryModel) -> list[float]:
    """The seconds of each forward pass over documents from here on."""
    taken: list[float] = []
    pass_on: Callable[..., Any] = model.encode_passages

    def encode_passages(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = pass_on(*arguments)
        taken.append(time.perf_counter() - start)
        return result

    model.encode_passages = encode_passages  # type: ignore[method-assign]
    return taken


if __name__ == "__main__":
    show(measure(quick="--quick" in sys.argv))
