"""With --json an error is one line of JSON on stderr, whatever went wrong and whichever command it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mbc_store.errors import StoreNotFound

from mbc_cli.cli.app import build_command, leaf_commands
from mbc_cli.errors import ExitCode
from tests.support.run_mbc import Result, RunMbc

TAKING_JSON = {
    name: leaf
    for name, leaf in leaf_commands(build_command()).items()
    if "json" in {parameter.name for parameter in leaf.params}
}


def error_of(result: Result) -> dict[str, Any]:
    """The fields of the one line on stderr."""
    assert result.out == ""
    (line,) = result.err.splitlines()
    read = json.loads(line)
    assert set(read) == {"error"}
    assert list(read["error"]) == ["kind", "message", "hint", "exit_code"]
    assert read["error"]["exit_code"] == result.code
    fields: dict[str, Any] = read["error"]
    return fields


@pytest.mark.parametrize("name", TAKING_JSON)
def test_wrong_usage_of_every_command_that_takes_json_is_one_line_of_json(mbc: RunMbc, name: str) -> None:
    found = error_of(mbc(*name.split(), "--json", "--no-such-option"))
    assert found["kind"] == "usage"
    assert found["message"].startswith("no such option: --no-such-option")
    assert found["hint"] == f"see mbc {name} --help"


def test_json_may_stand_behind_what_is_wrong_but_not_behind_two_dashes(mbc: RunMbc) -> None:
    assert error_of(mbc("memory", "history", "--limit", "few", "--json"))["kind"] == "usage"
    assert error_of(mbc("memroy", "info", "--json"))["message"].startswith("no such command 'memroy'")
    assert mbc("memory", "show", "--", "--json", "extra").err.startswith("error: ")


@pytest.mark.parametrize("command", ["info", "list", "history", "verify", "gc", "compact", "repair"])
def test_a_store_that_is_not_there_has_its_kind_and_a_way_out(
    mbc: RunMbc, tmp_path: Path, command: str
) -> None:
    found = error_of(mbc("memory", command, "--json", "--store", tmp_path / "none.mbc"))
    assert found["kind"] == StoreNotFound.kind
    assert found["exit_code"] == ExitCode.FAILED
    assert "none.mbc" in found["message"]
    assert found["hint"]


def test_json_from_a_variable_or_a_file_counts_too(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mbc.yaml").write_text("memory: {info: {json: true}}\n")
    assert error_of(mbc("--quiet", "memory", "info", "--store", "none.mbc"))["kind"] == StoreNotFound.kind
    monkeypatch.setenv("MBC_MEMORY_LIST_JSON", "1")
    assert error_of(mbc("--quiet", "memory", "list", "--store", "none.mbc"))["kind"] == StoreNotFound.kind
    assert mbc("--quiet", "memory", "history", "--store", "none.mbc").err.startswith("error: ")


def test_what_a_hostile_name_holds_is_escaped(mbc: RunMbc, tmp_path: Path) -> None:
    result = mbc("memory", "info", "--json", "--store", f"{tmp_path}/a\x1b[2J\n\u202eb.mbc")
    assert "\x1b" not in result.err
    assert "\u202e" not in result.err
    assert "a\x1b[2J" in error_of(result)["message"] or "a\\x1b[2J" in error_of(result)["message"]


def test_an_error_without_json_is_for_people_also_after_one_with_json(mbc: RunMbc, tmp_path: Path) -> None:
    error_of(mbc("memory", "info", "--json", "--store", tmp_path / "none.mbc"))
    told = mbc("memory", "info", "--store", tmp_path / "none.mbc").err.splitlines()
    assert [line.split(":")[0] for line in told] == ["error", "hint"]
