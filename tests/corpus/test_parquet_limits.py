"""Parquet files that would take far more memory than they have bytes: refused by name, the rest is read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.corpus.test_readers import read

MIB = 2**20
READ = """
import sys
from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.readers import read_documents
bad = BadInputs()
read = sum(1 for _ in read_documents(sys.argv[1:], bad))
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
import json; print(json.dumps([read, bad.count, [piece.reason for piece in bad.examples][:1], peak]))
"""


def write(path: Path, columns: dict[str, object], **options: object) -> Path:
    parquet.write_table(pa.table(columns), path, compression="zstd", **options)
    assert path.stat().st_size < 60_000
    return path


def repeated(value: object, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([value]))


def with_a_lying_footer(path: Path) -> Path:
    """Every size of 100 MiB and more in the footer becomes one of 300 bytes."""
    data = bytearray(path.read_bytes())
    column = parquet.ParquetFile(path).metadata.row_group(0).column(1)
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    truth, lie = column.total_uncompressed_size * 2, bytearray()
    for shift in range(0, 35, 7):
        lie.append((600 >> shift & 127) | (128 if shift < 28 else 0))
    honest = bytes((truth >> shift & 127) | (128 if shift < 28 else 0) for shift in range(0, 35, 7))
    place = data.index(honest, start)
    data[place : place + 5] = lie
    path.write_bytes(data)
    assert parquet.ParquetFile(path).metadata.row_group(0).column(1).total_uncompressed_size == 300
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one long text", (1, 1, "its pages unpack to 300 MiB; accepted: 256 MiB")),
        ("a lying footer", (1, 1, "its pages unpack to 300 MiB; accepted: 256 MiB")),
        ("one text a thousand times", (1000, 0, None)),
        ("one tag in a thousand lists", (0, 300, "it is longer than 16 MiB")),
        ("long beginnings", (40, 0, None)),
        ("a list of millions", (0, 1, "its lists hold 5,000,000 values; accepted: 4,194,304")),
        ("wide nulls", (0, 9, "its pages unpack to 300 MiB; accepted: 256 MiB")),
    ],
)
def test_little_memory_is_taken_for_a_small_file(
    tmp_path: Path, name: str, expected: tuple[int, int, str | None]
) -> None:
    path = tmp_path / "d.parquet"
    ids = [str(number) for number in range(1000)]
    long = "x" * (300 * MIB) if name in ("one long text", "a lying footer") else "y" * MIB
    if name in ("one long text", "a lying footer"):
        write(path, {"id": ["a", "b"], "text": [long, "fine"]}, row_group_size=1)
        if name == "a lying footer":
            with_a_lying_footer(path)
    elif name == "one text a thousand times":
        write(path, {"id": ids, "text": repeated(long, 1000)})
    elif name == "one tag in a thousand lists":
        tags = pa.ListArray.from_arrays(list(range(0, 300 * 20 + 1, 20)), repeated(long, 300 * 20))
        write(path, {"id": ids[:300], "text": ids[:300], "tags": tags})
    elif name == "long beginnings":
        write(
            path,
            {"id": ids[:40], "text": [f"{long}{number}" for number in range(40)]},
            use_dictionary=False,
            column_encoding={"text": "DELTA_BYTE_ARRAY"},
        )
    elif name == "a list of millions":
        write(path, {"id": ["a"], "text": ["b"], "more": pa.array([[0] * 5_000_000], pa.list_(pa.int8()))})
    else:
        nulls = pa.array([None] * 9, pa.binary(300 * MIB // 10))
        write(path, {"id": ids[:9], "text": ids[:9], **{f"more{n}": nulls for n in range(10)}})
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, check=True)
    documents, skipped, reasons, peak = json.loads(done.stdout)
    assert (documents, skipped > 0, (reasons or [None])[0]) == (expected[0], expected[1] > 0, expected[2])
    assert peak < 500


def test_a_row_over_the_limit_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    texts = ["before", "x" * (17 * MIB), "after"]
    write(tmp_path / "d.parquet", {"id": ["a", "b", "c"], "text": texts})
    documents, reports = read(tmp_path / "d.parquet")
    assert [document.text for document in documents] == ["before", "after"]
    assert reports == [f"{tmp_path / 'd.parquet'} row 2: it is longer than 16 MiB"]


def test_a_row_group_over_the_limit_is_named_by_its_rows(tmp_path: Path) -> None:
    texts = ["a", "b", "x" * (257 * MIB), "d"]
    write(tmp_path / "d.parquet", {"id": list("abcd"), "text": texts}, row_group_size=2)
    documents, reports = read(tmp_path / "d.parquet")
    assert [document.id for document in documents] == ["a", "b"]
    (report,) = reports
    assert report.startswith(f"{tmp_path / 'd.parquet'} rows 3 to 4: its pages unpack to ")


def test_a_value_that_python_cannot_hold_is_text_and_as_a_time_costs_its_row_alone(tmp_path: Path) -> None:
    days = pa.array([0, 2**31 - 1, 1], pa.date32())
    columns = {"id": list("abc"), "text": ["one", "two", "three"], "day": days}
    write(tmp_path / "d.parquet", columns)
    documents, reports = read(tmp_path / "d.parquet")
    assert [document.metadata["day"] for document in documents] == [
        "1970-01-01",
        "2147483647 (date32[day])",
        "1970-01-02",
    ]
    assert reports == []
    write(tmp_path / "d.parquet", columns | {"timestamp": days})
    documents, (report,) = read(tmp_path / "d.parquet")
    assert [document.id for document in documents] == ["a", "c"]
    assert report.startswith(
        f"{tmp_path / 'd.parquet'} row 2: field 'timestamp' is '2147483647 (date32[day])'"
    )


def test_every_kind_of_column_is_read(tmp_path: Path) -> None:
    columns: dict[str, object] = {
        "id": ["a", "b"],
        "text": pa.array(["one", "two"], pa.large_string()),
        "category": pa.array(["q", None]).dictionary_encode(),
        "view": pa.array(["v", "w"], pa.string_view()),
        "bits": pa.array([True, None]),
        "tags": [["x", "y"], []],
        "pairs": pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string())),
        "inner": [{"n": 1, "s": "t"}, None],
        "moment": pa.array([1_500, None], pa.timestamp("ns")),
        "nothing": [None, None],
    }
    for version in ("1.0", "2.0"):
        write(tmp_path / "d.parquet", columns, data_page_version=version, write_page_checksum=True)
        documents, reports = read(tmp_path / "d.parquet")
        assert reports == []
        assert [document.text for document in documents] == ["one", "two"]
        assert documents[0].metadata == {
            "category": "q",
            "view": "v",
            "bits": True,
            "tags": ["x", "y"],
            "pairs": [["k", "v"]],
            "inner": {"n": 1, "s": "t"},
            "moment": "1970-01-01T00:00:00.000001",
            "nothing": None,
        }
