"""SQuAD (Rajpurkar et al., 2016) and everything in its file format, from a JSON file or from the hub.

The documents are the paragraphs. Questions that SQuAD 2 marks as unanswerable are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbc_cli.corpus.bad_input import BadInputs, BadRecord
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset
from mbc_cli.corpus.records import parse_json
from mbc_cli.corpus.streams import BrokenStream, decode, open_stream, read_all
from mbc_cli.errors import (
    InputError,
    MissingPackageError,
    UsageError,
    install_hint,
)

HUB_NAME = "rajpurkar/squad"
MOST_BYTES = 128 * 2**20  # SQuAD 2 has 42 MB


@dataclass(frozen=True, slots=True)
class _Row:
    """One question with its paragraph; ``answers`` is None where the format marks it unanswerable."""

    place: str
    title: str
    context: str
    identifier: str
    question: str
    answers: list[str] | None


def load(path: Path | None, split: str, bad: BadInputs) -> QuestionDataset:
    """Load a JSON file in SQuAD's format, or ``split`` of the hub's SQuAD 1.1 where ``path`` is None."""
    dataset = QuestionDataset("squad")
    numbers: dict[str, int] = {}
    for row in _hub_rows(split) if path is None else _file_rows(path, bad):
        if row.answers is None:
            continue
        known = len(dataset.documents)
        proposed = f"{row.title}#{numbers.get(row.title, 0) + 1}"
        document_id = dataset.add_document(row.context, proposed, title=row.title)
        if len(dataset.documents) > known:
            numbers[row.title] = numbers.get(row.title, 0) + 1
        if any(answer.strip() for answer in row.answers):
            dataset.add_question(row.identifier, row.question, row.answers, document_id)
        else:
            bad.add(row.place, "the question has no answers")
    return dataset


def _file_rows(path: Path, bad: BadInputs) -> Iterator[_Row]:
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "name a JSON file in SQuAD's format")
    try:
        with open_stream(str(path)) as stream:
            content = parse_json(decode(read_all(stream, MOST_BYTES)))
        articles = content["data"]
        if not isinstance(articles, list):
            raise TypeError
    except (BadRecord, BrokenStream) as reason:
        raise InputError(f"{path}: {reason}") from None
    except (KeyError, TypeError):
        raise InputError(f"{path} is not in SQuAD's format: it has no list 'data'") from None
    for number, article in enumerate(articles, start=1):
        place = f"{path} article {number}"
        try:
            yield from _article_rows(article, place, number)
        except (KeyError, TypeError, AttributeError) as failure:
            bad.add(place, f"not in SQuAD's format: {failure}")


def _article_rows(article: dict[str, Any], place: str, number: int) -> list[_Row]:
    title = str(article.get("title") or f"article {number}")
    return [
        _Row(
            place=f"{place}, question {question['id']}",
            title=title,
            context=paragraph["context"],
            identifier=str(question["id"]),
            question=question["question"],
            answers=None
            if question.get("is_impossible")
            else [answer["text"] for answer in question["answers"]],
        )
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def _hub_rows(split: str) -> Iterator[_Row]:
    try:
        import datasets
    except ImportError:
        raise MissingPackageError(
            "reading squad from the hub needs the package datasets",
            f"{install_hint('datasets')}, or name a JSON file in SQuAD's format",
        ) from None
    try:
        rows = datasets.load_dataset(HUB_NAME, split=split)
    except Exception as failure:  # the hub, the network and the package raise a dozen unrelated types
        reason = " ".join(str(failure).split())[:200]
        raise InputError(
            f"cannot get squad from the hub: {reason}", "name a JSON file in SQuAD's format"
        ) from None
    for row in rows:
        place = f"squad {split} {row['id']}"
        yield _Row(place, row["title"], row["context"], row["id"], row["question"], row["answers"]["text"])
