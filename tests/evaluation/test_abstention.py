"""What evaluate and demo count of the questions that nothing in memory speaks to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mbc_cli.evaluation.protocol import Evaluation, evaluate
from mbc_cli.evaluation.report import as_json, predictions_as_json, table
from mbc_cli.memory import Memory
from tests.support.calibrated_memories import TEST_SEED, people, save_calibrated_adapter

DOCUMENTS, QUESTIONS = people(40, TEST_SEED)
KEPT = 30


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_calibrated_adapter(tmp_path_factory.mktemp("calibrated"))


@pytest.fixture(scope="module")
def evaluation(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    memory = Memory.create(tmp_path_factory.mktemp("bank") / "bank.mbc", adapter, device="cpu")
    return evaluate(memory, DOCUMENTS[:KEPT], QUESTIONS[:KEPT], bank_sizes=[1])


def test_false_abstentions_are_the_questions_that_query_would_not_have_read_the_memory_for(
    adapter: Path, evaluation: Evaluation, tmp_path: Path
) -> None:
    memory = Memory.create(tmp_path / "same.mbc", adapter, device="cpu")
    memory.encode(DOCUMENTS[:KEPT])
    answers = memory.answer([question.question for question in QUESTIONS[:KEPT]])
    abstention = evaluation.stages[-1].abstention
    assert abstention is not None
    missed = [not answer.from_memory for answer in answers]
    assert abstention.false_abstention_rate == pytest.approx(sum(missed) / KEPT)
    assert abstention.threshold == 0.5
    assert [p.confidence for p in evaluation.predictions] == pytest.approx([a.confidence for a in answers])


def test_false_answers_are_those_of_a_memory_that_never_saw_the_document(
    adapter: Path, evaluation: Evaluation, tmp_path: Path
) -> None:
    answered = 0
    for number in range(6):
        memory = Memory.create(tmp_path / f"{number}.mbc", adapter, device="cpu")
        memory.encode(DOCUMENTS[:number] + DOCUMENTS[number + 1 : KEPT])
        answered += memory.answer([QUESTIONS[number].question])[0].from_memory
    together = Memory.create(tmp_path / "all.mbc", adapter, device="cpu")
    stage = evaluate(together, DOCUMENTS[:KEPT], QUESTIONS[:6]).stages[-1]
    assert stage.abstention is not None
    assert stage.abstention.false_answer_rate == pytest.approx(answered / 6)
    whole = evaluation.stages[-1].abstention
    assert whole is not None
    assert whole.false_answer_rate <= 0.2


def test_a_memory_of_the_asked_document_alone_has_nothing_else_to_answer_from(evaluation: Evaluation) -> None:
    first = evaluation.stages[0]
    assert first.documents == first.questions == 1
    assert first.abstention is not None
    assert first.abstention.false_answer_rate == 0.0


def test_answers_under_the_threshold_count_as_wrong_beside_the_published_score(
    adapter: Path, tmp_path: Path
) -> None:
    rehearsal = Memory.create(tmp_path / "rehearsal.mbc", adapter, device="cpu")
    rehearsal.encode(DOCUMENTS[:KEPT])
    texts = [question.question for question in QUESTIONS[:KEPT]]
    said = rehearsal.answer(texts, threshold=0)
    accepting = [
        replace(question, answers=(answer.text,))
        for question, answer in zip(QUESTIONS[:KEPT], said, strict=True)
    ]
    memory = Memory.create(tmp_path / "bank.mbc", adapter, device="cpu")
    (stage,) = evaluate(memory, DOCUMENTS[:KEPT], accepting).stages
    assert stage.scores.exact_match == 1.0
    assert stage.abstention is not None
    assert stage.abstention.exact_match == pytest.approx(1 - stage.abstention.false_abstention_rate)


def test_the_report_names_both_rates(evaluation: Evaluation) -> None:
    stages = json.loads(json.dumps(as_json(evaluation)))["stages"]
    expected = {"threshold", "false_answer_rate", "false_abstention_rate", "exact_match"}
    assert all(stage["abstention"].keys() == expected for stage in stages)
    columns, rows = table(evaluation)
    rate = stages[1]["abstention"]["false_abstention_rate"]
    assert rows[1][columns.index("false abstentions %")] == f"{100 * rate:.1f}"
    assert {len(row) for row in rows} == {len(columns)}
    assert all(0 <= line["confidence"] <= 1 for line in predictions_as_json(evaluation))


def test_an_adapter_that_was_never_calibrated_has_no_such_rates(select_memory: Memory) -> None:
    (stage,) = evaluate(select_memory, DOCUMENTS[:4], QUESTIONS[:4]).stages
    assert stage.abstention is None
