"""A tokenizer without `transformers` gives what it gives with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mbc_cli.inference.adapters import resolve_adapter
from mbc_cli.model.llm.plain_tokenizer import PlainTokenizer
from mbc_cli.model.llm.pretrained import load_saved_tokenizer, load_tokenizer
from mbc_cli.model.tokenizers import Vocabulary
from tests.support.tiny_models import save_tokenizer

TEXTS = [
    "Mira Okafor opened the museum in Lindholm.",
    " Two  spaces , a comma\nand 1,234 guests: ¿Qué? 東京 🙂 <|im_end|> <eos> ",
    "",
]


@pytest.fixture(params=["default", "news", "causal", "t5"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The tokenizers of the bundled adapters, and those of tests."""
    if request.param in ("causal", "t5"):
        save_tokenizer(tmp_path, request.param)
        return tmp_path
    return resolve_adapter(request.param).directory / "tokenizers" / "language"


def test_ids_offsets_and_texts_are_equal(folder: Path) -> None:
    ours, theirs = load_saved_tokenizer(folder), load_tokenizer(str(folder))
    assert isinstance(ours, PlainTokenizer)
    assert ours.eos_token_id == theirs.eos_token_id
    assert ours.pad_token_id == theirs.pad_token_id
    assert ours.num_special_tokens_to_add(pair=False) == theirs.num_special_tokens_to_add(pair=False)
    assert Vocabulary.of(ours) == Vocabulary.of(theirs)
    for options in ({}, {"add_special_tokens": False}, {"truncation": True, "max_length": 5}, {}):
        mine, its = ours(TEXTS, **options), theirs(TEXTS, **options)
        assert mine["input_ids"] == its["input_ids"]
        for ids in mine["input_ids"]:
            for skipped in (True, False):
                assert ours.decode(ids, skip_special_tokens=skipped) == theirs.decode(
                    ids, skip_special_tokens=skipped
                )
    options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
    for text in TEXTS:
        assert ours(text, **options)["offset_mapping"] == theirs(text, **options)["offset_mapping"]


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer_class": "GPT2Tokenizer"},
        {"bos_token": "<not in the vocabulary>"},
        {"add_bos_token": True},
        {"clean_up_tokenization_spaces": True},
    ],
)
def test_what_transformers_would_change_is_left_to_it(tmp_path: Path, change: dict[str, object]) -> None:
    save_tokenizer(tmp_path, "causal")
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert not isinstance(load_saved_tokenizer(tmp_path), PlainTokenizer)
