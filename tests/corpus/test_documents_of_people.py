"""Markdown, HTML, PDF and Word files become one document each, and damaged ones one clear line."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mbc_cli.corpus import office_files
from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.choices import Format
from mbc_cli.corpus.documents import Document
from mbc_cli.corpus.readers import read_documents
from mbc_cli.corpus.times import parse_timestamp
from mbc_cli.errors import MissingPackageError

MUSEUM = "Mira Okafor opened the harbour museum in Lindholm."
MAY = datetime(2026, 5, 1, 10, tzinfo=UTC)


def pdf(text: str = MUSEUM, password: str | None = None) -> bytes:
    from fpdf import FPDF

    made = FPDF()
    made.set_title("Museum")
    made.set_author("Tove Sandgren")
    made.set_creation_date(MAY)
    if password is not None:
        made.set_encryption(owner_password=password, user_password=password)
    made.add_page()
    made.set_font("helvetica", size=12)
    if text:
        made.multi_cell(0, text=text)
    return bytes(made.output())


def docx(text: str = MUSEUM) -> bytes:
    import docx as word

    made = word.Document()
    made.core_properties.title = "Museum"
    made.core_properties.author = "Tove Sandgren"
    made.core_properties.created = MAY.replace(tzinfo=None)
    made.add_paragraph(text)
    stream = io.BytesIO()
    made.save(stream)
    return stream.getvalue()


def bomb() -> bytes:
    """A Word file of a few hundred kilobytes whose text is 300 MiB."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(docx())) as plain,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for name in plain.namelist():
            content = plain.read(name)
            if name == "word/document.xml":
                content = content.replace(b"Mira", b"a" * (300 * 2**20))
            out.writestr(name, content)
    return made.getvalue()


HTML = f"""<!doctype html><html><head><meta charset="iso-8859-1"><title>Museum</title>
<meta name="author" content="Tove Sandgren"><script>lost()</script>
<meta property="article:published_time" content="2026-05-01T10:00:00Z"></head>
<body><p>{MUSEUM} Caf\u00e9 &amp; shop.</p></body></html>""".encode("latin-1")
MARKDOWN = f"""---
title: Museum
date: 2026-05-01T10:00:00Z
tags: [harbour, art]
---

# Another heading

{MUSEUM}
"""


