"""Questions made from plain text."""

from __future__ import annotations

import itertools

import pytest

from mbc_cli.corpus.documents import Document
from mbc_cli.corpus.made_questions import all_made_questions, gaps, made_questions

TEXT = (
    "Mira Okafor has opened the harbour museum in Lindholm on 14 March 2019. Visitors paid $3.5 million in "
    "the first year, said director Jonas Weil. The Harbour Society wants 312 new members because a storm "
    "damaged the roof."
)
DOCUMENT = Document("museum", TEXT)


def asked(text: str) -> dict[str, str]:
    """Every question about one sentence by its answer, continuations apart."""
    questions = made_questions(Document("one", text), per_document=50)
    return {q.answers[0]: q.question for q in questions if not q.question.startswith("Continue:")}


def test_every_answer_stands_in_the_text_as_it_is() -> None:
    questions = made_questions(DOCUMENT, per_document=50)
    assert len(questions) > 8
    for question in questions:
        assert question.answers[0] in TEXT
        assert question.document_ids == ("museum",)


@pytest.mark.parametrize(
    ("sentence", "answer", "question"),
    [
        ("Mira Okafor opened the museum in Lindholm.", "Mira Okafor", "Who opened the museum in Lindholm?"),
        (
            "The museum was opened in Lindholm by Mira Okafor.",
            "Lindholm",
            "Where was the museum opened by Mira Okafor?",
        ),
        ("The museum was closed on 14 March 2019.", "14 March 2019", "When was the museum closed?"),
        ("The old roof was sold by the Harbour Society.", "Harbour Society", None),
        (
            "The roof cost $3.5 million after the storm.",
            "$3.5 million",
            "The roof cost how much after the storm?",
        ),
        ("The society won 1,312 new members.", "1,312", "The society won how many new members?"),
        ("Guests came to the opening in 1987.", "1987", "Guests came to the opening in which year?"),
        (
            "They liked Okafor's museum by the harbour best.",
            "Okafor",
            "They liked whose museum by the harbour best?",
        ),
    ],
)
def test_a_gap_becomes_the_question_that_asks_for_it(
    sentence: str, answer: str, question: str | None
) -> None:
    found = asked(sentence)
    assert answer in found
    if question is not None:
        assert found[answer] == question


@pytest.mark.parametrize(
    ("sentence", "piece", "kind"),
    [
        ("The prize went to director Jonas Weil", "Jonas Weil", "person"),
        ("They met near Lindholm for lunch", "Lindholm", "place"),
        ("He works for the University of Tarn", "University of Tarn", "organisation"),
        ("They paid 45 percent of it", "45 percent", "number"),
        ("It began on a Tuesday in spring", "Tuesday", "date"),
        ("Two men stole a silver chalice from the chapel", "a silver chalice", "thing"),
    ],
)
def test_gaps_know_what_they_are(sentence: str, piece: str, kind: str) -> None:
    assert (piece, kind) in {(sentence[gap.start : gap.end], gap.kind) for gap in gaps(sentence)}


@pytest.mark.parametrize(
    "sentence", ["They arrived at 2:06:41 in all", "The O-240 engine ran", "a ratio of 8.5:1"]
)
def test_parts_of_a_figure_are_no_number(sentence: str) -> None:
    assert [gap for gap in gaps(sentence) if gap.kind == "number"] == []


def test_gaps_do_not_overlap() -> None:
    for sentence in TEXT.split(". "):
        found = gaps(sentence)
        assert all(one.end <= other.start for one, other in itertools.pairwise(found))


def test_a_continuation_goes_on_where_the_question_stops() -> None:
    (continued,) = [
        q
        for q in made_questions(
            Document("c", "The council of Tarn elected a new treasurer after a long vote.")
        )
        if q.question.startswith("Continue: ")
    ]
    begun = continued.question.removeprefix("Continue: ")
    assert (
        f"{begun} {continued.answers[0]}" in "The council of Tarn elected a new treasurer after a long vote."
    )


def test_the_same_seed_makes_the_same_questions_whatever_stands_beside() -> None:
    other = Document("other", "Sixteen trams left the depot in Rotterdam at noon because of the snow.")
    alone = made_questions(DOCUMENT, seed=3)
    assert all_made_questions([other, DOCUMENT], seed=3)[-len(alone) :] == alone
    assert made_questions(DOCUMENT, seed=4) != alone


def test_a_few_questions_are_of_several_kinds() -> None:
    few = made_questions(DOCUMENT, per_document=4)
    assert len(few) == 4
    assert len({q.question.split()[0] for q in few}) > 1


def test_texts_without_anything_to_ask_for_give_no_question() -> None:
    for text in ("", "ok", "...", "yes and no and so on"):
        assert made_questions(Document("empty", text)) == []


def test_fewer_than_one_question_is_refused() -> None:
    with pytest.raises(ValueError, match="per_document is 0"):
        made_questions(DOCUMENT, per_document=0)
