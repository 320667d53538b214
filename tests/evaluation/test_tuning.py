"""Settings are chosen on documents and questions that are never reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from mbc_cli.corpus.documents import Question
from mbc_cli.errors import InputError
from mbc_cli.evaluation.online import Stream
from mbc_cli.evaluation.tuning import choose, part_for_tuning
from tests.support.planted_methods import Planted
from tests.support.tiny_memories import numbered_documents

DOCUMENTS = numbered_documents(20)
QUESTIONS = [Question(f"q{n}", f"Who came to No. {n}?", ("Mira",), (f"d{n}",)) for n in range(20)]
BETWEEN = Question("between", "Who?", ("Mira",), tuple(document.id for document in DOCUMENTS))


def test_no_document_and_no_question_is_in_both_parts() -> None:
    tuning, rest = part_for_tuning(DOCUMENTS, [*QUESTIONS, BETWEEN], 0.3, seed=5)
    assert len(tuning[0]) == len(tuning[1]) == 6
    assert len(rest[0]) == len(rest[1]) == 14
    assert {document.id for document in tuning[0] + rest[0]} == {document.id for document in DOCUMENTS}
    for documents, questions in (tuning, rest):
        assert {name for each in questions for name in each.document_ids} == {each.id for each in documents}
        assert [each.id for each in documents] == sorted(
            (each.id for each in documents), key=lambda i: int(i[1:])
        )


def test_the_seed_draws_the_part() -> None:
    first, again, other = (part_for_tuning(DOCUMENTS, QUESTIONS, 0.3, seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_questions_that_name_no_document_are_in_one_part_each() -> None:
    anywhere = [Question(f"a{n}", "Who?", ("Mira",)) for n in range(50)]
    tuning, rest = part_for_tuning(DOCUMENTS, [*QUESTIONS, *anywhere], 0.3, seed=5)
    ids = [
        {question.id for question in part[1]} & {question.id for question in anywhere}
        for part in (tuning, rest)
    ]
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]
    assert len(ids[0] | ids[1]) == 50


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_part_with_nothing_in_it_is_an_error(share: float) -> None:
    with pytest.raises(InputError, match="choose another share"):
        part_for_tuning(DOCUMENTS, QUESTIONS, share, seed=5)


def test_the_settings_that_answer_best_are_chosen_and_of_equals_the_first() -> None:
    right = {question.id: "Mira" for question in QUESTIONS}
    partly = dict.fromkeys(right, "Mira came")

    @contextmanager
    def make(settings: Mapping[str, object]) -> Iterator[Planted]:
        yield Planted(says={"wrong": {}, "partly": partly, "right": right}[str(settings["says"])])

    grid = [{"says": "wrong"}, {"says": "partly"}, {"says": "right"}, {"says": "right", "k": 2}]
    stream = Stream.of(DOCUMENTS, QUESTIONS)
    chosen, tried = choose(make, grid, stream, batch_size=4)
    assert chosen == {"says": "right"}
    assert [each["exact_match"] for each in tried] == [0, 0, 1, 1]
    chosen, _ = choose(make, grid[:2], stream, batch_size=4)  # equal in exact match, better in F1
    assert chosen == {"says": "partly"}
