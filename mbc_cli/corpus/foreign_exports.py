"""What other memories export as JSON, as records of ours.

Forms: mem0's ``get_all()`` (https://docs.mem0.ai/api-reference), a Chroma collection's ``get()``
(https://docs.trychroma.com/docs/querying-collections/query-and-get), and LangChain's documents, plain
(``page_content``, ``metadata``) or as its ``dumpd`` writes them (``lc``, ``id``, ``kwargs``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mbc_cli.corpus.bad_input import BadRecord
from mbc_cli.corpus.choices import Format
from mbc_cli.corpus.records import UsualFields

MAX_EXPORT_BYTES = 256 * 2**20
_TIMES = ("timestamp", "created_at", "date")
_MEM0_KEPT = ("user_id", "agent_id", "app_id", "run_id", "actor_id", "role", "categories", "updated_at")

Items = Iterator[UsualFields | BadRecord]


def read_export(content: Any, format: Format) -> Items:
    """Yield the records of an export, or for each that is none a :class:`BadRecord`.

    Raises:
        BadRecord: the whole is no export of this form.
    """
    return _FORMS[format](content)


def _mem0(content: Any) -> Items:
    items = content.get("results") if isinstance(content, Mapping) else content
    if not isinstance(items, list):
        raise BadRecord('it is no export of mem0; accepted: {"results": [{"id": ..., "memory": ...}, ...]}')
    for item in items:
        if not isinstance(item, Mapping) or "memory" not in item:
            yield BadRecord("it has no field 'memory'")
            continue
        metadata = _metadata_of(item, "metadata") | {
            name: item[name] for name in _MEM0_KEPT if item.get(name) is not None
        }
        yield _record(item.get("id"), item["memory"], metadata, item.get("created_at"))


def _chroma(content: Any) -> Items:
    columns = content if isinstance(content, Mapping) else {}
    ids, texts = columns.get("ids"), columns.get("documents")
    if not isinstance(ids, list) or not isinstance(texts, list) or len(ids) != len(texts):
        raise BadRecord(
            'it is no export of a Chroma collection; accepted: {"ids": [...], "documents": [...], '
            '"metadatas": [...]}, lists of equal length'
        )
    metadatas = columns.get("metadatas")
    if metadatas is None:
        metadatas = [None] * len(ids)
    if not isinstance(metadatas, list) or len(metadatas) != len(ids):
        raise BadRecord("its lists 'ids' and 'metadatas' are not equally long")
    for identifier, text, metadata in zip(ids, texts, metadatas, strict=True):
        yield _record(identifier, text, _metadata_of({"metadatas": metadata}, "metadatas"))


def _langchain(content: Any) -> Items:
    items = content if isinstance(content, list) else [content]
    for item in items:
        fields = item.get("kwargs") if isinstance(item, Mapping) and item.get("lc") == 1 else item
        if not isinstance(fields, Mapping) or "page_content" not in fields:
            yield BadRecord("it has no field 'page_content'")
            continue
        metadata = _metadata_of(fields, "metadata")
        identifier = fields.get("id") if fields.get("id") is not None else metadata.pop("id", None)
        yield _record(identifier, fields["page_content"], metadata)


def _record(identifier: Any, text: Any, metadata: dict[str, Any], time: Any = None) -> UsualFields:
    """A record; its time is the first that there is, and an id that is missing a digest of the text."""
    for name in _TIMES if time is None else ():
        if metadata.get(name) is not None:
            time = metadata.pop(name)
            break
    title = metadata.pop("title") if isinstance(metadata.get("title"), str) else None
    if identifier is None and isinstance(text, str):
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8)
        identifier = f"text-{digest.hexdigest()}"
    fields = {"id": identifier, "text": text, "title": title, "timestamp": time, "metadata": metadata}
    return UsualFields(fields)


def _metadata_of(item: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = item.get(name)
    if isinstance(value, Mapping):
        return dict(value)
    return {} if value is None else {name: value}


_FORMS: dict[Format, Callable[[Any], Items]] = {
    "mem0": _mem0,
    "chroma": _chroma,
    "langchain": _langchain,
}
