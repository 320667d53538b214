"""Records, mappings of field names to values however they were stored, become documents and questions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mbc_cli.corpus.bad_input import BadRecord
from mbc_cli.corpus.documents import JSON, Document, Question
from mbc_cli.corpus.times import parse_timestamp
from mbc_cli.identifiers import id_problem

MAX_NESTING = 32
MAX_VALUES = 2**18  # of one record: a list of nothing takes three bytes of JSON, and sixty in Python
EXPORT_FIELDS = {"digest", "spans"}  # of the store, which finds them anew
_DIGEST = re.compile("[0-9a-f]{16}")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"')  # possessive: nothing is kept to go back to

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FieldNames:
    """What a corpus calls the parts of a document. All other fields become metadata."""

    id: str = "id"
    text: str = "text"
    title: str = "title"
    timestamp: str = "timestamp"


def parse_json(text: str, most_values: int | None = None) -> Any:
    """Return the value of one JSON text.

    Raises:
        BadRecord: it is malformed, or holds numbers that are not JSON (NaN), or is nested too deep, or has
            more than ``most_values`` values.
    """
    if most_values is not None and _has_more_values(text, most_values):
        raise BadRecord(f"it holds more than {most_values:,} values")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as failure:
        what = failure.msg.removesuffix(" at")
        raise BadRecord(f"malformed JSON: {what} at column {failure.colno}") from None
    except ValueError as failure:  # a number with thousands of digits
        raise BadRecord(f"malformed JSON: {failure}") from None
    except RecursionError:
        raise BadRecord("malformed JSON: nested too deep") from None


def document_from(record: object, names: FieldNames) -> Document:
    """Return the document a record describes.

    Raises:
        BadRecord: a field is missing, of the wrong type or empty, or holds text that is not Unicode.
    """
    record = _mapping(record)
    identifier = _identifier(record, names.id)
    text = _text(record, names.text)
    title = _optional_text(record, names.title)
    try:
        timestamp = parse_timestamp(record.get(names.timestamp))
    except ValueError as failure:
        raise BadRecord(f"field {names.timestamp!r} {failure}") from None
    metadata = _metadata(record, names)
    _require_unicode([identifier, text, title, metadata])
    return Document(identifier, text, title, timestamp, metadata)


def question_from(record: object, default_id: str) -> Question:
    """Return the question a record describes; ``default_id`` names it where the record does not.

    Raises:
        BadRecord: a field is missing, of the wrong type or empty, or holds text that is not Unicode.
    """
    record = _mapping(record)
    identifier = _identifier(record, "id") if record.get("id") is not None else default_id
    question = _text(record, "question").strip()
    answers = _texts(record, "answers")
    if not answers:
        raise BadRecord("field 'answers' is empty; accepted: a text or a list of texts")
    document_ids = _texts(record, "document_ids", optional=True)
    _require_unicode([identifier, question, answers, document_ids])
    return Question(identifier, question, answers, document_ids)


def _has_more_values(text: str, most: int) -> bool:
    """Whether JSON has more than ``most`` values; strings are left out only where it may have."""

    def separators(text: str) -> int:
        return sum(map(text.count, ",[{"))

    return separators(text) > most and separators(_STRING.sub("", text)) > most


def _no_constant(name: str) -> None:
    raise BadRecord(f"malformed JSON: {name} is not a JSON value")


def _mapping(record: object) -> Record:
    if not isinstance(record, Mapping):
        raise BadRecord(f"it is {_kind(record)}; accepted: an object with fields")
    return record


def _identifier(record: Record, name: str) -> str:
    value = _required(record, name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadRecord(f"field {name!r} is {_kind(value)}; accepted: text or an integer")
    if not value.strip():
        raise BadRecord(f"field {name!r} is empty")
    if problem := id_problem(value):
        raise BadRecord(f"field {name!r} cannot be an id: it {problem}")
    return value


def _text(record: Record, name: str) -> str:
    value = _required(record, name)
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise BadRecord(f"field {name!r}: invalid UTF-8") from None
    if not isinstance(value, str):
        raise BadRecord(f"field {name!r} is {_kind(value)}; accepted: text")
    if not value.strip():
        raise BadRecord(f"field {name!r} is empty")
    return value


def _optional_text(record: Record, name: str) -> str | None:
    value = record.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadRecord(f"field {name!r} is {_kind(value)}; accepted: text or null")
    return value


def _texts(record: Record, name: str, *, optional: bool = False) -> tuple[str, ...]:
    value = record.get(name) if optional else _required(record, name)
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) and item.strip() for item in values):
        raise BadRecord(f"field {name!r} is not usable; accepted: a text or a list of non-empty texts")
    return tuple(values)


def _required(record: Record, name: str) -> Any:
    value = record.get(name)
    if value is None:
        state = "null" if name in record else "missing"
        raise BadRecord(
            f"field {name!r} is {state}; the fields are {', '.join(map(repr, record)) or 'none'}"[:300]
        )
    return value


def _metadata(record: Record, names: FieldNames) -> dict[str, JSON]:
    taken = {names.id, names.text, names.title, names.timestamp, "metadata"}
    if _is_exported(record):
        taken |= EXPORT_FIELDS
    metadata = {str(name): _json_value(value, 1) for name, value in record.items() if name not in taken}
    nested = record.get("metadata")
    if nested is None or nested == "":
        return metadata
    if not isinstance(nested, Mapping):
        raise BadRecord(f"field 'metadata' is {_kind(nested)}; accepted: an object")
    return metadata | {str(name): _json_value(value, 1) for name, value in nested.items()}


def _is_exported(record: Record) -> bool:
    """Whether ``record`` is a line of documents.jsonl as ``mbc memory export`` writes it."""
    digest, spans = record.get("digest"), record.get("spans")
    return isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None and isinstance(spans, list)


def _json_value(value: Any, depth: int) -> JSON:
    """Return ``value`` as JSON holds it; dates and decimals of Parquet become text."""
    if depth > MAX_NESTING:
        raise BadRecord(f"metadata are nested more than {MAX_NESTING} deep")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return None
        return value
    if isinstance(value, Mapping):
        return {str(name): _json_value(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item, depth + 1) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _require_unicode(values: object) -> None:
    try:
        json.dumps(values, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise BadRecord("it holds half of a surrogate pair, which is not valid Unicode") from None


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", bytes: "bytes"}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {value}"[:60]
    return next(
        (name for kind, name in names.items() if isinstance(value, kind)),
        "null" if value is None else type(value).__name__,
    )


def question_text(record: object, name: str = "question") -> str:
    """Return the question of a record that is to be answered, so has no accepted answers; ``name`` holds it.

    Raises:
        BadRecord: the field is missing, of the wrong type or empty, or no valid Unicode.
    """
    question = _text(_mapping(record), name).strip()
    _require_unicode(question)
    return question
