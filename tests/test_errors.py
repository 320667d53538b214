"""The tree of errors: every failure has a class, and every class a kind and an exit code that stay."""

from __future__ import annotations

import ast
from pathlib import Path

from mbc_cli.errors import ExitCode, MbcError, UsageError

ROOT = Path(__file__).parents[1]


def descendants(kind: type[Exception]) -> list[type[Exception]]:
    return [child for own in kind.__subclasses__() for child in (own, *descendants(own))]


def test_every_class_of_error_has_a_kind_of_its_own() -> None:
    classes = [MbcError, *(c for c in descendants(MbcError) if c.__module__ == "mbc_cli.errors")]
    kinds = [vars(each)["kind"] for each in classes]
    assert len(set(kinds)) == len(kinds)


def test_only_wrong_usage_exits_with_two_and_can_be_caught_as_value_error() -> None:
    for each in descendants(MbcError):
        assert (each.exit_code == ExitCode.USAGE) == issubclass(each, UsageError)
    assert issubclass(UsageError, ValueError)


def test_every_error_that_is_raised_belongs_to_a_class_that_says_what_to_do() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "mbc_cli").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id == "MbcError"
    ]
    assert found == []
