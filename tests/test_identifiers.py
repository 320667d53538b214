"""What may name a document: whoever writes one is told the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mbc_store import InvalidRecord, MemoryStore, StoreError
from mbc_store.identifiers import id_problem

from mbc_cli import Document
from mbc_cli.errors import UsageError
from tests.corpus.test_readers import read
from tests.support.store.operations import SMALL, make_record

REFUSED = {
    "a\nb": "holds a newline or another control character",
    "a\rerror: fake": "holds a newline or another control character",
    "\x1b[31mred": "holds a newline or another control character",
    "a\x9b31m": "holds a newline or another control character",
    "a\x00": "holds a newline or another control character",
    " \t ": "is empty",
    "": "is empty",
    "x" * 513: "has 513 characters; accepted: up to 512",
    "half \ud83d": "is not valid UTF-8",
}


@pytest.mark.parametrize(("identifier", "problem"), REFUSED.items(), ids=range(len(REFUSED)))
def test_an_id_that_could_not_be_shown_or_found_is_refused_by_all_who_write(
    tmp_path: Path, identifier: str, problem: str
) -> None:
    assert id_problem(identifier) == problem
    with pytest.raises(UsageError, match=problem):
        Document(identifier, "text")
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": identifier, "text": "t"}))
    documents, (report,) = read(tmp_path / "d.jsonl")
    assert documents == []
    assert report.endswith(problem)
    store = MemoryStore.create(tmp_path / "s.mbc", SMALL)
    with pytest.raises(InvalidRecord, match=problem), store.transaction("encode", "m") as transaction:
        transaction.upsert([make_record(identifier, 1)])
    assert store.verify() == []


def test_an_import_refuses_what_encode_refuses(tmp_path: Path) -> None:
    store = MemoryStore.create(tmp_path / "s.mbc", SMALL)
    with store.transaction("encode", "m") as transaction:
        transaction.upsert([make_record("aXb", 1)])
    store.export_to(tmp_path / "export")
    lines = (tmp_path / "export" / "documents.jsonl").read_text()
    (tmp_path / "export" / "documents.jsonl").write_text(lines.replace("aXb", "a\\nb"))
    with pytest.raises(StoreError):
        MemoryStore.create(tmp_path / "t.mbc", SMALL).import_from(tmp_path / "export")


@pytest.mark.parametrize("identifier", ["größe", "文書-7", "news 5", "a/b:c#d", "x" * 512, "مقال"])
def test_other_ids_are_taken(identifier: str) -> None:
    assert id_problem(identifier) is None
    assert Document(identifier, "text").id == identifier
