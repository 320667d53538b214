"""Records, mappings of field names to values however they were stored, become documents and questions."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from mbc_cli.corpus.bad_input import BadRecord
from mbc_cli.corpus.documents import JSON, Document, Question
from mbc_cli.corpus.json_text import NO_NUMBER, Remark
from mbc_cli.corpus.times import parse_timestamp
from mbc_cli.identifiers import id_problem

MAX_NESTING = 32
EXPORT_FIELDS = {"digest", "spans"}  # of the store, which finds them anew
_DIGEST = re.compile("[0-9a-f]{16}")

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FieldNames:
    """What a corpus calls the parts of a document. All other fields become metadata."""

    id: str = "id"
    text: str = "text"
    title: str = "title"
    timestamp: str = "timestamp"


@dataclass(frozen=True, slots=True)
class PlainText:
    """Text without fields: a line, or with ``name`` a whole file."""

    text: str
    name: str | None = None

    def as_record(self) -> Record:
        """Its document's fields; the id of a line is a digest of it."""
        if self.name is not None:
            return {"id": self.name, "text": self.text}
        text = self.text.strip()
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).hexdigest()
        return {"id": f"line-{digest}", "text": text}


@dataclass(frozen=True, slots=True)
class UsualFields:
    """A record whose fields have the usual names, whatever the corpus calls its own."""

    fields: Record


def document_from(
    record: object,
    names: FieldNames,
    remark: Remark = lambda what: None,
    on_bad_time: Callable[[str], object] | None = None,
) -> Document:
    """Return the document a record describes.

    Args:
        names: what the record calls the fields of a document.
        remark: gets what is read otherwise than it stands.
        on_bad_time: gets the reason where a time cannot be read, and the document is kept without one.

    Raises:
        BadRecord: a field is missing, of the wrong type or empty, or holds text that is not Unicode.
    """
    if isinstance(record, PlainText):
        record, names = record.as_record(), FieldNames()
    elif isinstance(record, UsualFields):
        record, names = record.fields, FieldNames()
    record = _mapping(record)
    identifier = _identifier(record, names.id)
    text = _text(record, names.text)
    title = _optional_text(record, names.title)
    timestamp = None
    try:
        timestamp = parse_timestamp(_finite(record.get(names.timestamp), remark))
    except ValueError as failure:
        reason = f"field {names.timestamp!r} {failure}"
        if on_bad_time is None:
            raise BadRecord(reason) from None
        on_bad_time(reason)
    metadata = _metadata(record, names, remark)
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
    answers = texts_of(_required(record, "answers"), "answers")
    if not answers:
        raise BadRecord("field 'answers' is empty; accepted: a text or a list of texts")
    document_ids = texts_of(record.get("document_ids"), "document_ids")
    _require_unicode([identifier, question, answers, document_ids])
    return Question(identifier, question, answers, document_ids)


def question_text(record: object) -> str:
    """Return the question of a record that is to be answered, so has no accepted answers.

    Raises:
        BadRecord: the field is missing, of the wrong type or empty, or no valid Unicode.
    """
    if isinstance(record, PlainText):
        record = {"question": record.text}
    return required_text(record, "question").strip()


def required_text(record: object, name: str) -> str:
    """Return the text that field ``name`` of a record holds.

    Raises:
        BadRecord: the field is missing, of the wrong type or empty, or no valid Unicode.
    """
    text = _text(_mapping(record), name)
    _require_unicode(text)
    return text


def identifier_from(record: object) -> str:
    """Return the id that a record or a line gives.

    Raises:
        BadRecord: there is none, or it cannot be one.
    """
    identifier = record.text if isinstance(record, PlainText) else _identifier(_mapping(record), "id")
    _require_unicode(identifier)
    return identifier


def texts_of(value: object, name: str) -> tuple[str, ...]:
    """Return the texts of field ``name``: one, a list, or as the hub stores answers; numbers are text.

    Raises:
        BadRecord: it is none of these, or holds something empty.
    """
    if isinstance(value, Mapping) and "text" in value:  # {"text": [...], "answer_start": [...]}
        value = value["text"]
    if value is None:
        return ()
    values = [as_text(item) for item in (value if isinstance(value, list | tuple) else [value])]
    texts = tuple(item for item in values if isinstance(item, str) and item.strip())
    if len(texts) < len(values):
        raise BadRecord(f"field {name!r} is not usable; accepted: a text or a list of non-empty texts")
    return texts


