"""Invented names, from letter statistics, in two splits that share none of what a test asks for.

``open``: every name is new. A name belongs to exactly one split by its checksum: no first name, last name,
place or company of the test split can occur in the training split.

``closed``: first names, last names, companies and places come from fixed lists of a few hundred. Every
word occurs in both splits, but no person (first and last name) and no pair of organisation and place does.
"""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Split = Literal["train", "test"]
Vocabulary = Literal["open", "closed"]

CLOSED_SIZES = {"given": 256, "surname": 512, "company": 256, "place": 300}
NUMBERS = {"open": (10, 999), "closed": (10, 409)}

_TEST_SHARE = 8  # one invented name in eight belongs to the test split
_CONTEXT = 2  # letters that decide the next one
_END = "\n"


@dataclass(frozen=True, slots=True)
class Names:
    """Who, which organisation and where, for one event."""

    given: str
    surname: str
    company: str
    organisation_type: str
    place: str

    @property
    def person(self) -> str:
        return f"{self.given} {self.surname}"

    @property
    def organisation(self) -> str:
        return f"{self.company} {self.organisation_type}"

    @property
    def keys(self) -> set[str]:
        """What questions name an event by: the person, and the organisation with its place."""
        return {self.person, f"{self.organisation} in {self.place}"}


def invent_names(
    rng: random.Random, split: Split, vocabulary: Vocabulary, organisation_types: list[str]
) -> Names:
    """Names of one event that belong to ``split``."""
    if vocabulary == "open":
        given, surname, place, company = (
            _of_split(rng, kind, split) for kind in ("given", "surname", "place", "company")
        )
        return Names(given, surname, company, rng.choice(organisation_types), place)
    while True:
        names = Names(
            rng.choice(_closed("given")),
            rng.choice(_closed("surname")),
            rng.choice(_closed("company")),
            rng.choice(organisation_types),
            rng.choice(_closed("place")),
        )
        if all(_split_of(key) == split for key in names.keys):
            return names


@cache
def people_of(split: Split) -> int:
    """How many people, by first and last name, the closed lists give a split."""
    return sum(
        _split_of(f"{given} {surname}") == split
        for given in _closed("given")
        for surname in _closed("surname")
    )


def load_words(name: str) -> dict[str, Any]:
    """One of the YAML files of words beside this module."""
    import yaml

    return dict(yaml.safe_load(files(__package__).joinpath(name).read_text(encoding="utf-8")))


def _split_of(name: str) -> Split:
    return "test" if zlib.crc32(name.encode()) % _TEST_SHARE == 0 else "train"


def _of_split(rng: random.Random, kind: str, split: Split) -> str:
    while True:
        name = _invent(rng, kind)
        if _split_of(name) == split:
            return name


@cache
def _closed(kind: str) -> list[str]:
    rng = random.Random(f"closed {kind}")
    names: dict[str, None] = {}
    while len(names) < CLOSED_SIZES[kind]:
        names[_invent(rng, kind)] = None
    return list(names)


def _invent(rng: random.Random, kind: str) -> str:
    """A new name of four to eleven letters from the letter statistics of its kind."""
    following, seeds = _letters(kind)
    while True:
        name = ""
        context = _END * _CONTEXT
        while len(name) < 12:
            letter = rng.choice(following[context])
            if letter == _END:
                break
            name += letter
            context = context[1:] + letter
        name = name.capitalize()
        if 4 <= len(name) <= 11 and name not in seeds:
            return name


@cache
def _letters(kind: str) -> tuple[dict[str, list[str]], frozenset[str]]:
    seeds = load_words("names.yaml")[kind].split()
    following: dict[str, list[str]] = defaultdict(list)
    for name in seeds:
        context = _END * _CONTEXT
        for letter in name.lower() + _END:
            following[context].append(letter)
            context = context[1:] + letter
    return dict(following), frozenset(seeds)
