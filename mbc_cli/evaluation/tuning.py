"""Methods' own settings, chosen on questions that are never reported.

The stream is parted by documents: those drawn for tuning, and the questions about them, are seen by the
choice alone. A method without settings to choose among keeps its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import InputError
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.method import Method
from mbc_cli.evaluation.online import Stream, online

CHOSEN_BY = ("exact_match", "f1")
"""The measures that settings are chosen by: the later one among those equal in the earlier."""

Part = tuple[list[Document], list[Question]]


def part_for_tuning(
    documents: Sequence[Document], questions: Sequence[Question], share: float, seed: int
) -> tuple[Part, Part]:
    """Draw a ``share`` of the documents, in [0, 1): what is for tuning, and what is left to report.

    Questions that name no documents are drawn likewise; those that name documents of both parts are in
    neither.

    Raises:
        InputError: one part has no documents or no questions.
    """
    generator = random.Random(seed)
    drawn = set(generator.sample(range(len(documents)), round(share * len(documents))))
    names = {documents[index].id for index in drawn}
    tuning: list[Question] = []
    reported: list[Question] = []
    for question in questions:
        about = set(question.document_ids)
        if names >= about if about else generator.random() < share:
            tuning.append(question)
        elif names.isdisjoint(about):
            reported.append(question)
    parts: list[Part] = [([], tuning), ([], reported)]
    for index, document in enumerate(documents):
        parts[index not in drawn][0].append(document)
    for part, name in zip(parts, ("to tune on", "to report"), strict=True):
        if not part[0] or not part[1]:
            raise InputError(
                f"a share of {share:g} leaves {len(part[0])} documents and {len(part[1])} questions {name}",
                "choose another share, or tune on another split",
            )
    return parts[0], parts[1]


def choose(
    make: Callable[[Mapping[str, object]], AbstractContextManager[Method]],
    grid: Sequence[Mapping[str, object]],
    stream: Stream,
    *,
    batch_size: int,
) -> tuple[Mapping[str, object], list[dict[str, Any]]]:
    """The settings of ``grid`` that answer ``stream`` best, of equals the first; and what each reached."""
    tried: list[dict[str, Any]] = []
    for settings in grid:
        with make(settings) as method:
            (stage,) = online(method, stream, batch_size=batch_size)
        reached = {name: MEASURES[name].value(stage.predictions) or 0.0 for name in CHOSEN_BY}
        tried.append({"settings": dict(settings), **reached})
    best = max(tried, key=lambda each: tuple(each[name] for name in CHOSEN_BY))
    return best["settings"], tried
