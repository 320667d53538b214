"""Memories of telegrams on disk: written by one LLM, read by another of the same tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mbc_store import FingerprintMismatch, MemoryStore

from mbc_cli import Document, Memory
from mbc_cli.inference.telegrams import Piece, TelegramWords, bracketed
from tests.support.tiny_memories import numbered_documents, save_adapter_directory
from tests.support.tiny_models import SENTENCES, telegram_config


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained adapter around a GPT-2 of 3 layers."""
    return save_adapter_directory(tmp_path_factory.mktemp("small"), make_config=telegram_config)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of the same tokenizer around a wider Llama, with more slots."""
    folder = tmp_path_factory.mktemp("large")
    return save_adapter_directory(folder, "llama", make_config=telegram_config, seed=9, context_vectors=11)


def telegrams(memory: Memory) -> list[str]:
    """What the store holds of its passages, as text."""
    tokenizer = memory.tokenizers.language_tokenizer
    with memory.store.snapshot() as snapshot:
        codes = snapshot.codes(np.arange(snapshot.row_count))[..., 0]
    return [tokenizer.decode(row[row < len(tokenizer)].tolist()) for row in codes]


def test_a_store_holds_tokens_of_its_texts(small: Path, tmp_path: Path) -> None:
    with Memory.create(tmp_path / "s.mbc", small, device="cpu") as memory:
        memory.encode([Document("a", SENTENCES[0])])
        ids = memory.tokenizers.language_tokenizer(SENTENCES[0])["input_ids"]
        with memory.store.snapshot() as snapshot:
            codes = snapshot.codes([0])[0, :, 0].tolist()
        kept = [code for code in codes if code < len(memory.tokenizers.language_tokenizer)]
        rest = iter(ids)
        assert kept
        assert all(code in rest for code in kept)  # in the order of the text


def test_two_llms_of_one_tokenizer_read_and_write_one_store(small: Path, large: Path, tmp_path: Path) -> None:
    with Memory.create(tmp_path / "s.mbc", small, device="cpu") as memory:
        memory.encode(numbered_documents(6))
        before = telegrams(memory)
        shape = memory.model.backbone.shape
    with Memory.open(tmp_path / "s.mbc", large, device="cpu") as memory:
        assert memory.model.backbone.shape != shape
        assert telegrams(memory) == before
        assert len(memory.search(["Who opened the museum?"], top_k=3)[0]) == 3
        assert memory.answer(["Who opened the museum?"])[0].sources
        memory.encode([Document("new", "Jonas Weil left Lindholm on 9 March.")])
        assert telegrams(memory)[: len(before)] == before
        assert len(telegrams(memory)) > len(before)
    with Memory.open(tmp_path / "s.mbc", small, device="cpu") as memory:
        found = memory.search(["Jonas Weil left Lindholm"], top_k=50)[0]
        assert {source.document_id for source in found} == {f"d{n}" for n in range(6)} | {"new"}


def test_an_adapter_with_learned_codebooks_cannot_read_telegrams(
    small: Path, select_adapter_directory: Path, tmp_path: Path
) -> None:
    Memory.create(tmp_path / "s.mbc", small, device="cpu").close()
    with pytest.raises(FingerprintMismatch):
        Memory.open(tmp_path / "s.mbc", select_adapter_directory, device="cpu")


def test_what_is_kept_can_be_read_beside_what_was_lost(small: Path, tmp_path: Path) -> None:
    with Memory.create(tmp_path / "s.mbc", small, device="cpu") as memory:
        memory.encode([Document("a", SENTENCES[0])])
        words = TelegramWords.of_adapter(small)
        with memory.store.snapshot() as snapshot:
            record = snapshot.record("a")
        pieces = [
            piece
            for codes, (start, end) in zip(record.codes[..., 0].tolist(), record.spans.tolist(), strict=True)
            for piece in words.pieces(codes, SENTENCES[0][start:end])
        ]
        (source,) = memory.search(["Mira Okafor"], top_k=1)[0]
    assert {kept for _, kept in pieces} == {True, False}
    first_span = record.spans.tolist()[0]
    first = words.pieces(record.codes[0, :, 0].tolist(), SENTENCES[0][slice(*first_span)])
    assert "".join(text for text, _ in first) == SENTENCES[0][slice(*first_span)]
    assert source.telegram is not None
    assert "[" in source.telegram


def test_without_the_text_a_telegram_is_its_words(small: Path, tmp_path: Path) -> None:
    with Memory.create(tmp_path / "s.mbc", small, keep_text=False, device="cpu") as memory:
        memory.encode([Document("a", "Mira Okafor")])
        (source,) = memory.search(["Mira"], top_k=1)[0]
    assert source.text is None
    assert source.telegram
    assert "[" not in source.telegram


def test_a_memory_without_texts_is_encoded_anew_from_its_telegrams(
    small: Path, select_adapter_directory: Path, tmp_path: Path
) -> None:
    """For an adapter of any kind: the words that were kept are the new documents."""
    with Memory.create(tmp_path / "old.mbc", small, keep_text=False, device="cpu") as memory:
        memory.encode(numbered_documents(4))
        words = TelegramWords.of_adapter(small)
        with memory.store.snapshot() as snapshot:
            kept = {
                record.id: " ".join(words.text(codes) for codes in record.codes[..., 0].tolist())
                for record in snapshot.iter_records()
            }
    done = Memory.reencode(tmp_path / "old.mbc", tmp_path / "new.mbc", select_adapter_directory, device="cpu")
    assert done.from_telegrams
    assert done.encoded.added == 4
    with MemoryStore.open(tmp_path / "new.mbc").snapshot() as snapshot:
        assert {document.id: document.text for document in snapshot.iter_documents()} == kept


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([("Mira", True), (" opened", False), (" it", True)], "Mira [opened] it"),
        ([("The ", False), ("museum", True), (".", False)], "[The] museum[.]"),
        ([("all", True)], "all"),
        ([], ""),
    ],
)
def test_lost_words_stand_in_brackets(pieces: list[tuple[str, bool]], shown: str) -> None:
    assert bracketed([Piece(*piece) for piece in pieces]) == shown