def read(folder: Path, name: str, content: bytes) -> tuple[list[Document], BadInputs]:
    path = folder / name
    path.write_bytes(content)
    bad = BadInputs()
    return list(read_documents([str(path)], bad)), bad


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.pdf", pdf),
        ("a.docx", docx),
        ("a.html", lambda: HTML),
        ("a.htm", lambda: HTML),
        ("a.md", MARKDOWN.encode),
        ("a.md", MARKDOWN.replace("\n", "\r\n").encode),
    ],
)
def test_a_file_is_one_document_with_its_title_and_date(
    tmp_path: Path, name: str, made: Callable[[], bytes]
) -> None:
    (document,), bad = read(tmp_path, name, made())
    assert bad.count == 0
    assert document.id == (tmp_path / name).as_posix()
    assert document.title == "Museum"
    assert document.timestamp == parse_timestamp("2026-05-01T10:00:00Z")
    assert MUSEUM in " ".join(document.text.split())
    assert "lost" not in document.text
    assert "---" not in document.text
    if name.endswith(".md"):
        assert document.metadata == {"tags": ["harbour", "art"]}
    else:
        assert document.metadata["authors"] == ["Tove Sandgren"]
    if "htm" in name:
        assert "Café & shop" in document.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "made", "reason"),
    [
        ("a.pdf", lambda: pdf(password="secret"), "password"),
        ("a.pdf", lambda: pdf()[:500], "PDF"),
        ("a.pdf", lambda: pdf(text=""), "no text"),
        ("a.pdf", lambda: b"", "empty"),
        ("a.pdf", lambda: b"%PDF-1.7 \x00\xff" * 100, "PDF"),
        ("a.docx", lambda: docx()[:2000], "Word"),
        ("a.docx", bomb, "limit"),
        ("a.docx", lambda: b"\xd0\xcf\x11\xe0 an old Word file", "Word"),
        ("a.html", lambda: b"<html><body><script>x()</script></body></html>", "no text"),
        ("a.html", lambda: b"<meta charset=utf-8><p>Caf\xe9", "encoding"),
        ("a.html", lambda: b"<meta charset=klingon><p>x", "encoding"),
        ("a.md", lambda: b"\xff", "UTF-8"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(
    tmp_path: Path, name: str, made: Callable[[], bytes], reason: str
) -> None:
    documents, bad = read(tmp_path, name, made())
    assert documents == []
    (example,) = bad.examples
    assert example.place == (tmp_path / name).as_posix()
    assert reason in example.reason
    assert "\n" not in example.reason
    assert "Traceback" not in example.reason


@pytest.mark.slow
def test_a_reader_that_needs_too_much_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_files, "MAX_SECONDS", 0.001)
    assert "seconds" in read(tmp_path, "a.pdf", pdf())[1].examples[0].reason
    monkeypatch.undo()
    monkeypatch.setattr(office_files, "MAX_PROCESS_BYTES", 2**25)
    assert "cannot be read as PDF" in read(tmp_path, "a.pdf", pdf())[1].examples[0].reason
    monkeypatch.undo()
    monkeypatch.setattr(office_files, "MAX_RECORD_BYTES", 10)
    assert "longer than" in read(tmp_path, "a.pdf", pdf())[1].examples[0].reason


@pytest.mark.parametrize(
    ("text", "title", "kept"),
    [
        ("# Museum #\n\nText.", "Museum", "# Museum"),
        ("Museum\n======\nText.", "Museum", "Museum\n"),
        ("```\n# no heading\n```\n# Museum\n", "Museum", "# no heading"),
        ("Text without a heading.\n", None, "Text"),
        ("---\nnot: [yaml\n---\n# Museum\n", "Museum", "not: [yaml"),
        ("---\na: &a [x]\nb: *a\n---\n# Museum\n", "Museum", "*a"),
        ("---\ntitle: Museum\n---\n", "Museum", None),
        ("Text.\n\n---\ntitle: none\n---\n", None, "title: none"),
        ("---\ntitle: 2026\ndate: someday\n---\nText.", "2026", "Text."),
    ],
)
def test_markdown_keeps_its_text(tmp_path: Path, text: str, title: str | None, kept: str | None) -> None:
    documents, bad = read(tmp_path, "a.md", text.encode())
    if kept is None:
        assert (documents, bad.count) == ([], 1)
        return
    assert documents[0].title == title
    assert kept in documents[0].text


@pytest.mark.slow
@pytest.mark.parametrize(("format", "made"), [("pdf", pdf), ("html", lambda: HTML), ("docx", docx)])
def test_stdin_is_read_as_told(
    monkeypatch: pytest.MonkeyPatch, format: Format, made: Callable[[], bytes]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(made()))))
    bad = BadInputs()
    (document,) = read_documents(["-"], bad, format=format)
    assert (document.id, document.title, bad.count) == ("stdin", "Museum", 0)


def test_without_the_package_the_rest_is_read_and_the_way_to_install_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office_files, "find_spec", lambda name: None)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "b.md").write_text("# Museum\n")
    bad = BadInputs()
    (document,) = read_documents([str(tmp_path)], bad)
    assert document.title == "Museum"
    assert "mbc-memory[documents]" in bad.examples[0].reason
    named: list[Any] = [([str(tmp_path / "a.pdf")], None), (["-"], "html")]
    for sources, format in named:
        with pytest.raises(MissingPackageError, match="mbc-memory\\[documents\\]"):
            read_documents(sources, BadInputs(), format=format)
