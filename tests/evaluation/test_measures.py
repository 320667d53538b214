"""Measures as ratios of sums, worked out by hand."""

from __future__ import annotations

import json

import pytest

from mbc_cli.corpus.documents import Question
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.method import Reply
from mbc_cli.evaluation.predictions import Prediction


def predicted(
    answer: str,
    *,
    accepted: tuple[str, ...] = ("Mira Holm",),
    about: tuple[str, ...] = ("a",),
    threshold: float | None = 0.5,
    **reply: object,
) -> Prediction:
    return Prediction.of(
        Question("q", "Who came?", accepted, about),
        Reply(answer, **reply),  # type: ignore[arg-type]
        threshold,
    )


SOME = [
    predicted("Mira Holm", sources=("a",), ranked=("a", "b"), relevance=0.9, relevance_elsewhere=0.1),
    predicted("Mira", sources=("b",), ranked=("b", "c", "a"), relevance=0.6, relevance_elsewhere=0.6),
    predicted("Tove", sources=("a",), ranked=("a",), relevance=0.2, relevance_elsewhere=0.2),
    predicted("Tove", sources=("b",), ranked=("b",), relevance=0.9, relevance_elsewhere=0.9),
    predicted("Tove", accepted=(), about=(), sources=("b",), ranked=("b",), relevance=0.3),
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exact_match", 1 / 4),
        ("prefix_exact_match", 1 / 4),
        ("f1", (1 + 2 / 3) / 4),
        ("exact_match_in_use", 1 / 4),
        ("recall_at_1", 2 / 4),
        ("recall_at_5", 3 / 4),
        ("recall_at_10", 3 / 4),
        ("mrr", (1 + 1 / 3 + 1 + 0) / 4),
        ("right_if_selected", 1 / 2),
        # Abstained: the third (wrongly) and the fifth; with the answer away the first and the third.
        ("abstention_precision", 3 / 4),
        ("abstention_recall", 3 / 5),
        ("false_answers", 2 / 5),
        ("false_abstentions", 1 / 4),
    ],
)
def test_a_measure_is_what_its_name_says(name: str, value: float) -> None:
    assert MEASURES[name].value(SOME) == pytest.approx(value)


def test_every_measure_is_tested_here_and_tells_what_it_is() -> None:
    assert len(MEASURES) == 13
    assert all(name == measure.name and measure.what for name, measure in MEASURES.items())


def test_a_measure_that_no_prediction_counts_for_has_no_value() -> None:
    unselecting = [predicted("Mira Holm", threshold=None)]
    assert MEASURES["exact_match"].value(unselecting) == 1
    for name in ("recall_at_1", "mrr", "right_if_selected", "false_answers", "abstention_precision"):
        assert MEASURES[name].value(unselecting) is None


def test_a_wrong_answer_is_lost_in_finding_keeping_or_reading() -> None:
    outcomes = [
        predicted("Mira Holm", sources=("b",)).outcome,
        predicted("Tove", sources=("b",)).outcome,
        predicted("Tove", sources=("a",), holds_answer=False).outcome,
        predicted("Tove", sources=("a",), holds_answer=True).outcome,
        predicted("Tove", sources=("a",)).outcome,
        predicted("Tove", about=()).outcome,
        predicted("Tove", accepted=()).outcome,
    ]
    assert outcomes == ["right", "not found", "not kept", "misread", "misread", None, None]


def test_a_prediction_written_and_read_is_the_same() -> None:
    for prediction in SOME:
        assert Prediction.from_json(json.loads(json.dumps(prediction.as_json()))) == prediction
