"""The online-adaptation protocol on a real store, with figures that can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mbc_cli.corpus.documents import Question
from mbc_cli.errors import MbcError
from mbc_cli.evaluation.bank_bytes import bank_bytes
from mbc_cli.evaluation.protocol import evaluate
from mbc_cli.evaluation.report import as_json, predictions_as_json, table
from mbc_cli.evaluation.vector_memory import VectorMemory
from mbc_cli.memory import Memory
from mbc_cli.model.config import MemoryConfig
from tests.support.tiny_memories import numbered_documents, save_adapter_directory
from tests.support.tiny_models import memory_config, select_config

DOCUMENTS = numbered_documents(10)


def ask(number: int, answer: str) -> Question:
    return Question(f"q{number}", f"Who opened museum {number}?", (answer,), (f"d{number}",))


def test_scores_are_those_of_the_memorys_own_answers(memory: Memory, tmp_path: Path) -> None:
    # Accept what this memory answers once it holds everything, for two questions of four.
    rehearsal = Memory.create(tmp_path / "rehearsal.mbc", memory.adapter_name, device="cpu")
    rehearsal.encode(DOCUMENTS)
    said = [answer.text for answer in rehearsal.answer([ask(number, "").question for number in range(4)])]
    assert all(text.split() for text in said)
    questions = [ask(number, said[number] if number < 2 else "something else") for number in range(4)]

    evaluation = evaluate(memory, DOCUMENTS, questions)

    (stage,) = evaluation.stages
    assert (stage.documents, stage.questions) == (10, 4)
    assert stage.scores.exact_match == 0.5
    assert stage.retention == stage.scores
    assert [prediction.answer for prediction in evaluation.predictions] == said


def test_a_question_is_asked_once_its_documents_are_in_the_bank(memory: Memory) -> None:
    questions = [ask(number, "Mira") for number in (0, 1, 5, 8)]
    questions.append(Question("both", "Who?", ("Mira",), ("d1", "d5")))
    questions.append(Question("anywhere", "Who?", ("Mira",)))

    evaluation = evaluate(memory, DOCUMENTS, questions, bank_sizes=[6, 3, 50])

    assert [(stage.documents, stage.questions) for stage in evaluation.stages] == [(3, 3), (6, 5), (10, 6)]
    assert memory.store.snapshot().document_count == 10


def test_retention_scores_the_first_stages_questions_at_every_size(memory: Memory, tmp_path: Path) -> None:
    first = Memory.create(tmp_path / "first.mbc", memory.adapter_name, device="cpu")
    first.encode(DOCUMENTS[:2])
    said = first.answer([ask(0, "").question])[0].text
    questions = [ask(0, said), ask(7, "something else")]

    small, whole = evaluate(memory, DOCUMENTS, questions, bank_sizes=[2]).stages

    assert small.retention.exact_match == small.scores.exact_match == 1.0
    (kept,) = memory.answer([questions[0].question])
    assert whole.retention.exact_match == float(kept.text == said)
    assert whole.scores.exact_match == whole.retention.exact_match / 2


def test_the_no_memory_baseline_is_the_untouched_llm(memory: Memory) -> None:
    untouched = memory.answer_without_memory([ask(number, "").question for number in range(2)])
    questions = [ask(0, untouched[0].text), ask(1, "something else")]

    evaluation = evaluate(memory, DOCUMENTS, questions, bank_sizes=[1], baselines=["none"])

    assert [stage.baselines["none"].exact_match for stage in evaluation.stages] == [1.0, 0.5]


def test_evaluating_twice_gives_the_same_figures(memory: Memory, tmp_path: Path) -> None:
    questions = [ask(number, "Mira") for number in range(4)]
    second = Memory.create(tmp_path / "second.mbc", memory.adapter_name, device="cpu")
    figures = [evaluate(each, DOCUMENTS, questions, bank_sizes=[4]) for each in (memory, second)]
    assert figures[0].predictions == figures[1].predictions
    assert [stage.scores for stage in figures[0].stages] == [stage.scores for stage in figures[1].stages]


def test_bytes_per_document_count_what_they_say(memory: Memory) -> None:
    memory.encode(DOCUMENTS)
    measured = bank_bytes(memory)
    per_document = memory.store.snapshot().passage_count / 10
    assert measured.packed == per_document * 5 * 4 / 8  # T=5 codes of 4 bits (K=16)
    assert measured.float32 == per_document * 5 * 48 * 4  # T=5 vectors of the LLM's width, 48
    assert 0 < measured.entropy <= measured.packed
    assert measured.stored > measured.stored_codes > 0


def test_the_report_is_json_and_a_table_of_the_same_stages(memory: Memory) -> None:
    questions = [ask(number, "Mira") for number in range(4)]
    evaluation = evaluate(memory, DOCUMENTS, questions, bank_sizes=[4], baselines=["none"])

    document = json.loads(json.dumps(as_json(evaluation)))
    columns, rows = table(evaluation)

    assert [stage["documents"] for stage in document["stages"]] == [4, 10]
    assert document["stages"][1]["baselines"]["none"].keys() == {"exact_match", "prefix_exact_match", "f1"}
    assert document["stages"][0]["recall"] is None
    assert [row[0] for row in rows] == ["4", "10"]
    assert {len(row) for row in rows} == {len(columns)}
    assert "no memory EM %" in columns
    assert [line["id"] for line in predictions_as_json(evaluation)] == ["q0", "q1", "q2", "q3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baselines": ["nune"]}, "unknown baseline"),
        ({"bank_sizes": [0]}, "at least 1"),
        ({"bank_sizes": [1]}, "no question asks about the first 1 documents"),
    ],
)
def test_a_protocol_that_cannot_be_followed_is_refused_before_anything_is_encoded(
    memory: Memory, options: dict[str, list[str | int]], message: str
) -> None:
    with pytest.raises(MbcError, match=message):
        evaluate(memory, DOCUMENTS, [ask(3, "Mira")], **options)
    assert memory.store.snapshot().document_count == 0


def test_bank_sizes_are_refused_where_the_store_holds_other_documents(memory: Memory) -> None:
    memory.encode(DOCUMENTS[5:])
    questions = [ask(0, "Mira")]
    with pytest.raises(MbcError, match="holds 5 other documents"):
        evaluate(memory, DOCUMENTS[:3], questions, bank_sizes=[2])
    assert evaluate(memory, DOCUMENTS[:3], questions).stages[0].documents == 8


def test_no_documents_is_an_error(memory: Memory) -> None:
    with pytest.raises(MbcError, match="no documents"):
        evaluate(memory, [], [ask(0, "Mira")])


def test_unquantised_vectors_are_a_baseline_that_sees_the_same_stream(select_memory: Memory) -> None:
    questions = [ask(number, "Mira") for number in (0, 1, 7)]
    vectors = VectorMemory(select_memory.model, select_memory.tokenizers, adapter_name="same")
    vectors.encode(DOCUMENTS[:4])
    vectors.encode(DOCUMENTS[4:])
    said = [answer.text for answer in vectors.answer([question.question for question in questions])]
    accepting = [replace(question, answers=(text,)) for question, text in zip(questions, said, strict=True)]

    stages = evaluate(select_memory, DOCUMENTS, accepting, bank_sizes=[4], baselines=["vectors"]).stages

    assert stages[-1].baselines["vectors"].exact_match == 1.0
    assert stages[-1].baselines["vectors"] != stages[-1].scores


def test_recall_is_the_share_of_questions_whose_document_is_among_the_best_passages(
    select_memory: Memory, tmp_path: Path
) -> None:
    rehearsal = Memory.create(tmp_path / "rehearsal.mbc", select_memory.adapter_name, device="cpu")
    rehearsal.encode(DOCUMENTS)
    texts = [ask(number, "").question for number in range(3)]
    found = [[source.document_id for source in sources] for sources in rehearsal.search(texts, top_k=50)]
    gold = (found[0][0], found[1][3], next(name for name in found[2] if name not in found[2][:5]))
    questions = [
        Question(f"q{number}", text, ("Mira",), (name,))
        for number, (text, name) in enumerate(zip(texts, gold, strict=True))
    ]
    assert gold[1] not in found[1][:1]

    (stage,) = evaluate(select_memory, DOCUMENTS, questions).stages

    assert stage.recall == {1: pytest.approx(1 / 3), 5: pytest.approx(2 / 3)}


@pytest.mark.parametrize("make_config", [memory_config, select_config])
def test_an_adapter_without_quantiser_is_evaluated_from_vectors_in_memory(
    tmp_path: Path, make_config: Callable[..., MemoryConfig]
) -> None:
    directory = save_adapter_directory(tmp_path, make_config=make_config, quantizer={"kind": "none"})
    memory = VectorMemory.load(directory, device="cpu")
    assert VectorMemory.is_needed(directory)
    questions = [ask(number, "Mira") for number in range(3)]

    evaluation = evaluate(memory, DOCUMENTS, questions, bank_sizes=[3], baselines=["none"])

    assert [stage.documents for stage in evaluation.stages] == [3, 10]
    slots = memory.model.config.context_vectors
    vector = slots * 48 * 4  # float32, of the LLM's width
    assert evaluation.stages[1].bytes.float32 == memory.passage_count / 10 * vector
    assert evaluation.stages[1].bytes.packed is None
    assert "-" in table(evaluation)[1][0]
