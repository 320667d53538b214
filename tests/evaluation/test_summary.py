"""From stages to figures: a perfect method reaches 100, a useless one 0, and two runs are compared."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mbc_cli.corpus.documents import Question
from mbc_cli.errors import InputError
from mbc_cli.evaluation.compare import compare
from mbc_cli.evaluation.online import Stream, online
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.evaluation.results import PREDICTIONS, RESULTS, Results, write_predictions, write_results
from mbc_cli.evaluation.summary import paired_as_json, reliability, stage_as_json, table, write_summary
from tests.support.planted_methods import Planted
from tests.support.tiny_memories import numbered_documents

DOCUMENTS = numbered_documents(12)
QUESTIONS = [Question(f"q{n}", f"Who opened museum {n}?", ("Mira Holm",), (f"d{n}",)) for n in range(12)]
NOWHERE = Question("nowhere", "Who never came?", ())
RIGHT = {question.id: "Mira Holm" for question in QUESTIONS}
FOUND = {question.id: question.document_ids for question in [*QUESTIONS, NOWHERE]} | {"nowhere": ("d0",)}
SURE = dict.fromkeys(RIGHT, 0.9) | {"nowhere": 0.1}
PERFECT = Planted(
    says=RIGHT, ranked=FOUND, relevance=SURE, elsewhere=dict.fromkeys(RIGHT, 0.1), threshold=0.5
)
USELESS = Planted(
    says=dict.fromkeys(RIGHT, "Tove"),
    ranked=dict.fromkeys(FOUND, ("elsewhere",)),
    relevance=dict.fromkeys(RIGHT, 0.1) | {"nowhere": 0.9},
    elsewhere=dict.fromkeys(RIGHT, 0.9),
    threshold=0.5,
)
HIGHER = [
    *("exact_match", "prefix_exact_match", "f1", "exact_match_in_use"),
    *("recall_at_1", "recall_at_5", "recall_at_10", "mrr", "abstention_precision", "abstention_recall"),
]


def predicted(method: Planted, questions: list[Question] = QUESTIONS) -> tuple[Prediction, ...]:
    (stage,) = online(replace(method, met=[]), Stream.of(DOCUMENTS, [*questions, NOWHERE]))
    return stage.predictions


def results(**methods: Planted) -> Results:
    found = Results({"adapter": "planted"}, {"digest": "one"}, {})
    for name, method in methods.items():
        stages = [
            stage_as_json(stage, seed=0)
            for stage in online(replace(method, met=[]), Stream.of(DOCUMENTS, [*QUESTIONS, NOWHERE], [5]))
        ]
        found.methods[name] = {"label": name, "what": "", "options": {}, "stages": stages}
    return found


@pytest.mark.parametrize(("method", "value"), [(PERFECT, 1.0), (USELESS, 0.0)])
def test_a_perfect_method_reaches_100_and_a_useless_one_0(method: Planted, value: float) -> None:
    stage = results(planted=method).methods["planted"]["stages"][-1]
    for name in HIGHER:
        measured = stage["measures"][name]
        assert (measured["value"], measured["low"], measured["high"]) == (value, value, value), name
    for name in ("false_answers", "false_abstentions"):
        assert stage["measures"][name]["value"] == 1 - value, name
    assert stage["outcomes"]["right"] == 12 * value
    assert stage["outcomes"]["not found"] == 12 * (1 - value)


def test_the_table_says_so_in_percent_and_has_a_row_for_each_method_and_size() -> None:
    columns, rows = table(results(perfect=PERFECT, useless=USELESS))
    cells = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [(each["method"], each["documents"]) for each in cells] == [
        ("perfect", "5"), ("perfect", "12"), ("useless", "5"), ("useless", "12"),
    ]  # fmt: skip
    assert [each["EM %"] for each in cells] == ["100.0", "100.0", "0.0", "0.0"]
    assert cells[1]["95 %"] == "100-100"
    assert cells[1]["total bytes"] == "87"  # 7 for each of 12 documents and 3 beside
    assert cells[1]["bytes/document"] == "7.0"


def test_columns_that_no_method_fills_are_left_out_and_single_gaps_are_dashes() -> None:
    plain = Planted(says=RIGHT)
    assert "recall@1 %" not in table(results(plain=plain))[0]
    columns, rows = table(results(plain=plain, perfect=PERFECT))
    assert rows[0][columns.index("recall@1 %")] == "-"


def test_the_csv_has_every_measure_with_its_interval(tmp_path: Path) -> None:
    write_summary(tmp_path, results(perfect=PERFECT, plain=Planted(says=RIGHT)))
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert (rows[1]["method"], rows[1]["f1"], rows[1]["f1_low"], rows[1]["mrr_high"]) == (
        "perfect", "1.0", "1.0", "1.0",
    )  # fmt: skip
    assert rows[3]["mrr"] == ""


def test_each_method_is_compared_with_the_memory_and_p_is_corrected_for_their_number() -> None:
    final = {
        "none": predicted(USELESS),
        "memory": predicted(PERFECT),
        "text": predicted(PERFECT),
    }
    rows = paired_as_json(final, seed=0)
    assert {(each["first"], each["second"], each["measure"]) for each in rows} == {
        ("memory", name, measure) for name in ("none", "text") for measure in ("exact_match", "f1")
    }
    by = {(each["second"], each["measure"]): each for each in rows}
    assert by["none", "exact_match"]["difference"] == -1
    assert by["none", "exact_match"]["p_corrected"] == pytest.approx(2 * by["none", "exact_match"]["p"])
    assert by["text", "f1"]["p"] == 1
    assert paired_as_json({"memory": final["memory"]}, seed=0) == []


def test_confidence_is_compared_with_what_was_right_of_the_answers_given() -> None:
    made = [
        replace(each, reply=replace(each.reply, confidence=confidence), abstained=abstained)
        for each, confidence, abstained in zip(
            predicted(PERFECT)[:4], (0.95, 1.0, 0.31, 0.35), (False, False, False, True), strict=True
        )
    ]
    assert reliability(made) == [
        {"confidence": 0.31, "exact_match": 1.0, "count": 1},
        {"confidence": pytest.approx(0.975), "exact_match": 1.0, "count": 2},
    ]


# Comparing.


def folder(path: Path, data: str = "one", **methods: tuple[Prediction, ...]) -> Path:
    path.mkdir()
    write_results(path, Results({"adapter": path.name}, {"digest": data}, {}))
    write_predictions(path, {(name, 12): part for name, part in methods.items()})
    return path


def test_two_runs_are_compared_on_the_questions_they_share(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", memory=predicted(USELESS), none=predicted(USELESS))
    second = folder(tmp_path / "b", data="two", memory=predicted(PERFECT, QUESTIONS[2:]))
    found = compare(first, second)
    assert {each.method for each in found.changes} == {"memory"}
    by = {each.measure: each for each in found.changes}
    assert (by["exact_match"].first, by["exact_match"].second, by["exact_match"].difference) == (0, 1, 1)
    assert by["exact_match"].questions == 11
    assert by["exact_match"].p < 0.05
    assert found.left_out == 2
    assert found.differs == ("data digest: 'one' and 'two'", "run adapter: 'a' and 'b'")
    assert json.loads(json.dumps(found.as_json()))["left_out"] == 2


def test_what_cannot_be_compared_is_one_clear_error(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", memory=predicted(PERFECT))
    other = folder(tmp_path / "other", bm25=predicted(PERFECT))
    with pytest.raises(InputError, match="no method in common: memory and bm25"):
        compare(one, other)
    asked = [replace(question, id=f"other {question.id}") for question in QUESTIONS]
    strange = Planted(says={question.id: "Mira Holm" for question in asked})
    apart = tuple(each for each in predicted(strange, asked) if each.question.id != "nowhere")
    with pytest.raises(InputError, match="no question in common"):
        compare(one, folder(tmp_path / "apart", memory=apart))
    with pytest.raises(InputError, match=r"there is no results\.json"):
        compare(one, tmp_path)
    (one / PREDICTIONS).write_text("{")
    with pytest.raises(InputError, match=r"predictions\.jsonl cannot be read"):
        compare(one, one)
    for content, message in (
        ("{", "cannot be read"),
        ('{"format": 9}', "format 9"),
        ('{"format": 1}', "lacks"),
    ):
        (one / RESULTS).write_text(content)
        with pytest.raises(InputError, match=message):
            compare(one, one)
