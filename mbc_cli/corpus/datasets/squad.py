"""SQuAD (Rajpurkar et al., 2016, 2018) and everything in its file format, from a JSON file or from the hub.

The documents are the paragraphs. Questions that SQuAD 2 marks as unanswerable have no answers. Answers may be
SQuAD's ``[{"text": ...}]`` or the hub's ``{"text": [...]}``; numbers are read as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbc_cli.corpus.bad_input import BadInputs, BadRecord
from mbc_cli.corpus.datasets.description import DatasetDescription
from mbc_cli.corpus.datasets.json_file import read_json
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset
from mbc_cli.corpus.records import as_text, identifier_from, question_from, required_text
from mbc_cli.errors import InputError

MOST_BYTES = 128 * 2**20  # SQuAD 2 has 42 MB
DESCRIPTION = DatasetDescription(
    name="squad",
    what="Questions on paragraphs of Wikipedia; version 2 adds questions that the paragraph does not answer.",
    languages="English",
    splits={
        "validation": "version 1.1: 10,570 questions; version 2.0: 11,873",
        "train": "version 1.1: 87,599 questions; version 2.0: 130,319",
    },
    licence="CC BY-SA 4.0",
    citation="Rajpurkar et al. 2016, arXiv 1606.05250, and 2018, arXiv 1806.03822",
    source="https://rajpurkar.github.io/SQuAD-explorer/",
    files={
        "validation": ("dev-v2.0.json", "dev-v1.1.json", "dev*.json"),
        "train": ("train-v2.0.json", "train-v1.1.json", "train*.json"),
    },
    how_to_get="put dev-v1.1.json or dev-v2.0.json (and train-...) there",
    hub=("rajpurkar/squad", None),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """One question as the file has it, with its paragraph; only title and context are checked."""

    place: str
    title: str
    context: str
    fields: Mapping[str, Any]


def load(path: Path, bad: BadInputs, delimiter: str | None = None) -> QuestionDataset:
    """Load a JSON file in SQuAD's format."""
    return _made(_file_rows(path, bad), bad)


def load_rows(rows: Iterable[Mapping[str, Any]], bad: BadInputs) -> QuestionDataset:
    """Load rows as the hub has them: ``id``, ``title``, ``context``, ``question``, ``answers``."""
    return _made((_hub_row(number, row) for number, row in enumerate(rows, start=1)), bad)


def _made(rows: Iterable[_Row], bad: BadInputs) -> QuestionDataset:
    dataset = QuestionDataset("squad")
    numbers: dict[str, int] = {}
    for row in rows:
        known = len(dataset.documents)
        proposed = f"{row.title}#{numbers.get(row.title, 0) + 1}"
        document_id = dataset.add_document(row.context, proposed, title=row.title)
        if len(dataset.documents) > known:
            numbers[row.title] = numbers.get(row.title, 0) + 1
        try:
            if row.fields.get("is_impossible"):
                name = identifier_from({"id": row.fields.get("id", row.place)})
                dataset.add_question(name, required_text(row.fields, "question"), [], document_id)
                continue
            fields = {**row.fields, "answers": _answers(row.fields.get("answers"))}
            question = question_from(fields, default_id=row.place)
        except BadRecord as reason:
            bad.add(row.place, str(reason))
        else:
            dataset.add_question(question.id, question.question, list(question.answers), document_id)
    return dataset


def _hub_row(number: int, row: Mapping[str, Any]) -> _Row:
    name = row.get("id", number)
    return _Row(f"row {name}", str(row.get("title") or f"article {number}"), str(row["context"]), row)


def _answers(value: object) -> object:
    """SQuAD's list of answers as texts; those without text are left out where others have one."""
    if not isinstance(value, list):
        return value
    texts = [as_text(answer.get("text") if isinstance(answer, Mapping) else answer) for answer in value]
    return [text for text in texts if isinstance(text, str) and text.strip()]


def _file_rows(path: Path, bad: BadInputs) -> Iterator[_Row]:
    content = read_json(path, bad, MOST_BYTES)
    if not isinstance(content, Mapping) or not isinstance(content.get("data"), list):
        raise InputError(f"{path} is not in SQuAD's format: it has no list 'data'")
    for number, article in enumerate(content["data"], start=1):
        yield from _article_rows(article, f"{path} article {number}", number, bad)


def _article_rows(article: object, place: str, number: int, bad: BadInputs) -> Iterator[_Row]:
    paragraphs = article.get("paragraphs") if isinstance(article, Mapping) else None
    if not isinstance(article, Mapping) or not isinstance(paragraphs, list):
        bad.add(place, "not in SQuAD's format: it has no list 'paragraphs'")
        return
    title = _title(article.get("title"), number)
    for count, paragraph in enumerate(paragraphs, start=1):
        try:
            context = required_text(paragraph, "context")
            questions = paragraph.get("qas")
            if not isinstance(questions, list):
                raise BadRecord("not in SQuAD's format: it has no list 'qas'")
        except BadRecord as reason:
            bad.add(f"{place}, paragraph {count}", str(reason))
            continue
        for position, question in enumerate(questions, start=1):
            if isinstance(question, Mapping):
                name = as_text(question.get("id", position))
                yield _Row(f"{place}, question {name}", title, context, question)
            else:
                bad.add(f"{place}, paragraph {count}, question {position}", "it is not an object")


def _title(value: object, number: int) -> str:
    """The article's title, from which ids are made; its number where it has none that can be one."""
    try:
        return identifier_from({"id": value}).strip()
    except BadRecord:
        return f"article {number}"
