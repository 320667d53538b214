"""What evaluate counts of the questions that nothing in memory speaks to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.methods.memory import MemoryMethod
from mbc_cli.evaluation.online import Stage, Stream, online
from mbc_cli.memory import Memory
from tests.support.calibrated_memories import TEST_SEED, people, save_calibrated_adapter

DOCUMENTS, QUESTIONS = people(40, TEST_SEED)
KEPT = 30


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_calibrated_adapter(tmp_path_factory.mktemp("calibrated"))


@pytest.fixture(scope="module")
def stages(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Stage]:
    memory = Memory.create(tmp_path_factory.mktemp("bank") / "bank.mbc", adapter, device="cpu")
    return list(online(MemoryMethod(memory), Stream.of(DOCUMENTS[:KEPT], QUESTIONS[:KEPT], [1])))


def measured(stage: Stage, name: str) -> float | None:
    return MEASURES[name].value(stage.predictions)


def test_false_abstentions_are_the_questions_that_query_would_not_have_read_the_memory_for(
    adapter: Path, stages: list[Stage], tmp_path: Path
) -> None:
    memory = Memory.create(tmp_path / "same.mbc", adapter, device="cpu")
    memory.encode(DOCUMENTS[:KEPT])
    answers = memory.answer([question.question for question in QUESTIONS[:KEPT]])
    missed = [not answer.from_memory for answer in answers]
    assert measured(stages[-1], "false_abstentions") == pytest.approx(sum(missed) / KEPT)
    assert [each.abstained for each in stages[-1].predictions] == missed
    confidences = [each.reply.confidence for each in stages[-1].predictions]
    assert confidences == pytest.approx([answer.confidence for answer in answers])


def test_false_answers_are_those_of_a_memory_that_never_saw_the_document(
    adapter: Path, stages: list[Stage], tmp_path: Path
) -> None:
    answered = 0
    for number in range(6):
        memory = Memory.create(tmp_path / f"{number}.mbc", adapter, device="cpu")
        memory.encode(DOCUMENTS[:number] + DOCUMENTS[number + 1 : KEPT])
        answered += memory.answer([QUESTIONS[number].question])[0].from_memory
    together = Memory.create(tmp_path / "all.mbc", adapter, device="cpu")
    (stage,) = online(MemoryMethod(together), Stream.of(DOCUMENTS[:KEPT], QUESTIONS[:6]))
    assert measured(stage, "false_answers") == pytest.approx(answered / 6)
    assert (measured(stages[-1], "false_answers") or 0) <= 0.2


def test_a_question_without_an_answer_that_is_answered_is_a_false_answer_too(
    adapter: Path, tmp_path: Path
) -> None:
    memory = Memory.create(tmp_path / "bank.mbc", adapter, device="cpu")
    unanswerable = [replace(each, answers=(), document_ids=()) for each in QUESTIONS[KEPT:]]
    (stage,) = online(MemoryMethod(memory), Stream.of(DOCUMENTS[:KEPT], [QUESTIONS[0], *unanswerable]))
    first, *others = stage.predictions
    wrongly = [not each.abstained for each in others] + [not first.abstained_elsewhere]
    assert measured(stage, "false_answers") == pytest.approx(sum(wrongly) / len(wrongly))
    assert measured(stage, "abstention_recall") == pytest.approx(1 - sum(wrongly) / len(wrongly))


def test_a_memory_of_the_asked_document_alone_has_nothing_else_to_answer_from(stages: list[Stage]) -> None:
    assert stages[0].documents == len(stages[0].predictions) == 1
    assert measured(stages[0], "false_answers") == 0.0


def test_in_use_what_is_under_the_threshold_counts_as_wrong(adapter: Path, tmp_path: Path) -> None:
    rehearsal = Memory.create(tmp_path / "rehearsal.mbc", adapter, device="cpu")
    rehearsal.encode(DOCUMENTS[:KEPT])
    said = rehearsal.answer([question.question for question in QUESTIONS[:KEPT]], threshold=0)
    accepting = [
        replace(question, answers=(answer.text,))
        for question, answer in zip(QUESTIONS[:KEPT], said, strict=True)
    ]
    memory = Memory.create(tmp_path / "bank.mbc", adapter, device="cpu")
    (stage,) = online(MemoryMethod(memory), Stream.of(DOCUMENTS[:KEPT], accepting))
    assert measured(stage, "exact_match") == 1.0
    abstained = measured(stage, "false_abstentions")
    assert abstained is not None
    assert measured(stage, "exact_match_in_use") == pytest.approx(1 - abstained)


def test_an_adapter_that_was_never_calibrated_has_no_such_rates(select_memory: Memory) -> None:
    (stage,) = online(MemoryMethod(select_memory), Stream.of(DOCUMENTS[:4], QUESTIONS[:4]))
    assert measured(stage, "false_answers") is None
    assert measured(stage, "exact_match_in_use") is None
