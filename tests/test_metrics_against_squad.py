"""The metrics against what SQuAD's scripts do: equal on any text that is written in one normal form."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbc_cli.metrics import exact_match, normalize_answer, scorable, token_f1
from tests.support import squad_script

WORDS = st.sampled_from(
    [
        *("the", "The", "a", "an", "A.", "cat", "Cat's", "cat-sat", "1,000", "1000", "$5", "5", "U.S.", "US"),
        *("—", "…", "été", "Zürich", "Müller", "北京", "北 京", "القاهرة", "กรุงเทพ", "नई दिल्ली", "Ελλάδα"),
        *("a\u0301", "İstanbul"),
    ]
)
TEXTS = st.lists(WORDS, max_size=5).map(" ".join) | st.text(max_size=12)


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_scores_are_those_of_squads_scripts(prediction: str, answers: list[str]) -> None:
    composed = unicodedata.normalize("NFC", prediction)
    answers = [unicodedata.normalize("NFC", answer) for answer in answers]
    # Answers of which nothing is left do not count beside others here; the scripts count them.
    compared = [answer for answer in answers if normalize_answer(answer)] or answers
    assert exact_match(prediction, answers) == squad_script.exact(composed, compared)
    assert token_f1(prediction, answers) == pytest.approx(squad_script.f1(composed, compared))


@given(TEXTS, TEXTS)
def test_the_normal_form_of_unicode_makes_no_difference(prediction: str, answer: str) -> None:
    scores = {
        (exact_match(unicodedata.normalize(one, prediction), [unicodedata.normalize(other, answer)]),
         token_f1(unicodedata.normalize(one, prediction), [unicodedata.normalize(other, answer)]))
        for one in ("NFC", "NFD")
        for other in ("NFC", "NFD")
    }  # fmt: skip
    assert len(scores) == 1


@pytest.mark.parametrize(
    ("prediction", "answer", "exact", "f1"),
    [
        ("The Cat.", "cat", 1, 1),
        ("an apple a day", "apple day", 1, 1),
        ("theatre", "the atre", 0, 0),
        ("1,000", "1000", 1, 1),
        ("10.5", "105", 1, 1),  # as the scripts do: punctuation is taken out, not replaced
        ("twelve", "12", 0, 0),
        ("Zu\u0308rich", "Z\u00fcrich", 1, 1),
        ("北京市", "北京", 0, 0),  # without spaces a text is one word
        ("القاهرة الكبرى", "القاهرة", 0, 2 / 3),
        ("", "", 1, 1),
        ("", "cat", 0, 0),
        ("the", "a", 1, 1),  # nothing is left of either
    ],
)
def test_cases_by_hand(prediction: str, answer: str, exact: float, f1: float) -> None:
    assert exact_match(prediction, [answer]) == exact
    assert token_f1(prediction, [answer]) == pytest.approx(f1)
    assert scorable([answer]) == bool(normalize_answer(answer))