def as_text(value: object) -> object:
    """Return numbers (but not true and false), UTF-8 bytes and UUIDs as text; all else as it is.

    Whole numbers lose their point: columns of integers become 1.0, 2.0 where a value is missing.
    """
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    if isinstance(value, float | Decimal) and math.isfinite(value):
        whole = int(value)
        return str(whole) if whole == value and abs(whole) < 2**53 else str(value)
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    return value


def _mapping(record: object) -> Record:
    if not isinstance(record, Mapping):
        raise BadRecord(f"it is {_kind(record)}; accepted: an object with fields")
    return record


def _identifier(record: Record, name: str) -> str:
    value = as_text(_required(record, name))
    if not isinstance(value, str):
        raise BadRecord(f"field {name!r} is {_kind(value)}; accepted: text or a number")
    if not value.strip():
        raise BadRecord(f"field {name!r} is empty")
    if problem := id_problem(value):
        raise BadRecord(f"field {name!r} cannot be an id: it {problem}")
    return value


def _text(record: Record, name: str) -> str:
    value = _required(record, name)
    if isinstance(value, bytes):
        value = as_text(value)
    if not isinstance(value, str):
        raise BadRecord(f"field {name!r} is {_kind(value)}; accepted: text")
    if not value.strip():
        raise BadRecord(f"field {name!r} is empty")
    return value


def _optional_text(record: Record, name: str) -> str | None:
    value = record.get(name)
    if isinstance(value, bytes):
        value = as_text(value)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadRecord(f"field {name!r} is {_kind(value)}; accepted: text or null")
    return value


def _required(record: Record, name: str) -> Any:
    value = record.get(name)
    if value is None:
        state = "null" if name in record else "missing"
        raise BadRecord(
            f"field {name!r} is {state}; the fields are {', '.join(map(repr, record)) or 'none'}"[:300]
        )
    return value


def _metadata(record: Record, names: FieldNames, remark: Remark) -> dict[str, JSON]:
    """All fields that have no other meaning; an object under "metadata" gives its own fields instead."""
    taken = {names.id, names.text, names.title, names.timestamp}
    if _is_exported(record):
        taken |= EXPORT_FIELDS
    fields = {str(name): value for name, value in record.items() if name not in taken}
    nested = fields.pop("metadata", None)
    if isinstance(nested, Mapping):
        fields |= {str(name): value for name, value in nested.items()}
    elif nested is not None and nested != "":
        fields["metadata"] = nested
    return {name: _json_value(value, 1, remark) for name, value in fields.items()}


def _is_exported(record: Record) -> bool:
    """Whether ``record`` is a line of documents.jsonl as ``mbc memory export`` writes it."""
    digest, spans = record.get("digest"), record.get("spans")
    return isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None and isinstance(spans, list)


def _json_value(value: Any, depth: int, remark: Remark) -> JSON:
    """Return ``value`` as JSON holds it; dates, decimals and bytes of Parquet become text."""
    if depth > MAX_NESTING:
        raise BadRecord(f"metadata are nested more than {MAX_NESTING} deep")
    value = _finite(value, remark)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _json_value(item, depth + 1, remark) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item, depth + 1, remark) for item in value]
    if isinstance(value, bytes):
        text = as_text(value)
        return text if isinstance(text, str) else value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _finite(value: Any, remark: Remark) -> Any:
    """``value``, or None for a number that JSON has no room for."""
    if isinstance(value, float) and not math.isfinite(value):
        remark(NO_NUMBER)
        return None
    return value


def _require_unicode(values: object) -> None:
    try:
        json.dumps(values, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise BadRecord("it holds half of a surrogate pair, which is not valid Unicode") from None


def _kind(value: object) -> str:
    names = {
        PlainText: "text without fields",
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        bytes: "bytes that are no UTF-8",
    }
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {value}"[:60]
    return next(
        (name for kind, name in names.items() if isinstance(value, kind)),
        "null" if value is None else type(value).__name__,
    )
