"""The help of every command fits on one screen, and flags in it read as flags."""

from __future__ import annotations

import re

import pytest

from mbc_cli.cli.app import build_command, leaf_commands
from tests.support.run_mbc import RunMbc

WIDTH, HEIGHT = 80, 60
COMMANDS = leaf_commands(build_command())
PAGES = ["", "memory", "adapter", "base", *COMMANDS]


@pytest.fixture(autouse=True)
def a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


@pytest.mark.parametrize("name", PAGES)
def test_the_help_fits_in_60_lines_of_80_columns(mbc: RunMbc, name: str) -> None:
    page, _, examples = mbc(*name.split(), "--help").out.partition("\nExamples:\n")
    lines = page.splitlines()
    assert all(len(line) < WIDTH for line in lines)
    # An example stays on a line of its own, to be copied, and the terminal folds it.
    folded = sum(-(-len(line) // WIDTH) for line in ["Examples:", *examples.splitlines()]) if examples else 0
    assert len(lines) + folded <= HEIGHT


@pytest.mark.parametrize("name", COMMANDS)
def test_options_read_as_they_are_typed(mbc: RunMbc, name: str) -> None:
    page = mbc(*name.split(), "--help").out
    assert "<" not in page.partition("Arguments:")[2].replace("!= < <= > >=", "").partition("Examples:")[0]
    assert re.search(r"^Usage: mbc \S.*\[OPTIONS\]", page)
    assert "{" not in page.splitlines()[0]
    for option in COMMANDS[name].params:
        if option.param_type_name != "option" or option.hidden:
            continue
        (flag,) = [
            line for line in page.splitlines() if re.match(rf"  (-\w, )?{option.opts[0]}\b(?!-)", line)
        ]
        typed = flag.strip().split("  ")[0]
        assert bool(re.search(r"[^-, /] [^-/ ]", typed)) != option.is_flag, flag


def test_what_may_be_left_out_stands_in_brackets_and_what_may_be_many_has_dots(mbc: RunMbc) -> None:
    first = {name: mbc(*name.split(), "--help").out.splitlines()[0] for name in ("query", "memory diff")}
    assert first == {
        "query": "Usage: mbc query [OPTIONS] QUESTION...",
        "memory diff": "Usage: mbc memory diff [OPTIONS] A [B]",
    }


def test_the_list_of_commands_says_whole_sentences(mbc: RunMbc) -> None:
    for name in ("", "memory", "adapter"):
        assert "..." not in mbc(*name.split(), "--help").out.partition("Commands:")[2]


def test_many_options_are_in_sections_and_few_are_not(mbc: RunMbc) -> None:
    headings = re.findall(r"^(\w+):$", mbc("encode", "--help").out, re.MULTILINE)
    assert headings == ["Arguments", "Options", "Model", "Input", "Output", "Examples"]
    assert re.findall(r"^(\w+):$", mbc("memory", "verify", "--help").out, re.MULTILINE) == [
        "Options",
        "Examples",
    ]
