"""Exports of other memories, as they publish their form, keep ids, times and metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document as LangChainDocument
from langchain_core.load import dumpd

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.choices import Format
from mbc_cli.corpus.documents import Document
from mbc_cli.corpus.readers import read_documents

EXPORTS = Path(__file__).parents[1] / "data" / "exports"
MUSEUM = "Mira Okafor opened the harbour museum in Lindholm"
MEETINGS = "Arjun prefers morning meetings"
EXPECTED: dict[Format, list[Document]] = {
    "mem0": [
        Document(
            "3c90c3cc-0d44-4b50-8888-8dd25736052a",
            MUSEUM,
            timestamp="2026-05-01T10:31:56Z",
            metadata={"type": "professional", "user_id": "dev", "updated_at": "2026-05-02T05:31:56Z"},
        ),
        Document(
            "8f1f0d61-4fd0-43ea-a7f3-6b4d9c1f3c1b",
            MEETINGS,
            timestamp="2026-05-03T14:00:00Z",
            metadata={"user_id": "arjun"},
        ),
    ],
    "chroma": [
        Document("id1", MUSEUM, "Museum", "2026-05-01", {"chapter": 3}),
        Document("id2", MEETINGS),
    ],
    "langchain": [
        Document("museum", MUSEUM, "Museum", "2026-05-01", {"source": "gazette.html"}),
        Document("text-made-of-its-digest", MEETINGS, metadata={"source": "notes.pdf", "page": 4}),
    ],
}


@pytest.mark.parametrize("format", EXPECTED)
def test_ids_times_and_metadata_are_kept_and_the_rest_is_counted(format: Format) -> None:
    bad = BadInputs()
    read = list(read_documents([str(EXPORTS / f"{format}.json")], bad, format=format))
    for document, expected in zip(read, EXPECTED[format], strict=True):
        assert expected.id.startswith("text-") or document.id == expected.id
        for name in ("text", "title", "timestamp", "metadata"):
            assert getattr(document, name) == getattr(expected, name), name
    (example,) = bad.examples
    assert "item 3" in example.place


def test_documents_are_read_as_the_library_writes_them(tmp_path: Path) -> None:
    made = LangChainDocument(id="museum", page_content=MUSEUM, metadata={"page": 4})
    path = tmp_path / "dump.json"
    for dump in (dumpd(made), made.model_dump()):
        path.write_text(json.dumps([dump]))
        (document,) = read_documents([str(path)], BadInputs(on_error="fail"), format="langchain")
        assert document == Document("museum", MUSEUM, metadata={"page": 4})


@pytest.mark.parametrize("format", EXPECTED)
@pytest.mark.parametrize("content", [{}, [1], None, "text", {"ids": ["a"], "documents": []}, {"results": 1}])
def test_what_is_no_export_is_counted(tmp_path: Path, format: Format, content: Any) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(content))
    bad = BadInputs()
    assert list(read_documents([str(path)], bad, format=format)) == []
    assert bad.count == 1
