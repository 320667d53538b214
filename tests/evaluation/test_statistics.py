"""Intervals and tests of differences, against scipy and against what must hold."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from mbc_cli.corpus.documents import Question
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.method import Reply
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.evaluation.statistics import area_under, difference, estimate, holm
from mbc_cli.metrics import Scores

EXACT, FOUND = MEASURES["exact_match"], MEASURES["right_if_selected"]


def predictions(
    scores: Sequence[float], documents: Sequence[str] | None = None, found: Sequence[bool] | None = None
) -> list[Prediction]:
    """A prediction for each score; each about a document of its own unless ``documents`` tells."""
    made = []
    for number, score in enumerate(scores):
        document = str(number) if documents is None else documents[number]
        read = document if found is None or found[number] else "another"
        made.append(
            Prediction(
                Question(f"q{number}", "?", ("a",), (document,)),
                Reply("", sources=(read,), ranked=(read,)),
                Scores(score, score, score),
            )
        )
    return made


def test_an_interval_is_that_of_scipys_bootstrap() -> None:
    scores = np.random.default_rng(3).beta(0.6, 0.4, size=157)
    ours = estimate(EXACT, predictions(list(scores)), seed=1)
    theirs = stats.bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.value == pytest.approx(scores.mean())
    assert ours.count == 157
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=width / 20)
    assert ours.high == pytest.approx(theirs.high, abs=width / 20)


def test_a_ratio_has_the_interval_of_scipys_bootstrap_over_both_its_sums() -> None:
    generator = np.random.default_rng(4)
    right, found = generator.random(180) < 0.7, generator.random(180) < 0.6
    ours = estimate(FOUND, predictions([float(each) for each in right], found=list(found)), seed=1)

    def ratio(right: np.ndarray, found: np.ndarray, axis: int = -1) -> np.ndarray:
        return (right & found).sum(axis) / found.sum(axis)

    theirs = stats.bootstrap(
        (right, found), ratio, paired=True, vectorized=True, n_resamples=20_000, method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert ours.value == pytest.approx((right & found).sum() / found.sum())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    held = 0
    for trial in range(300):
        found = estimate(EXACT, predictions([float(each) for each in generator.random(90) < 0.4]), seed=trial)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.4 <= found.high
    assert 0.9 <= held / 300 <= 0.98


def test_questions_about_one_document_are_drawn_together() -> None:
    generator = np.random.default_rng(6)
    documents = [f"d{number}" for number in range(40) for _ in range(6)]
    scores = [float(each) for each in generator.random(40) < 0.5 for _ in range(6)]  # right or wrong as one
    alone = estimate(EXACT, predictions(scores), seed=1)
    together = estimate(EXACT, predictions(scores, documents), seed=1)
    assert together.value == alone.value
    widths = [each.high - each.low for each in (together, alone)]  # type: ignore[operator]
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(6), rel=0.15)


def test_the_seed_alone_decides_what_is_drawn() -> None:
    made = predictions([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0] * 9)
    assert estimate(EXACT, made, seed=1) == estimate(EXACT, made, seed=1)
    other = predictions([0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0] * 9)
    assert difference(EXACT, made, other, seed=1) == difference(EXACT, made, other, seed=1)


def test_a_difference_has_the_p_value_of_scipys_paired_permutation() -> None:
    generator = np.random.default_rng(7)
    first = (generator.random(120) < 0.45).astype(float)
    second = np.where(generator.random(120) < 0.3, (generator.random(120) < 0.7).astype(float), first)
    ours = difference(EXACT, predictions(list(first)), predictions(list(second)), seed=1)
    theirs = stats.permutation_test(
        (first, second), lambda a, b, axis=-1: b.mean(axis) - a.mean(axis), permutation_type="samples",
        vectorized=True, n_resamples=20_000, rng=np.random.default_rng(2),
    )  # fmt: skip
    assert ours is not None
    assert ours.difference == pytest.approx(second.mean() - first.mean())
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.01)
    assert ours.low < ours.difference < ours.high


def test_methods_that_do_not_differ_are_called_different_as_often_as_p_says() -> None:
    generator = np.random.default_rng(8)
    p_values = []
    for trial in range(200):
        one, other = ((generator.random(40) < 0.5).astype(float) for _ in range(2))
        found = difference(EXACT, predictions(list(one)), predictions(list(other)), seed=trial)
        assert found is not None
        p_values.append(found.p)
    assert 0.01 <= np.mean([p < 0.05 for p in p_values]) <= 0.1
    assert 0.35 <= np.median(p_values) <= 0.75


def test_equal_methods_differ_by_nothing_for_certain() -> None:
    made = predictions([1.0, 0.0, 1.0, 1.0])
    found = difference(EXACT, made, made, seed=1)
    assert found is not None
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_the_direction_of_a_difference_is_from_the_first_to_the_second() -> None:
    worse, better = predictions([0.0] * 30), predictions([1.0] * 30)
    found = difference(EXACT, worse, better, seed=1)
    assert found is not None
    assert found.difference == 1
    assert found.p < 0.001


def test_what_nothing_counts_for_has_no_interval_and_no_difference() -> None:
    unscored = [Prediction(Question("q", "?", ()), Reply(""), None)]
    assert estimate(EXACT, unscored, seed=1).value is None
    assert estimate(EXACT, [], seed=1).low is None
    assert difference(EXACT, unscored, unscored, seed=1) is None


def test_one_question_has_an_interval_of_no_width() -> None:
    found = estimate(EXACT, predictions([1.0]), seed=1)
    assert (found.value, found.low, found.high, found.count) == (1, 1, 1, 1)


def test_many_documents_take_little_memory() -> None:
    made = predictions([1.0, 0.0] * 3_000)
    tracemalloc.start()
    estimate(EXACT, made, seed=1)
    difference(EXACT, made, made, seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # all draws at once would take 480 MB


@pytest.mark.parametrize(
    ("given", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # by hand
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.2], [0.2]),
        ([], []),
    ],
)
def test_many_tests_are_corrected_as_holm_says(given: list[float], corrected: list[float]) -> None:
    assert holm(given) == pytest.approx(corrected)


def test_the_area_is_the_mean_height() -> None:
    assert area_under([0, 1, 3], [2, 4, 0]) == pytest.approx((3 * 1 + 2 * 2) / 3)
    x, y = np.sort(np.random.default_rng(1).random(20)), np.random.default_rng(2).random(20)
    assert area_under(list(x), list(y)) == pytest.approx(np.trapezoid(y, x) / (x[-1] - x[0]))
    for wrong in ([1.0], [2.0, 1.0], [1.0, 1.0]):
        with pytest.raises(ValueError, match="ascending"):
            area_under(wrong, [0.0] * len(wrong))
