"""The default adapter: it answers from text that people write, with the real LLM, and says what it lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mbc_cli import Document, Memory
from mbc_cli.errors import AdapterError
from mbc_cli.inference.adapters import BUNDLED_ADAPTERS, resolve_adapter, resolve_recorded
from mbc_cli.metrics import score_answer
from mbc_cli.model.adapter import read_description
from mbc_cli.model.adapter_verification import verify_adapter

PARAGRAPHS = Path(__file__).parent / "data" / "paragraphs"
ELSEWHERE = [
    "Who won the chess tournament in Reykjavik?",
    "How many passengers were on the airship to Lisbon?",
    "Which company makes the vaccine against river fever?",
    "When did the parliament of Andorra ban leaf blowers?",
    "Where was the meteorite of Halvard found?",
]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def paragraphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    """The forty paragraphs, remembered by the default adapter."""
    with Memory.create(tmp_path_factory.mktemp("real") / "paragraphs.store", device="cpu") as memory:
        memory.encode(
            [
                Document(row["id"], row["text"], title=row["title"])
                for row in rows(PARAGRAPHS / "documents.jsonl")
            ]
        )
        yield memory


@pytest.mark.slow
def test_it_answers_questions_about_real_style_paragraphs_and_finds_the_right_one(paragraphs: Memory) -> None:
    asked = rows(PARAGRAPHS / "questions.jsonl")
    answers = paragraphs.answer([row["question"] for row in asked])
    right = [
        not answer.abstained and score_answer(answer.text, row["answers"]).exact_match == 1
        for row, answer in zip(asked, answers, strict=True)
    ]
    found = [
        bool(answer.sources) and answer.sources[0].document_id == row["document_ids"][0]
        for row, answer in zip(asked, answers, strict=True)
    ]
    sure_and_wrong = [
        answer.confidence is not None and answer.confidence > 0.8 and not good
        for answer, good in zip(answers, right, strict=True)
    ]
    assert sum(found) >= 0.9 * len(asked)
    assert sum(right) >= 0.5 * len(asked)
    assert sum(sure_and_wrong) <= 0.1 * len(asked)


@pytest.mark.slow
def test_what_is_asked_about_something_else_is_answered_by_nobody(paragraphs: Memory) -> None:
    answers = paragraphs.answer(ELSEWHERE)
    assert sum(answer.abstained and not answer.text for answer in answers) >= len(ELSEWHERE) - 1


@pytest.mark.slow
def test_the_codes_are_words_of_the_passages_and_take_a_hundredth_of_vectors(paragraphs: Memory) -> None:
    info = paragraphs.info()
    assert info.float32_bytes is not None
    assert info.code_bytes * 100 < info.float32_bytes
    asked = rows(PARAGRAPHS / "questions.jsonl")[:3]
    for answer in paragraphs.answer([row["question"] for row in asked]):
        (source, *_) = answer.sources
        assert source.telegram is not None
        assert source.text is not None
        assert "[" in source.telegram  # something was lost
        without_brackets = source.telegram.replace("[", "").replace("]", "")
        assert without_brackets.split() == source.text.split()


def test_it_is_small_sound_and_tied_to_the_tokenizer_of_a_known_llm() -> None:
    directory = resolve_adapter().directory
    assert sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) < 25e6
    assert verify_adapter(directory).sound
    description = read_description(directory)
    assert description["model"].base_model == "smollm2-135m-instruct"
    assert description["calibration"].answers is not None
    assert not description["calibration"].fallback


@pytest.mark.parametrize("name", BUNDLED_ADAPTERS)
def test_a_store_finds_the_bundled_adapter_that_made_it_whatever_the_default_is_today(name: str) -> None:
    location = resolve_adapter(name)
    fingerprint = read_description(location.directory)["fingerprint"]
    assert resolve_recorded("default", fingerprint, "old.store") == location
    assert resolve_recorded(None, fingerprint, "old.store") == location


def test_a_bundled_name_goes_before_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "news").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_adapter("news").name == "news"
    with pytest.raises(AdapterError, match=r"config\.yaml"):
        resolve_adapter("./news")
