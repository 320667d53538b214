"""Formats: the same documents in every encoding and line end, and a format that only the content decides."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.documents import Document
from mbc_cli.corpus.readers import read_documents, read_ids, read_questions
from mbc_cli.corpus.records import FieldNames
from mbc_cli.errors import UsageError

MIRA, JONAS = Document("a", "Mira öffnete es."), Document("b", "Jonas schloss, spät.")
AS_FORMAT = {
    "jsonl": '\n{"id": "a", "text": "Mira öffnete es."}\n\n{"id": "b", "text": "Jonas schloss, spät."}\n',
    "json": '[{"id": "a", "text": "Mira öffnete es."},\n{"id": "b", "text": "Jonas schloss, spät."}]\n',
    "pretty.json": json.dumps([{"id": d.id, "text": d.text} for d in (MIRA, JONAS)], indent=2),
    "objects.json": "\n".join(json.dumps({"id": d.id, "text": d.text}, indent=2) for d in (MIRA, JONAS)),
    "csv": 'id,text\na,Mira öffnete es.\nb,"Jonas schloss, spät."\n',
    "semicolon.csv": 'id; text\na;Mira öffnete es.\nb;"Jonas schloss, spät."\n',
    "sep.csv": "sep=|\nid|text\na|Mira öffnete es.\nb|Jonas schloss, spät.\n",
    "tsv": "id\ttext\na\tMira öffnete es.\nb\tJonas schloss, spät.\n",
}
ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "mark": lambda text: text.encode("utf-8-sig"),
    "utf-16-le with mark": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "utf-16-be with mark": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "utf-32 with mark": lambda text: text.encode("utf-32"),
    "returns": lambda text: text.replace("\n", "\r").encode(),
    "returns and newlines": lambda text: text.replace("\n", "\r\n").encode(),
}


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Makes stdin a pipe into which pieces are written one by one."""
    opened = []

    def make(*pieces: bytes, pause: float = 0.0) -> None:
        reading, writing = os.pipe()

        def write() -> None:
            with io.FileIO(writing, "w") as end:
                for piece in pieces:
                    end.write(piece)
                    time.sleep(pause)

        threading.Thread(target=write, daemon=True).start()
        opened.append(io.TextIOWrapper(io.BufferedReader(io.FileIO(reading))))
        monkeypatch.setattr("sys.stdin", opened[-1])

    yield make
    for stream in opened:
        stream.close()


