"""Texts to ids and back, with the prompts and labels that training and answering share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mbc_cli.errors import MbcError
from mbc_cli.model.llm.pretrained import load_tokenizer
from mbc_cli.model.tokenizers import Tokenizers
from tests.support.tiny_models import SENTENCES, memory_config, save_language_model, save_t5

QUESTIONS = ["Who opened the museum?", "Where?"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Tokenizers:
    return Tokenizers.from_pretrained(memory_config(tmp_path_factory.mktemp("tokenizers"), answer_tokens=20))


def test_prompts_are_padded_on_the_left_and_answers_on_the_right(tokenizers: Tokenizers) -> None:
    prompts = tokenizers.encode_prompts(QUESTIONS)
    answers = tokenizers.encode_answers(QUESTIONS, ["Mira", "Lindholm, on 14 March"])
    assert prompts.attention_mask[:, -1].all()
    assert not prompts.attention_mask[1, 0]
    assert answers.attention_mask[:, 0].all()
    assert not answers.attention_mask.all()


def test_training_reads_the_very_prompt_that_generation_starts_from(tokenizers: Tokenizers) -> None:
    prompts = tokenizers.encode_prompts(QUESTIONS)
    answers = tokenizers.encode_answers(QUESTIONS, ["Mira", "Lindholm"])
    for row in range(2):
        prompt = prompts.input_ids[row][prompts.attention_mask[row] == 1]
        assert torch.equal(answers.input_ids[row, : len(prompt)], prompt)
        assert (answers.labels[row, : len(prompt)] == -100).all()
        assert answers.labels[row, len(prompt)] != -100


def test_labels_spell_the_answer_and_its_end(tokenizers: Tokenizers) -> None:
    answers = tokenizers.encode_answers(QUESTIONS, [" Mira Okafor ", "Lindholm"])
    for row, text in enumerate(["Mira Okafor", "Lindholm"]):
        labels = answers.labels[row][answers.labels[row] != -100]
        assert labels[-1] in tokenizers.stop_tokens
        assert tokenizers.decode_answers(labels[None]) == [text]


def test_decoding_ends_at_the_first_stop_token(tokenizers: Tokenizers) -> None:
    labels = tokenizers.encode_answers(["?"], ["Tarn"]).labels
    answer = labels[labels != -100]
    assert tokenizers.decode_answers(torch.cat([answer, answer])[None]) == ["Tarn"]


def test_documents_are_cut_to_the_window_and_padded_to_the_longest(tokenizers: Tokenizers) -> None:
    batch = tokenizers.encode_documents(["Tarn", " ".join(SENTENCES)])
    assert batch.input_ids.shape == (2, 24)
    short = tokenizers.encode_documents(["Tarn"])
    assert short.attention_mask.all()
    assert torch.equal(short.input_ids[0], batch.input_ids[0][batch.attention_mask[0] == 1])


def test_token_offsets_cover_the_text_in_order(tokenizers: Tokenizers) -> None:
    text = SENTENCES[0] + " Ünïcode ✓"
    offsets = tokenizers.token_offsets(text)
    assert offsets[0][0] == 0
    assert offsets[-1][1] == len(text)
    assert offsets == sorted(offsets)


def test_the_prompt_format_is_the_configurations(tmp_path: Path) -> None:
    tokenizers = Tokenizers.from_pretrained(memory_config(tmp_path, prompt="Q {question} {braces} A"))
    ids = tokenizers.encode_prompts(["who {x}?"]).input_ids
    assert tokenizers.language_tokenizer.decode(ids[0]) == "Q who {x}? {braces} A"


def test_training_cuts_questions_and_answers_of_any_length(tokenizers: Tokenizers) -> None:
    batch = tokenizers.encode_answers(["who " * 500], ["because " * 500])
    overhead = tokenizers.encode_prompts([""]).input_ids.shape[1]
    assert batch.input_ids.shape[1] <= overhead + 18 + 20
    assert (batch.labels != -100).sum() == 20


def test_it_is_read_back_from_disk_as_it_was(tokenizers: Tokenizers, tmp_path: Path) -> None:
    tokenizers.save(tmp_path)
    again = Tokenizers.load(tokenizers.config, tmp_path)
    for encode in ("encode_documents", "encode_questions", "encode_prompts"):
        before, after = getattr(tokenizers, encode)(SENTENCES), getattr(again, encode)(SENTENCES)
        assert torch.equal(before.input_ids, after.input_ids)
        assert torch.equal(before.attention_mask, after.attention_mask)


@pytest.mark.parametrize("save", [save_language_model, save_t5], ids=["gpt2", "t5"])
def test_a_model_without_its_tokenizers_files_is_refused_not_read_as_empty_text(
    save: Callable[[Path], Path], tmp_path: Path
) -> None:
    save(tmp_path / "model")
    for file in (tmp_path / "model").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(MbcError, match="no tokenizer could be loaded from"):
        load_tokenizer(str(tmp_path / "model"))


def test_a_missing_tokenizer_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(MbcError) as raised:
        load_tokenizer(str(tmp_path))
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)
