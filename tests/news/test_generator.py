"""The generated news must not leak: what is asked of unseen names has to be unseen."""

import re
from collections import Counter

import pytest

from mbc_cli.news.generator import HELD_OUT, Templates, generate_news
from mbc_cli.news.names import Split, Vocabulary, load_words


def _names(split: Split) -> set[str]:
    """First and last names, places and companies that occur in answers, one by one."""
    names = set()
    for item in generate_news(1500, seed=5, split=split):
        answers = dict(zip(item.answer_kinds, (q.answers[0] for q in item.questions), strict=True))
        names.update(answers["person"].split())
        names.add(answers["place"])
        names.add(answers["organisation"].split()[0])
    return names


def test_no_name_occurs_in_both_splits() -> None:
    training, test = _names("train"), _names("test")
    assert len(test) > 1000
    assert not training & test


def test_the_same_arguments_give_the_same_news_and_another_seed_gives_other_news() -> None:
    first = list(generate_news(20, seed=3))
    assert first == list(generate_news(20, seed=3))
    assert [item.document.text for item in first] != [
        item.document.text for item in generate_news(20, seed=4)
    ]


def test_every_answer_stands_in_its_document_and_never_in_its_question() -> None:
    for item in generate_news(300, seed=6, templates="held-out"):
        for question in item.questions:
            assert question.answers[0] in item.document.text
            assert question.answers[0] not in question.question
            assert question.document_ids == (item.document.id,)


def _pattern(template: str) -> re.Pattern[str]:
    """What a template can become: any of its alternatives, anything in its placeholders."""
    pieces = re.split(r"(\[[^\]]*\]|\{\w+\})", template[0].upper() + template[1:])
    written = ""
    for piece in pieces:
        if piece.startswith("["):
            written += "(" + "|".join(re.escape(choice) for choice in piece[1:-1].split("|")) + ")"
        else:
            written += ".+" if piece.startswith("{") else re.escape(piece)
    return re.compile(written, re.IGNORECASE)


@pytest.mark.parametrize("kind", ["person", "organisation", "place", "number", "date", "role"])
def test_held_out_questions_come_from_held_out_templates_only(kind: str) -> None:
    templates = load_words("templates.yaml")["questions"][kind]
    held_out = [_pattern(template) for template in templates[-HELD_OUT:]]
    both: tuple[Templates, Templates] = ("seen", "held-out")
    for allowed in both:
        asked = [
            question.question
            for item in generate_news(300, seed=7, templates=allowed)
            for question, answer_kind in zip(item.questions, item.answer_kinds, strict=True)
            if answer_kind == kind
        ]
        matched = [any(pattern.fullmatch(question) for pattern in held_out) for question in asked]
        assert len(asked) > 30
        assert all(matched) if allowed == "held-out" else not any(matched)


def test_no_template_leaves_its_alternatives_or_placeholders_in_the_text() -> None:
    both: tuple[Templates, Templates] = ("seen", "held-out")
    for templates in both:
        for item in generate_news(1000, seed=9, templates=templates):
            texts = [item.document.text, *(question.question for question in item.questions)]
            assert not set("[]{}|") & set("".join(texts))


def test_closed_names_are_shared_but_no_person_and_no_organisation_in_a_place_is() -> None:
    def facts(split: Split) -> tuple[set[str], set[str], set[str]]:
        persons, where = set(), set()
        for item in generate_news(2000, seed=5, split=split, vocabulary="closed"):
            answers = dict(zip(item.answer_kinds, (q.answers[0] for q in item.questions), strict=True))
            persons.add(answers["person"])
            where.add(f"{answers['organisation']} in {answers['place']}")
        return persons, where, {word for person in persons for word in person.split()}

    training, test = facts("train"), facts("test")
    assert len(test[0]) > 1000
    assert not training[0] & test[0]
    assert not training[1] & test[1]
    assert len(test[2] & training[2]) > 0.9 * len(test[2])


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", ["open", "closed"])
def test_every_question_of_a_test_bank_has_one_answer(vocabulary: Vocabulary) -> None:
    asked: dict[tuple[str, str], str] = {}
    people, places = Counter[str](), Counter[str]()
    for item in generate_news(3000, seed=5, events=2, vocabulary=vocabulary):
        for kind, question in zip(item.answer_kinds, item.questions, strict=True):
            answer = question.answers[0]
            assert asked.setdefault((kind, question.question), answer) == answer
            people[answer] += kind == "person"
            places[answer] += kind == "place"
    assert set(people.values()) <= {0, 1}
    assert max(places.values()) > 1  # a place alone may come again


def test_more_events_than_the_closed_test_split_has_people_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"12001 different people.*enough for 12000"):
        next(generate_news(12_001, seed=0, vocabulary="closed"))
    assert next(generate_news(12_001, seed=0, split="train", vocabulary="closed")).questions


def test_a_document_of_two_events_asks_about_both() -> None:
    item = next(generate_news(1, seed=8, events=2))
    assert item.answer_kinds.count("person") == 2


@pytest.mark.parametrize(("count", "events"), [(0, 1), (3, 0)])
def test_counts_that_are_not_positive_are_refused(count: int, events: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        next(generate_news(count, seed=0, events=events))