def documents(*sources: Path | str, **options: object) -> list[Document]:
    return list(read_documents(list(map(str, sources)), BadInputs(on_error="fail"), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", AS_FORMAT)
def test_files_and_stdin_hold_the_same_documents_in_every_encoding(
    name: str, encoding: str, tmp_path: Path, pipe: Callable[..., None]
) -> None:
    content = ENCODINGS[encoding](AS_FORMAT[name])
    (tmp_path / f"d.{name}").write_bytes(content)
    assert documents(tmp_path / f"d.{name}") == [MIRA, JONAS]
    pipe(content)
    assert documents("-") == [MIRA, JONAS]


@pytest.mark.parametrize("name", AS_FORMAT)
def test_the_format_of_a_stream_does_not_depend_on_when_its_bytes_arrive(
    name: str, pipe: Callable[..., None]
) -> None:
    content = AS_FORMAT[name].encode("utf-8-sig")
    pipe(*(content[place : place + 1] for place in range(len(content))))
    assert documents("-") == [MIRA, JONAS]


def test_a_stream_is_read_as_it_arrives(pipe: Callable[..., None]) -> None:
    pipe(b"One.\n", b"Two.\n", pause=0.05)
    stream: Iterator[Document] = read_documents(["-"], BadInputs())
    assert next(stream).text == "One."
    assert next(stream).text == "Two."


@pytest.mark.parametrize(
    "first", ["{name} came.", "[Verse 1]", "[1] A footnote.", "Read text, id and all.", "id", "{", "PAR"]
)
def test_text_that_looks_like_something_else_is_text(first: str, pipe: Callable[..., None]) -> None:
    second = "Then {he} left."
    pipe(f"{first}\n{second}\n".encode())
    bad = BadInputs()
    texts = [document.text for document in read_documents(["-"], bad)]
    assert texts == [first, second] or (first == "{" and bad.count == 1)


def test_a_record_among_lines_of_text_is_a_record_and_named_lines_are_text(pipe: Callable[..., None]) -> None:
    content = b'Mira opened it.\n{"id": "b", "text": "Jonas closed it."}\n'
    pipe(content)
    assert [document.id for document in documents("-")][1] == "b"
    pipe(content)
    assert [document.text for document in documents("-", format="lines")] == content.decode().splitlines()


def test_a_first_line_of_jsonl_that_breaks_off_is_named(pipe: Callable[..., None]) -> None:
    pipe(b'{"id": "a", "te\n{"id": "b", "text": "t"}\n')
    bad = BadInputs()
    assert list(read_documents(["-"], bad)) == [Document("b", "t")]
    assert str(bad.examples[0]).startswith("stdin:1: malformed JSON")


def test_an_array_is_read_up_to_where_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    good = [{"id": str(number), "text": "t" * 50} for number in range(3000)]
    path.write_text(
        json.dumps(good)[:-1] + ', {"id": "x", "n": ' + "9" * 5000 + '}, {"id": "y", "text": "t"}, {'
    )
    bad = BadInputs()
    assert [document.id for document in read_documents([str(path)], bad)] == [*map(str, range(3000)), "y"]
    assert [piece.place for piece in bad.examples] == [f"{path} item 3001", f"{path} item 3003"]


def test_json_in_a_folder_is_read_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"id": "a", "text": "t"}')
    (tmp_path / "b.jsonl").write_text('{"id": "b", "text": "t"}')
    assert [document.id for document in documents(tmp_path)] == ["b"]
    assert [document.id for document in documents(tmp_path, format="json")] == ["a", "b"]


def test_a_delimiter_that_is_named_counts_and_columns_without_a_name_do_not(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("id,x;text;k;;\n1,2;t;v;;\n3;u;w\n")
    bad = BadInputs()
    options = {"delimiter": ";", "names": FieldNames(id="id,x")}
    (document,) = read_documents([str(path)], bad, **options)  # type: ignore[arg-type]
    assert document == Document("1,2", "t", metadata={"k": "v"})
    assert bad.remarks == {"a column without a name is left out": 2}
    assert "the row has 3 fields, the header 5" in str(bad.examples[0])


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "→"])
def test_what_cannot_part_columns_is_refused(delimiter: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("id,text\n")
    with pytest.raises(UsageError, match="--delimiter received"):
        documents(tmp_path / "d.csv", delimiter=delimiter)


def test_columns_called_metadata_are_kept(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text('id,text,metadata\na,t,"{""k"": 1}"\nb,t,\n')
    first, second = documents(tmp_path / "d.csv")
    assert first.metadata == {"metadata": '{"k": 1}'}
    assert second.metadata == {}


def test_zstd_windows_of_up_to_two_gigabytes_are_read(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=31, strategy=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = compressor.compress(AS_FORMAT["jsonl"].encode()) + compressor.flush()
    (tmp_path / "d.jsonl.zst").write_bytes(content)
    assert documents(tmp_path / "d.jsonl.zst") == [MIRA, JONAS]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_questions_and_ids_are_read_in_every_encoding_too(encoding: str, tmp_path: Path) -> None:
    encode = ENCODINGS[encoding]
    (tmp_path / "q.csv").write_bytes(encode("question,answers,document_ids\nWho?,Mira,a\n"))
    (question,) = read_questions([str(tmp_path / "q.csv")], BadInputs(on_error="fail"))
    assert (question.answers, question.document_ids) == (("Mira",), ("a",))
    (tmp_path / "ids").write_bytes(encode("first\n\nse\u2028co\u0085nd\n third\n"))
    assert list(read_ids(str(tmp_path / "ids"), BadInputs())) == ["first", "se\u2028co\u0085nd", " third"]


def test_ids_may_be_a_field_of_records(tmp_path: Path) -> None:
    for name, content in {
        "i.jsonl": '{"id": 7}\n',
        "i.json": '[{"id": "7"}]',
        "i.csv": "k,id\nx,7\n",
    }.items():
        (tmp_path / name).write_text(content)
        assert list(read_ids(str(tmp_path / name), BadInputs(on_error="fail"))) == ["7"]
