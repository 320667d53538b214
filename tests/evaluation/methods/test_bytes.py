"""What methods keep, in bytes, against sums made by hand."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from safetensors import safe_open

from mbc_cli.corpus.documents import Document
from mbc_cli.evaluation.bank_bytes import adapter_bytes, memory_bytes
from mbc_cli.evaluation.cross_entropy import text_bits
from mbc_cli.evaluation.method import Setting
from mbc_cli.evaluation.methods.bm25 import Bm25Index
from mbc_cli.evaluation.methods.registry import make_method
from mbc_cli.evaluation.text_bytes import DICTIONARY_SIZES, stored_text, text_alternatives
from mbc_cli.memory import Memory
from mbc_cli.model.adapter import LORA_WEIGHTS, WEIGHTS
from mbc_cli.news.generator import generate_news
from tests.support.tiny_memories import CountedCalls, numbered_documents

TEXTS = [document.text for document in numbered_documents(5)]


def tensor_bytes(path: Path) -> dict[str, int]:
    with safe_open(path, "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return {name: value.numel() * value.element_size() for name, value in found.items()}


@pytest.mark.parametrize("kind", ["select", "telegram", "whole-bank"])
def test_an_adapter_weighs_what_its_files_hold(
    kind: str,
    select_adapter_directory: Path,
    telegram_adapter_directory: Path,
    adapter_directory: Path,
    tmp_path: Path,
) -> None:
    directory = {
        "select": select_adapter_directory,
        "telegram": telegram_adapter_directory,
        "whole-bank": adapter_directory,
    }[kind]
    memory = Memory.create(tmp_path / "m.mbc", directory, device="cpu")
    modules, lora = tensor_bytes(directory / WEIGHTS), tensor_bytes(directory / LORA_WEIGHTS)
    codebook = modules.get("quantizer.codebooks", 0)
    assert (codebook > 0) == (kind != "telegram")
    expected = {"adapter": sum(modules.values()) + sum(lora.values()) - codebook, "codebook": codebook}
    assert adapter_bytes(memory.model) == {name: size for name, size in expected.items() if size}


@pytest.mark.parametrize("keep_text", [True, False])
def test_a_memory_weighs_what_its_store_holds(
    keep_text: bool, select_adapter_directory: Path, tmp_path: Path
) -> None:
    memory = Memory.create(tmp_path / "m.mbc", select_adapter_directory, keep_text=keep_text, device="cpu")
    memory.encode(numbered_documents(9))
    info = memory.store.info()
    found = memory_bytes(memory)
    assert sum(found.growing.values()) == info.current_bytes
    assert found.growing["codes"] == info.array_bytes["passages/codes"]
    assert ("text" in found.growing) == keep_text
    assert found.growing.get("text", 0) == info.array_bytes.get("documents/text", 0) * keep_text
    values = info.passages * 6 * 2  # slots, levels
    assert found.alternatives["codes, packed"] == values * 4 / 8  # 16 codes
    assert found.alternatives["codes, entropy"] <= found.alternatives["codes, packed"]
    assert found.alternatives["vectors, float32"] == info.passages * 6 * memory.context_width * 4


def test_vectors_weigh_four_bytes_a_number(select_memory: Memory, tmp_path: Path) -> None:
    method = make_method("vectors", Setting(select_memory, tmp_path))
    method.encode(numbered_documents(3), batch_size=2)
    select_memory.encode(numbered_documents(3))
    passages = select_memory.store.info().passages
    found = method.bytes()
    assert found.growing == {"vectors": passages * 6 * select_memory.context_width * 4}
    assert "codebook" not in found.fixed


def test_few_texts_are_stored_each_by_itself_without_a_dictionary() -> None:
    contents = [text.encode() for text in TEXTS]
    alone = zstandard.ZstdCompressor(level=19, write_checksum=False)
    growing, fixed = stored_text(TEXTS)
    assert (growing, fixed) == ({"text": sum(len(alone.compress(each)) for each in contents)}, {})


@pytest.mark.slow
def test_a_dictionary_is_counted_and_taken_only_where_it_saves_more_than_it_weighs() -> None:
    texts = [item.document.text for item in generate_news(300, seed=4)]
    contents = [text.encode() for text in texts]
    growing, fixed = stored_text(texts)
    by_size: dict[int, int] = {0: sum(len(zstandard.ZstdCompressor(level=19).compress(c)) for c in contents)}
    for size in DICTIONARY_SIZES:
        dictionary = zstandard.train_dictionary(size, list(contents[::2]), level=19)
        compressor = zstandard.ZstdCompressor(level=19, dict_data=dictionary, write_dict_id=False)
        packed = [compressor.compress(content) for content in contents]
        reader = zstandard.ZstdDecompressor(dict_data=dictionary)
        assert reader.decompress(packed[7]) == contents[7]
        by_size[len(dictionary.as_bytes())] = sum(map(len, packed))
    best = min(by_size, key=lambda size: size + by_size[size])
    assert best > 0
    assert (growing["text"], fixed["dictionary"]) == (by_size[best], best)
    whole = zstandard.ZstdCompressor(level=19).compress(b"\n".join(contents))
    assert len(whole) < growing["text"]
    assert zstandard.ZstdDecompressor().stream_reader(io.BytesIO(whole)).read() == b"\n".join(contents)


def test_cross_entropy_is_that_of_coding_token_after_token(select_memory: Memory) -> None:
    tokenizer = select_memory.tokenizers.language_tokenizer
    backbone = select_memory.model.backbone
    with torch.no_grad(), backbone.without_lora():
        for text, bits in zip(
            TEXTS[:3], text_bits(select_memory.model, select_memory.tokenizers, TEXTS[:3]), strict=True
        ):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            coded = math.log2(len(tokenizer))
            for place in range(1, len(ids)):
                logits = backbone.transformer(torch.tensor([ids[:place]])).logits[0, -1]
                coded -= float(logits.log_softmax(-1)[ids[place]]) / math.log(2)
            assert bits == pytest.approx(coded, rel=1e-4)


def test_a_text_longer_than_the_llm_is_coded_in_pieces_that_begin_anew(select_memory: Memory) -> None:
    tokenizer = select_memory.tokenizers.language_tokenizer
    text = " ".join(TEXTS * 2)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert 256 < len(ids) < 600
    expected = 0.0
    with torch.no_grad(), select_memory.model.backbone.without_lora():
        for first in range(0, len(ids), 256):
            piece = torch.tensor([ids[first : first + 256]])
            losses = select_memory.model.backbone.next_token_losses(piece, torch.ones_like(piece))
            expected += float(losses.sum()) / math.log(2) + math.log2(len(tokenizer))
    (bits,) = text_bits(select_memory.model, select_memory.tokenizers, [text])
    assert bits == pytest.approx(expected, rel=1e-5)


def test_no_text_takes_no_bits_and_each_text_is_read_once(select_memory: Memory) -> None:
    model, tokenizers = select_memory.model, select_memory.tokenizers
    with CountedCalls(model.backbone, "next_token_losses") as calls:
        first = text_bits(model, tokenizers, [TEXTS[0], "", TEXTS[0]])
        once = calls.count
        again = text_bits(model, tokenizers, ["", TEXTS[0]])
        assert calls.count == once > 0
    assert first == [again[1], 0.0, again[1]]
    assert text_alternatives(model, tokenizers, [])["text, LLM cross-entropy"] == 0


def test_the_index_of_words_is_a_number_and_a_score_for_each_word_of_each_passage() -> None:
    texts = ["rain rain in May", "May", "", "snow in June"]
    vocabulary, *arrays = Bm25Index(texts).parts
    assert vocabulary.decode().split("\n") == ["in", "june", "may", "rain", "snow"]
    scores, rows, counts = (np.frombuffer(each, kind) for each, kind in zip(arrays, "fii", strict=True))
    assert counts.tolist() == [2, 1, 2, 1, 1]
    assert rows.tolist() == [0, 3, 3, 0, 1, 0, 3]
    assert len(scores) == len(rows)
    assert (scores > 0).all()


@pytest.mark.parametrize("name", ["memory", "text", "gold-text", "bm25"])
def test_all_methods_tell_what_the_texts_would_take_instead(
    name: str, select_memory: Memory, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    method = make_method(name, Setting(select_memory, tmp_path / "own"))
    documents = [*numbered_documents(4), Document("d0", "Other text.")]  # d0 is written anew
    for document in documents:
        method.encode([document], batch_size=2)
    texts = [document.text for document in documents[1:]]
    expected = text_alternatives(select_memory.model, select_memory.tokenizers, texts)
    found = method.bytes()
    assert {part: found.alternatives[part] for part in expected} == pytest.approx(dict(expected))
    if name != "memory":
        assert found.growing["text"] == stored_text(texts)[0]["text"]
