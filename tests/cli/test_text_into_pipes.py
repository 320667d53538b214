"""Text that nobody's terminal shows: lines without padding, values as JSON, and each problem once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mbc_store import MemoryStore
from mbc_store.verification import Problem

from mbc_cli.cli import output
from mbc_cli.cli.problem_report import problem_lines
from tests.support.run_mbc import RunMbc
from tests.support.store.operations import SMALL, make_record


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = MemoryStore.create(tmp_path / "s.mbc", SMALL)
    with made.transaction() as transaction:
        metadata = {"source": "gazette", "pages": [3, 4], "lead": True, "desk": None}
        transaction.upsert([make_record("short", 1), make_record("x" * 90, 2, metadata=metadata)])
    made.tag("first")
    return tmp_path / "s.mbc"


@pytest.mark.parametrize(
    "command",
    [
        ["memory", "info"],
        ["memory", "list"],
        ["memory", "show", "short", "--codes"],
        ["memory", "history"],
        ["memory", "repair"],
        ["memory", "gc", "--dry-run"],
        ["memory", "compact", "--purge", "--dry-run"],
        ["memory", "rollback", "first", "--dry-run"],
    ],
    ids=" ".join,
)
def test_no_line_ends_in_blanks_and_no_value_is_a_python_literal(
    mbc: RunMbc, store: Path, command: list[str]
) -> None:
    result = mbc(*command, "--store", store)
    assert result.code == 0
    assert result.out
    for line in result.out.splitlines():
        assert line == line.rstrip()
        for python in ("None", "True", "False", "{'", "['", "('", "()", "array(", "-0\n"):
            assert python not in f"{line}\n"


def test_metadata_in_a_table_is_json(mbc: RunMbc, store: Path) -> None:
    rows = mbc("memory", "list", "--store", store).out.splitlines()[1:]
    (row,) = [row for row in rows if "gazette" in row]
    assert json.loads(row[row.index("{") :]) == {
        "source": "gazette",
        "pages": [3, 4],
        "lead": True,
        "desk": None,
    }


def test_columns_stand_below_each_other_but_one_long_cell_does_not_pad_all_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.write_table(
        ["name", "bytes", "note"], [["a", 1234567, "n"], ["b" * 300, 8, None], ["c", 90, "mm"]]
    )
    heading, first, long, last = capsys.readouterr().out.splitlines()
    assert heading.index("note") == first.rindex("n") == last.index("mm")
    assert len(first) < 60
    assert long.startswith("b" * 300 + "  ")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "true"),
        (-0.0, "0"),
        (float("nan"), "-"),
        (1234.5, "1,234"),
        (("a", 1), '["a", 1]'),
        ({"k": {"größe": None}}, '{"k": {"größe": null}}'),
        ([Problem("counts", "m")], '[{"kind": "counts", "message": "m"}]'),
        (Path("a/b"), "a/b"),
        (datetime(2026, 5, 1, tzinfo=UTC), "2026-05-01T00:00:00+00:00"),
        ("two\nlines", "two\\nlines"),
    ],
)
def test_a_value_is_json_where_it_is_not_text_or_a_number(
    capsys: pytest.CaptureFixture[str], value: object, shown: str
) -> None:
    output.write_fields({"a name": value})
    assert capsys.readouterr().out == f"a name  {shown}\n"


def test_minus_zero_is_zero_in_json_too_and_codes_that_are_all_alike_have_no_entropy(
    mbc: RunMbc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = MemoryStore.create(tmp_path / "one.mbc", SMALL)
    with made.transaction() as transaction:
        transaction.upsert([make_record("only", 1, passages=1)])
    shown = mbc("memory", "info", "--json", "--store", tmp_path / "one.mbc").out
    assert "-0" not in str(json.loads(shown)["entropy_of_the_codes"])
    output.write_json({"x": -0.0})
    assert capsys.readouterr().out == '{"x": 0.0}\n'


def test_the_same_problem_is_said_once_with_the_first_few_and_a_count() -> None:
    many = [Problem("unreadable", f"the text of 'doc-{n}' cannot be read") for n in range(60)]
    same = [Problem("unreadable", "the metadata of a document is not a JSON object: '{'")] * 60
    other = [Problem("counts", "the code counts differ from the codes")]
    assert problem_lines([*many, *same, *other]) == [
        "unreadable: the text of 'doc-0' cannot be read",
        "unreadable: the text of 'doc-1' cannot be read",
        "unreadable: the text of 'doc-2' cannot be read",
        "unreadable: 57 more like these",
        "unreadable: the metadata of a document is not a JSON object: '{'",
        "unreadable: 59 more like this",
        "counts: the code counts differ from the codes",
    ]


def test_verify_and_repair_of_many_documents_damaged_alike_are_a_few_lines(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MemoryStore.create(tmp_path / "s.mbc", SMALL)
    with monkeypatch.context() as patched:
        patched.setattr("mbc_store.changes.encode_metadata", lambda metadata: "{broken")
        with made.transaction() as transaction:
            transaction.upsert([make_record(f"d{n}", 1) for n in range(41)])
    verified = mbc("memory", "verify", "--store", tmp_path / "s.mbc")
    assert verified.code == 1
    assert verified.out.splitlines() == [
        "unreadable: the metadata of a document is not a JSON object: '{broken'",
        "unreadable: 40 more like this",
    ]
    assert "has 41 problems" in verified.err
    planned = mbc("memory", "repair", "--dry-run", "--store", tmp_path / "s.mbc").out
    assert "40 more like this" in planned
    assert len(planned.splitlines()) < 20
    assert (
        len(json.loads(mbc("memory", "verify", "--json", "--store", tmp_path / "s.mbc").out)["problems"])
        == 41
    )
