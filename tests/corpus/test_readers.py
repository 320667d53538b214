"""Readers: the same documents from every format, and bad input named while the rest is read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import shutil
import socket
import tempfile
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mbc_cli.corpus import streams
from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.documents import Document
from mbc_cli.corpus.json_text import EQUAL_KEYS, MAX_VALUES, NO_NUMBER
from mbc_cli.corpus.readers import read_documents, read_questions
from mbc_cli.corpus.records import FieldNames
from mbc_cli.errors import MbcError, UsageError

ROWS: list[dict[str, Any]] = [
    {
        "id": "a",
        "text": 'One, "quoted"\nand second line',
        "title": "First",
        "timestamp": "2026-05-01",
        "source": "x",
    },
    {"id": "b", "text": "Zwei — größer", "title": None, "timestamp": None, "source": "y"},
]


def read(*sources: Path | str, **options: Any) -> tuple[list[Document], list[str]]:
    bad = BadInputs()
    reports: list[str] = []
    bad.report = lambda piece: reports.append(str(piece))
    documents = list(read_documents([str(source) for source in sources], bad, **options))
    assert bad.count == len(reports)
    return documents, reports


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    return pa.compress(content, "zstd", asbytes=True)


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "d.jsonl": as_jsonl,
    "d.csv": as_csv,
    "d.tsv": lambda rows: as_csv(rows, "\t"),
    "d.parquet": as_parquet,
    "d.jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)),
    "d.csv.zst": lambda rows: zstd(as_csv(rows)),
    "bom.jsonl": lambda rows: b"\xef\xbb\xbf" + as_jsonl(rows),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_same_documents(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FORMATS[name](ROWS))
    documents, reports = read(tmp_path / name)
    assert reports == []
    assert documents == [
        Document("a", ROWS[0]["text"], "First", 1_777_593_600_000_000, {"source": "x"}),
        Document("b", "Zwei — größer", None, None, {"source": "y"}),
    ]


BAD_LINES = {
    '{"id": "x", "text": "cut': "malformed JSON",
    '{"id": "x"}': "field 'text' is missing",
    '{"text": "t"}': "field 'id' is missing",
    '{"id": "x", "text": null}': "field 'text' is null",
    '{"id": "x", "text": 17}': "field 'text' is the number 17",
    '{"id": "x", "text": ["t"]}': "field 'text' is a list",
    '{"id": "x", "text": "  "}': "field 'text' is empty",
    '{"id": "", "text": "t"}': "field 'id' is empty",
    '{"id": true, "text": "t"}': "field 'id' is true or false",
    '{"id": "a\\nb", "text": "t"}': "cannot be an id",
    '{"id": "x", "text": "t", "title": 3}': "field 'title' is the number 3",
    '{"id": "x", "text": "t", "timestamp": "soon"}': "field 'timestamp' is 'soon'",
    '{"id": "x", "text": "\\ud800"}': "surrogate",
    '{"id": "x", "text": NaN}': "field 'text' is null",
    '["x", "t"]': "it is a list",
    '{"id": "x", "text": "t", "deep": ' + "[" * 100_000 + "}": "nested too deep",
    '{"id": "x", "text": "t", "deep": ' + "[" * 50 + "]" * 50 + "}": "nested more than 32 deep",
    '{"id": "x", "text": "t", "n": ' + "9" * 5000 + "}": "malformed JSON",
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.items(), ids=range(len(BAD_LINES)))
def test_a_bad_record_is_named_by_file_and_line_and_the_rest_is_read(
    line: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(f'{{"id": "first", "text": "1"}}\n\n{line}\n{{"id": "last", "text": "2"}}\n')
    documents, (report,) = read(path)
    assert [document.id for document in documents] == ["first", "last"]
    assert report.startswith(f"{path}:3: ")
    assert reason in report
    assert len(report) < 600


def test_invalid_utf8_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b'{"id": "a", "text": "\xff"}\n{"id": "b", "text": "t"}\n')
    documents, (report,) = read(path)
    assert [document.id for document in documents] == ["b"]
    assert "corpus.jsonl:1: invalid UTF-8 (byte 0xff" in report


def test_of_equal_ids_both_records_come_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "a", "text": "1"}\n{"id": "a", "text": "2"}\n')
    documents, reports = read(tmp_path / "d.jsonl")
    assert [(document.id, document.text) for document in documents] == [("a", "1"), ("a", "2")]
    assert not reports


@pytest.mark.parametrize(
    ("metadata", "kept"),
    [("src: x", "src: x"), (3, 3), (["a", None], ["a", None]), (False, False)],
)
def test_a_field_metadata_that_is_no_object_is_one_value(metadata: Any, kept: Any, tmp_path: Path) -> None:
    record = {"id": "a", "text": "t", "k": 1, "metadata": metadata}
    (tmp_path / "d.jsonl").write_text(json.dumps(record))
    assert read(tmp_path / "d.jsonl")[0] == [Document("a", "t", metadata={"k": 1, "metadata": kept})]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_number_that_json_has_no_room_for_is_null_and_remarked(number: str, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(f'{{"id": "a", "text": "t", "k": {number}, "timestamp": {number}}}')
    bad = BadInputs()
    documents = list(read_documents([str(tmp_path / "d.jsonl")], bad))
    assert documents == [Document("a", "t", metadata={"k": None})]
    assert bad.count == 0
    assert bad.remarks == {NO_NUMBER: 2}


def test_equal_keys_are_remarked_and_the_last_counts(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "a", "text": "1", "text": "2"}\n')
    bad = BadInputs()
    assert [document.text for document in read_documents([str(tmp_path / "d.jsonl")], bad)] == ["2"]
    assert bad.remarks == {EQUAL_KEYS: 1}


def test_numbers_are_ids_as_text_and_truth_values_are_not(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(
        "".join(
            f'{{"id": {identifier}, "text": "t"}}\n' for identifier in ("7", "7.0", "1.5", "true", "9e30")
        )
    )
    documents, (report,) = read(tmp_path / "d.jsonl")
    assert [document.id for document in documents] == ["7", "7", "1.5", "9e+30"]
    assert "field 'id' is true or false" in report


def test_a_bad_time_costs_the_document_or_only_itself(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "a", "text": "t", "timestamp": "soon"}\n')
    documents, (report,) = read(tmp_path / "d.jsonl")
    assert not documents
    assert "d.jsonl:1: field 'timestamp' is 'soon', which is no time" in report
    bad = BadInputs()
    remarks: list[str] = []
    bad.on_remark = lambda piece: remarks.append(str(piece))
    documents = list(read_documents([str(tmp_path / "d.jsonl")], bad, on_bad_time="keep"))
    assert documents == [Document("a", "t")]
    assert bad.count == 0
    assert remarks[0].startswith(f"{tmp_path}/d.jsonl:1: field 'timestamp' is 'soon'")


def gunzip(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data)


def unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


@pytest.mark.parametrize(
    ("compress", "decompress"), [(gzip.compress, gunzip), (zstd, unzstd)], ids=["gzip", "zstd"]
)
@pytest.mark.parametrize("filled_up", [b"", bytes(99)], ids=["cut", "zeros"])
def test_what_comes_before_the_break_in_compressed_data_is_read(
    compress: Callable[[bytes], bytes],
    decompress: Callable[[bytes], bytes],
    filled_up: bytes,
    tmp_path: Path,
) -> None:
    generator = random.Random(14)
    rows = [{"id": str(number), "text": generator.randbytes(40).hex()} for number in range(3000)]
    compressed = compress(as_jsonl(rows))
    intact = compressed[: len(compressed) // 2]
    whole_lines = decompress(intact).count(b"\n")
    assert 500 < whole_lines < 3000
    (tmp_path / "d.jsonl.gz").write_bytes(intact + filled_up)
    documents, reports = read(tmp_path / "d.jsonl.gz")
    ids = [document.id for document in documents]
    assert ids[:whole_lines] == [row["id"] for row in rows[:whole_lines]]
    # Damaged bytes stand for something too: what they give is not known to be damaged before the end.
    assert filled_up or len(ids) == whole_lines
    assert reports


@pytest.mark.parametrize("compress", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_a_truncated_file_gives_every_line_before_the_break_however_short_it_is(
    compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    rows = [{"id": str(number), "text": f"Line {number}."} for number in range(7)]
    # A file of two members, as appending makes it; the second lacks its last bytes.
    (tmp_path / "d.jsonl").write_bytes(compress(as_jsonl(rows)) + compress(as_jsonl(rows[:1]))[:-4])
    documents, reports = read(tmp_path / "d.jsonl")
    assert list(dict.fromkeys(document.id for document in documents)) == [row["id"] for row in rows]
    assert any("end too early (truncated file?); what came before was read" in report for report in reports)


def test_files_compressed_in_parts_and_filled_up_with_zeros_are_read_to_their_end(tmp_path: Path) -> None:
    rows = [{"id": str(number), "text": f"Line {number}."} for number in range(5)]
    parts = [gzip.compress(as_jsonl(rows[:2])), gzip.compress(as_jsonl(rows[2:]))]
    (tmp_path / "d.jsonl.gz").write_bytes(b"".join(parts) + bytes(512))
    documents, reports = read(tmp_path / "d.jsonl.gz")
    assert [document.id for document in documents] == [row["id"] for row in rows]
    assert not reports


def test_a_line_that_is_too_long_costs_little_memory_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"id": "long", "text": "')
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"id": "next", "text": "t"}\n')
    tracemalloc.start()
    documents, (report,) = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [document.id for document in documents] == ["next"]
    assert f"{path}:1: the line is longer than 16 MiB" in report
    assert peak < 3 * streams.MAX_RECORD_BYTES


def test_fail_stops_at_the_first_bad_record(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "a", "text": "t"}\n{"id": "b"}\n')
    documents = read_documents([str(path)], BadInputs(on_error="fail"))
    assert next(documents).id == "a"
    with pytest.raises(MbcError, match=r"corpus\.jsonl:2: field 'text' is missing"):
        next(documents)


def test_bad_csv_rows_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(b'id,text\na,one\nb,two,three\nc\nd,"x"y\n\ne,\xff\nf,six\n')
    documents, reports = read(path)
    assert [document.id for document in documents] == ["a", "f"]
    assert [report.split(": ")[0].rsplit(":")[-1] for report in reports] == ["3", "4", "5", "7"]


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.parquet").write_bytes(as_parquet(ROWS)[:-20])
    (tmp_path / "e.jsonl").write_bytes(as_jsonl(ROWS))
    documents, (report,) = read(tmp_path / "d.parquet", tmp_path / "e.jsonl")
    assert len(documents) == 2
    assert "d.parquet: not readable as Parquet" in report


def test_a_text_file_is_one_document_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("One.\nTwo.\n")
    (tmp_path / "notes" / "empty.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    documents, (report,) = read("./notes")
    assert documents == [Document("notes/a.txt", "One.\nTwo.\n")]
    assert report == "notes/empty.txt: field 'text' is empty"


def test_a_folder_is_read_in_the_order_of_its_paths_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "a/1.jsonl", ".hidden/3.jsonl", "c.png", ".d.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"id": name, "text": "t"}))
    assert [document.id for document in read(tmp_path)[0]] == ["a/1.jsonl", "b/2.jsonl"]


def test_other_field_names_and_nested_metadata(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"url": 7, "body": "t", "text": "kept", "metadata": {"k": [1]}}')
    documents, _ = read(tmp_path / "d.jsonl", names=FieldNames(id="url", text="body"))
    assert documents == [Document("7", "t", metadata={"text": "kept", "k": [1]})]


def stdin_of(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))


def test_stdin_is_jsonl_where_the_first_line_is_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin_of(b'\n{"id": "a", "text": "t"}\nbroken\n', monkeypatch)
    documents, reports = read("-")
    assert documents == [Document("a", "t")]
    assert reports == ["stdin:3: malformed JSON: Expecting value at column 1"]


def test_stdin_is_a_document_per_line_elsewhere_with_ids_from_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdin_of(b"Mira opened it.\n\n  Jonas closed it.  \n", monkeypatch)
    first = read("-")[0]
    assert [document.text for document in first] == ["Mira opened it.", "Jonas closed it."]
    stdin_of(gzip.compress(b"Jonas closed it.\n"), monkeypatch)
    assert read("-")[0] == first[1:]


def test_a_named_pipe_is_read_like_stdin(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(as_jsonl(ROWS),))
    writer.start()
    assert len(read(pipe)[0]) == 2
    writer.join()


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["missing.jsonl"], "there is no file or folder"),
        (["photo.png"], "does not tell the format"),
        (["empty"], "holds no files to read"),
        (["-", "-"], "named twice"),
        ([""], "is empty"),
    ],
)
def test_a_wrong_source_is_told_before_anything_is_read(
    sources: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        read_documents(sources, BadInputs())


@pytest.fixture
def folder_of_a_plain_user() -> Iterator[Path]:
    """A folder that the process may read as its owner, without the rights of root."""
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()
    if user == 0:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(user)
        for path in [folder, *(path for path in folder.iterdir() if path.is_dir())]:
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_may_not_be_read_is_named(folder_of_a_plain_user: Path) -> None:
    secret = folder_of_a_plain_user / "secret"
    secret.mkdir(mode=0)
    with pytest.raises(UsageError, match=r"secret cannot be read: Permission denied"):
        read_documents([str(secret)], BadInputs())
    (folder_of_a_plain_user / "open.jsonl").write_bytes(as_jsonl(ROWS))
    documents, skipped = read(folder_of_a_plain_user)
    assert len(documents) == 2
    assert skipped == [f"{secret}: cannot be read: Permission denied"]


def test_questions_take_one_answer_or_several_and_need_no_id(
    tmp_path: Path,
) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"question": "Who?", "answers": "Mira"}\n'
        '{"id": 4, "question": " Where? ", "answers": ["Lindholm", "there"], "document_ids": ["d"]}\n'
        '{"question": "Why?", "answers": []}\n'
        '{"question": "How many?", "answers": [12, "a dozen"], "document_ids": [7, 7.0]}\n'
        '{"question": "What?", "answers": {"text": ["x"], "answer_start": [0]}, "document_ids": 3}\n'
        '{"question": "Is it?", "answers": [true]}\n'
    )
    bad = BadInputs()
    first, second, third, fourth = read_questions([str(path)], bad)
    assert (first.id, first.answers, first.document_ids) == (f"{path}:1", ("Mira",), ())
    assert (second.id, second.question, second.answers) == ("4", "Where?", ("Lindholm", "there"))
    assert (third.answers, third.document_ids) == (("12", "a dozen"), ("7", "7"))
    assert (fourth.answers, fourth.document_ids) == (("x",), ("3",))
    assert "field 'answers' is empty" in str(bad.examples[0])
    assert "field 'answers' is not usable" in str(bad.examples[1])


BOUNDED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@BOUNDED
@given(st.sampled_from([".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".jsonl.gz"]), st.binary(max_size=300))
def test_no_bytes_break_a_reader(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(content)
    read(path)


@BOUNDED
@given(
    st.lists(
        st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("id", "text", "title", "timestamp", "k"), JSON_VALUES)
        )
    )
)
def test_every_record_is_a_document_or_is_counted(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    path = tmp_path / "fuzz.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    documents, reports = read(path)
    assert len(documents) + len(reports) == len(records)
    for document in documents:
        document.text.encode("utf-8")
        assert document.id
        assert document.text.strip()


def test_a_parquet_file_with_a_broken_column_name_is_named_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "spoilt.parquet"
    parquet.write_table(pa.table({"id": ["a"], "text": ["b"], "title": ["c"]}), path)
    path.write_bytes(path.read_bytes().replace(b"title", b"titl\xff"))
    documents, reports = read(path)
    assert not documents
    assert "not readable as Parquet" in reports[0]


def test_a_record_of_very_many_values_is_refused_and_a_text_that_looks_like_them_is_not(
    tmp_path: Path,
) -> None:
    lists = f'{{"id": "lists", "text": "t", "lists": [{"[]," * MAX_VALUES}0]}}'
    text = {"id": "text", "text": '[],{}\\",' * MAX_VALUES}
    (tmp_path / "c.jsonl").write_text(f"{lists}\n{json.dumps(text)}\n")
    bad = BadInputs()
    assert [document.id for document in read_documents([str(tmp_path / "c.jsonl")], bad)] == ["text"]
    assert [example.reason for example in bad.examples] == [f"it holds more than {MAX_VALUES:,} values"]


def test_pipes_and_devices_in_a_folder_are_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.txt").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "c.csv"))
        (tmp_path / "d.jsonl").write_bytes(as_jsonl(ROWS))
        documents, reports = read(tmp_path)
    assert [document.id for document in documents] == ["a", "b"]
    reason = "is no regular file but a pipe, socket or device"
    assert reports == [f"{tmp_path / name}: {reason}" for name in ("a.jsonl", "b.txt", "c.csv")]


def test_a_csv_header_of_very_many_columns_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("x," * 1_000_000 + "\n")
    documents, (report,) = read(tmp_path / "d.csv")
    assert documents == []
    assert report == f"{tmp_path / 'd.csv'}:1: the header names 'x' twice"
