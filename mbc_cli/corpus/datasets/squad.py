"""SQuAD (Rajpurkar et al., 2016) and everything in its file format, from a JSON file or from the hub.

The documents are the paragraphs. Questions that SQuAD 2 marks as unanswerable are left out. Answers may be
SQuAD's ``[{"text": ...}]`` or the hub's ``{"text": [...]}``; numbers are read as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbc_cli.corpus.bad_input import BadInputs, BadRecord
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset
from mbc_cli.corpus.json_text import JsonParser
from mbc_cli.corpus.records import as_text, identifier_from, question_from, required_text
from mbc_cli.corpus.streams import BrokenStream, open_stream, read_all
from mbc_cli.encodings import decode_text
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
    """One question as the file has it, with its paragraph; only title and context are checked."""

    place: str
    title: str
    context: str
    fields: Mapping[str, Any]


def load(path: Path | None, split: str, bad: BadInputs) -> QuestionDataset:
    """Load a JSON file in SQuAD's format, or ``split`` of the hub's SQuAD 1.1 where ``path`` is None."""
    dataset = QuestionDataset("squad")
    numbers: dict[str, int] = {}
    for row in _hub_rows(split) if path is None else _file_rows(path, bad):
        if row.fields.get("is_impossible"):
            continue
        known = len(dataset.documents)
        proposed = f"{row.title}#{numbers.get(row.title, 0) + 1}"
        document_id = dataset.add_document(row.context, proposed, title=row.title)
        if len(dataset.documents) > known:
            numbers[row.title] = numbers.get(row.title, 0) + 1
        try:
            fields = {**row.fields, "answers": _answers(row.fields.get("answers"))}
            question = question_from(fields, default_id=row.place)
        except BadRecord as reason:
            bad.add(row.place, str(reason))
        else:
            dataset.add_question(question.id, question.question, list(question.answers), document_id)
    return dataset


def _answers(value: object) -> object:
    """SQuAD's list of answers as texts; those without text are left out where others have one."""
    if not isinstance(value, list):
        return value
    texts = [as_text(answer.get("text") if isinstance(answer, Mapping) else answer) for answer in value]
    return [text for text in texts if isinstance(text, str) and text.strip()]


def _file_rows(path: Path, bad: BadInputs) -> Iterator[_Row]:
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "name a JSON file in SQuAD's format")
    try:
        with open_stream(str(path)) as stream:
            text = decode_text(read_all(stream, MOST_BYTES))
        content = JsonParser(lambda what: bad.remark(str(path), what)).parse(text, None)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    except (BadRecord, BrokenStream) as reason:
        raise InputError(f"{path}: {reason}") from None
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
        yield _Row(f"squad {split} {row['id']}", row["title"], row["context"], row)
