"""Scores against examples worked out by hand."""

from __future__ import annotations

import pytest

from mbc_cli.metrics import (
    exact_match,
    mean_scores,
    normalize_answer,
    prefix_exact_match,
    scorable,
    score_answer,
    token_f1,
)


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The  Snow-Man!", "snowman"),
        ("an apple, a day", "apple day"),
        ("theatre and banana", "theatre and banana"),  # articles only as whole words
        ("  Ångström\t42. ", "ångström 42"),
        ("the", ""),
    ],
)
def test_normalisation_is_that_of_squad(text: str, normalized: str) -> None:
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "prefix"),
    [
        ("the sun", ["sun"], 1.0, 1.0),
        ("the sun set", ["sun"], 0.0, 1.0),  # the published match ignores what follows
        ("sunset", ["sun"], 0.0, 1.0),  # even inside a word
        ("su", ["sun"], 0.0, 0.0),
        ("move along the ice", ["slide along on the ice", "move along the ice"], 1.0, 1.0),
        ("slide along on the ice", ["slide along on the ice", "move"], 1.0, 0.0),  # only the shortest counts
        ("", ["sun"], 0.0, 0.0),
        ("apple", ["A"], 0.0, 0.0),  # nothing is left of the answer: no beginning of everything
        ("", ["$"], 1.0, 1.0),  # as in SQuAD: nothing equals nothing
        ("B", ["A", "grade B"], 0.0, 0.0),  # the shortest of the others counts
        ("", ["A", "grade B"], 0.0, 0.0),
    ],
)
def test_exact_match_is_strict_and_the_published_one_is_a_prefix_of_the_shortest_answer(
    prediction: str, answers: list[str], exact: float, prefix: float
) -> None:
    assert exact_match(prediction, answers) == exact
    assert prefix_exact_match(prediction, answers) == prefix


@pytest.mark.parametrize(
    ("prediction", "answers", "f1"),
    [
        ("the red fox", ["a red fox"], 1.0),
        ("red fox jumps", ["red fox"], 0.8),  # precision 2/3, recall 1
        ("fox fox", ["fox"], 2 / 3),  # a repeated word counts once: precision 1/2, recall 1
        ("wolf", ["fox", "grey wolf"], 2 / 3),  # the best over the accepted answers
        ("wolf", ["fox"], 0.0),
        ("", ["fox"], 0.0),
        ("", ["the"], 1.0),  # as in SQuAD: nothing equals nothing
    ],
)
def test_f1_counts_words_in_common(prediction: str, answers: list[str], f1: float) -> None:
    assert token_f1(prediction, answers) == pytest.approx(f1)


def test_means_are_taken_per_score() -> None:
    mean = mean_scores(
        [
            score_answer("red fox", ["red fox"]),
            score_answer("red fox jumps", ["red fox"]),
            score_answer("", ["x"]),
        ]
    )
    assert mean.exact_match == pytest.approx(1 / 3)
    assert mean.prefix_exact_match == pytest.approx(2 / 3)
    assert mean.f1 == pytest.approx(1.8 / 3)


def test_a_question_without_accepted_answers_and_an_empty_run_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        score_answer("fox", [])
    with pytest.raises(ValueError, match="at least one question"):
        mean_scores([])


def test_a_question_is_scorable_if_something_is_left_of_an_answer() -> None:
    assert not scorable(["A", "The", "$", "..."])
    assert scorable(["A", "12"])
