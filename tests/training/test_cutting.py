"""One cutting rule: training, validation and calibration read documents in the passages that are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.memory import Memory
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.adapt import adapt
from tests.support.tiny_models import memory_config, select_config, telegram_config
from tests.support.training import tiny_training

AMORTIZERS: dict[str, Any] = {
    "t5": (memory_config, {}),
    "telegram": (telegram_config, {}),
    "backbone-tokens": (select_config, {}),
    "backbone-slots": (
        select_config,
        {"pooling": "slots", "amortization": {"trunk_layers": 2, "document_tokens": 21}},
    ),
}


def logs(name: str, count: int) -> tuple[list[Document], list[Question]]:
    """Documents of several passages, with a question about every word of theirs that is unique to them."""
    documents = [
        Document(f"{name}{n}", " ".join(f"Day {n}-{day}: {name}{n}x{day} rose." for day in range(9)))
        for n in range(count)
    ]
    questions = [
        Question(f"{name}{n}?{day}", f"What rose on day {n}-{day}?", (f"{name}{n}x{day}",), (f"{name}{n}",))
        for n in range(count)
        for day in range(9)
    ]
    return documents, questions


@pytest.mark.parametrize("amortizer", AMORTIZERS)
def test_training_and_encoding_cut_a_document_into_equal_passages(
    amortizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_config, changes = AMORTIZERS[amortizer]
    config: MemoryConfig = make_config(tmp_path / "models", **changes)
    learned, validated = logs("t", 2), logs("v", 4)
    read: set[str] = set()
    shortened: list[str] = []
    document_ids = Tokenizers.document_ids

    def watched(self: Tokenizers, texts: list[str]) -> list[np.ndarray]:
        rows = document_ids(self, texts)
        special = self.document_tokenizer.num_special_tokens_to_add(pair=False)
        for text, row in zip(texts, rows, strict=True):
            read.add(text)
            if len(row) - special < len(self.token_offsets(text)):
                shortened.append(text)
        return rows

    monkeypatch.setattr(Tokenizers, "document_ids", watched)
    torch.set_num_threads(1)
    training = tiny_training(max_steps=1, batch_size=30, validate_every=1, validation_questions=100)
    report = adapt(config, training, *learned, validated, tmp_path / "adapter", device="cpu")
    in_training = frozenset(read)
    read.clear()
    memory = Memory.create(tmp_path / "store.mbc", tmp_path / "adapter", device="cpu")
    memory.encode([*learned[0], *validated[0]])

    assert report.passages > 2 * len(learned[0])
    assert in_training == read
    assert shortened == []
