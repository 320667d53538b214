"""Every setting is shown, with its value and who says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mbc_cli.cli.app import build_command, leaf_commands
from tests.support.run_mbc import RunMbc


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(mbc: RunMbc, *arguments: str) -> dict[tuple[str | None, str], dict[str, Any]]:
    """Settings by command and option."""
    result = mbc(*arguments, "config", "show", "--json")
    assert result.code == 0, result.err
    lines = [json.loads(line) for line in result.out.splitlines()]
    return {(line["command"], line["option"]): line for line in lines}


def test_a_value_comes_from_a_variable_before_a_file_before_the_default(
    mbc: RunMbc, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mbc.yaml").write_text("device: cpu\nencode: {batch_size: 3}\nmemory: {list: {limit: 4}}\n")
    monkeypatch.setenv("MBC_STORE", "mine.mbc")
    monkeypatch.setenv("MBC_ENCODE_COMMIT_EVERY", "11")
    monkeypatch.setenv("MBC_MEMORY_LIST_LIMIT", "5")
    found = shown(mbc)
    parts = {key: (each["value"], each["source"], each["name"]) for key, each in found.items()}
    assert parts[None, "store"] == ("mine.mbc", "variable", "MBC_STORE")
    assert parts["encode", "commit_every"] == (11, "variable", "MBC_ENCODE_COMMIT_EVERY")
    assert parts["memory list", "limit"] == (5, "variable", "MBC_MEMORY_LIST_LIMIT")
    assert parts["encode", "batch_size"] == (3, "file", "mbc.yaml")
    assert parts[None, "batch_size"] == (16, "default", None)
    assert parts[None, "device"] == ("cpu", "file", "mbc.yaml")
    assert parts["encode", "title_field"] == ("title", "default", None)


def test_a_file_that_is_named_is_the_one_told(mbc: RunMbc) -> None:
    Path("other.yaml").write_text("query: {top_k: 9}\n")
    found = shown(mbc, "--config", "other.yaml")
    assert found["query", "top_k"]["name"] == "other.yaml"
    assert found["query", "top_k"]["value"] == 9


def test_every_option_of_every_command_is_among_them(mbc: RunMbc) -> None:
    found = shown(mbc)
    for name, leaf in leaf_commands(build_command()).items():
        for option in leaf.params:
            if option.param_type_name == "option" and option.expose_value and option.name != "help":
                assert (name, option.name) in found or (None, option.name) in found
    assert ("mbc", "quiet") in found


def test_a_value_that_a_command_would_refuse_is_shown_as_it_stands(
    mbc: RunMbc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MBC_ENCODE_WINDOW", "wide")
    assert shown(mbc)["encode", "window"]["value"] == "wide"


def test_text_is_a_table_that_names_the_source(mbc: RunMbc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBC_DEVICE", "cuda:3")
    lines = [line.split() for line in mbc("config", "show").out.splitlines()]
    assert lines[0] == ["setting", "value", "from"]
    assert ["device", "cuda:3", "variable", "MBC_DEVICE"] in lines
    assert ["encode", "overlap", "-", "default"] in lines
