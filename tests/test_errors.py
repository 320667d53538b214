"""The tree of errors: every failure has a class, and every class a kind and an exit code that stay."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mbc_store import StoreError, StoreInUse

from mbc_cli.cli.app import as_mbc_error
from mbc_cli.errors import ExitCode, InternalError, MbcError, UsageError

ROOT = Path(__file__).parents[1]


def descendants(kind: type[Exception]) -> list[type[Exception]]:
    return [child for own in kind.__subclasses__() for child in (own, *descendants(own))]


CLASSES = [
    each
    for base in (MbcError, StoreError)
    for each in (base, *descendants(base))
    if each.__module__ in ("mbc_cli.errors", "mbc_store.errors")
]


def test_every_class_of_error_has_a_kind_of_its_own() -> None:
    kinds = [vars(each)["kind"] for each in CLASSES]
    assert len(set(kinds)) == len(kinds)


def test_the_documents_list_every_class_with_its_kind_and_exit_code() -> None:
    page = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| `([\w-]+)` \| (\d+) \|", page, re.MULTILINE)
    codes = {each: as_mbc_error(each("it failed")).exit_code for each in CLASSES}
    assert listed == [(each.__name__, vars(each)["kind"], str(int(codes[each]))) for each in CLASSES]


def test_an_error_of_the_store_is_shown_under_its_own_kind() -> None:
    shown = as_mbc_error(StoreInUse("somebody reads", "wait"))
    assert (shown.kind, shown.message, shown.hint) == (StoreInUse.kind, "somebody reads", "wait")


def test_a_fault_of_ours_asks_to_be_reported() -> None:
    shown = as_mbc_error(TypeError("unsupported operand"))
    assert isinstance(shown, InternalError)
    assert "please report" in (shown.hint or "")


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
