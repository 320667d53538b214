"""Invented news: documents, questions and answers about people, organisations and places that never existed.

The names are those of `names.py`. The sentences are templates with alternatives, drawn at random; the last
templates of every list are held out of training and only used to measure sentences never seen.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.news.names import (
    CLOSED_SIZES,
    NUMBERS,
    Names,
    Split,
    Vocabulary,
    invent_names,
    load_words,
    people_of,
)

Templates = Literal["seen", "held-out"]

HELD_OUT = 2  # the last templates of every list
CLOSED_TEST_EVENTS = 12_000  # of the 16,000 people that closed word classes give the test split
_ALTERNATIVES = re.compile(r"\[([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class NewsItem:
    """One invented document with every question it answers; the answer kinds name what is asked."""

    document: Document
    questions: tuple[Question, ...]
    answer_kinds: tuple[str, ...]


def possible_answers(split: Split = "test") -> dict[str, int]:
    """From how many values each kind of answer is drawn, evenly, with the closed vocabulary.

    In the test split a person does not come twice: of few people among many that makes little difference.
    """
    words = {kind: len(listed.split()) for kind, listed in load_words("templates.yaml")["closed"].items()}
    least, most = NUMBERS["closed"]
    return {
        "person": people_of(split),
        "organisation": CLOSED_SIZES["company"] * words["organisation_type"],
        "place": CLOSED_SIZES["place"],
        "role": words["role"],
        "number": most - least + 1,
        "date": 28 * words["month"],
    }


def generate_news(
    count: int,
    *,
    seed: int,
    split: Split = "test",
    templates: Templates = "seen",
    events: int = 1,
    vocabulary: Vocabulary = "open",
) -> Iterator[NewsItem]:
    """Yield ``count`` news items, the same ones for the same arguments.

    In the test split no person and no pair of organisation and place comes twice, so that every question
    has one answer. In the training split they may: there a question is asked about its own document.

    Args:
        count: how many documents.
        seed: of all random choices.
        split: which names may occur (see `names.py` for what the splits do not share).
        templates: ``seen`` uses the sentences and questions that training uses, ``held-out`` only others.
        events: how many unrelated events one document reports.
        vocabulary: ``open`` invents every name anew, ``closed`` draws names from lists of a few hundred.

    Raises:
        ValueError: if ``count`` or ``events`` is not positive, or there are not so many different names.
    """
    if count < 1 or events < 1:
        raise ValueError(f"count and events must be positive, got count={count} and events={events}")
    if split == "test" and vocabulary == "closed" and count * events > CLOSED_TEST_EVENTS:
        raise ValueError(
            f"count={count} with events={events} needs {count * events} different people, but the closed "
            f"test split has enough for {CLOSED_TEST_EVENTS}: ask for fewer, or for vocabulary='open'"
        )
    rng = random.Random(f"{seed}/{split}/{templates}/{vocabulary}")
    writer = _NewsWriter(rng, split, templates, vocabulary)
    for number in range(count):
        yield writer.write(f"{split}-{seed}-{number}", events)


class _NewsWriter:
    def __init__(
        self, rng: random.Random, split: Split, templates: Templates, vocabulary: Vocabulary
    ) -> None:
        self._rng = rng
        self._split: Split = split
        self._vocabulary: Vocabulary = vocabulary
        self._held_out = templates == "held-out"
        self._text = load_words("templates.yaml")
        self._closed = {kind: words.split() for kind, words in self._text["closed"].items()}
        self._used: set[str] = set()

    def write(self, identifier: str, events: int) -> NewsItem:
        parts = [self._event() for _ in range(events)]
        questions: list[Question] = []
        kinds: list[str] = []
        for _, asked in parts:
            for kind, question, answer in asked:
                name = f"{identifier}?{len(questions) + 1}"
                questions.append(Question(name, question, (answer,), (identifier,)))
                kinds.append(kind)
        return NewsItem(
            Document(identifier, " ".join(text for text, _ in parts)), tuple(questions), tuple(kinds)
        )

    def _event(self) -> tuple[str, list[tuple[str, str, str]]]:
        rng, closed = self._rng, self._closed
        event = self._text["events"][rng.choice(sorted(self._text["events"]))]
        names = self._names()
        facts = {
            "person": names.person,
            "surname": names.surname,
            "organisation": names.organisation,
            "place": names.place,
            "number": str(rng.randint(*NUMBERS[self._vocabulary])),
            "day": str(rng.randint(1, 28)),
            "month": rng.choice(closed["month"]),
            "role": rng.choice(closed["role"]),
            "award": rng.choice(closed["award"]),
            "unit": event["unit"],
        }
        lead = self._pick(event["lead"])
        asked = ["person", "organisation", "place"]
        rest: list[str] = []
        if "{role}" in lead:
            asked.append("role")
        if rng.random() < 0.8:
            rest.append(self._pick(event["number"]))
            asked.append("number")
        if rng.random() < 0.7:
            rest.append(self._pick(self._text["date"]))
            asked.append("date")
        rest += [self._pick(self._text["filler"]) for _ in range(rng.choice([0, 1, 1, 2]))]
        rng.shuffle(rest)
        sentences = [lead, *rest]
        if rng.random() < 0.15:
            rng.shuffle(sentences)  # the lead need not come first
        text = " ".join(_capitalised(sentence.format(**facts)) for sentence in sentences)
        facts["date"] = f"{facts['day']} {facts['month']}"
        return text, [(kind, self._question(kind, facts), facts[kind]) for kind in asked]

    def _names(self) -> Names:
        while True:
            names = invent_names(self._rng, self._split, self._vocabulary, self._closed["organisation_type"])
            if self._split == "train":
                return names
            if not names.keys & self._used:
                self._used |= names.keys
                return names

    def _question(self, kind: str, facts: dict[str, str]) -> str:
        keys = {"person": facts["person"], "organisation": "{organisation} in {place}".format(**facts)}
        if kind == "person":
            key = keys["organisation"]
        elif kind in ("organisation", "place"):
            key = keys["person"]
        else:
            key = self._rng.choice([keys["person"], keys["organisation"]])
        return _capitalised(self._pick(self._text["questions"][kind]).format(key=key, unit=facts["unit"]))

    def _pick(self, templates: list[str]) -> str:
        """One of the templates that may be used, with one of each of its alternatives, "[a|b]"."""
        allowed = templates[-HELD_OUT:] if self._held_out else templates[:-HELD_OUT]
        return _ALTERNATIVES.sub(
            lambda found: self._rng.choice(found[1].split("|")), self._rng.choice(allowed)
        )


def _capitalised(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
