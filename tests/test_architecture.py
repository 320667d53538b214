"""What a fresh interpreter loads, and who may write to the terminal.

The direction of dependence and the absence of circles are import-linter's contracts in pyproject.toml.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
WRITERS = {"print", "input"}
# What mbc_cli.files and mbc_cli.identifiers pass on: plain Python, without a library of the store's.
PASSED_ON = {"mbc_store", "mbc_store.durable", "mbc_store.errors", "mbc_store.identifiers"}
STREAMS = {("sys", "stdout"), ("sys", "stderr"), ("typer", "echo"), ("typer", "secho"), ("typer", "confirm")}


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> Iterator[str]:
    """The absolute names of all modules a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def loaded_by(statement: str) -> set[str]:
    """All modules a fresh interpreter holds after ``statement``."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def within(modules: set[str], *packages: str) -> set[str]:
    return {name for name in modules if any(name == p or name.startswith(f"{p}.") for p in packages)}


def test_no_file_imports_in_a_circle() -> None:
    # import-linter looks at siblings; a package and a file inside it can be a circle too.
    graph = grimp.build_graph("mbc_cli", "mbc_store", cache_dir=None)
    imported = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imported).prepare()  # its error names the circle


def test_the_store_loads_without_torch_and_without_the_command_line() -> None:
    assert within(loaded_by("import mbc_store"), "torch", "transformers", "mbc_cli", "typer") == set()


@pytest.mark.slow
def test_the_model_loads_without_the_store() -> None:
    loaded = loaded_by("import mbc_cli.model.memory_model")
    assert within(loaded, "mbc_store", "icechunk", "zarr") <= PASSED_ON


def test_the_corpus_loads_without_model_store_and_their_libraries() -> None:
    loaded = loaded_by("import mbc_cli.corpus.datasets, mbc_cli.corpus.passages")
    others = ("torch", "transformers", "mbc_store", "zarr", "mbc_cli.model", "mbc_cli.inference")
    assert within(loaded, *others) <= PASSED_ON


def test_the_commands_load_without_their_libraries() -> None:
    loaded = loaded_by("from mbc_cli.cli.app import build_command; build_command()")
    assert (
        within(loaded, "torch", "transformers", "pydantic", "zarr", "icechunk", "numpy", "pyarrow") == set()
    )


def test_nothing_imports_click_which_typer_carries_itself() -> None:
    for path in sources("mbc_cli", "store/mbc_store"):
        assert within(set(imports(path)), "click", "typer._click") == set(), path


def test_contributing_draws_the_tree_as_it_is() -> None:
    text = (ROOT / "docs" / "CONTRIBUTING.md").read_text()
    drawn = text.partition("mbc_cli/\n")[2].partition("\nstore/")[0]
    named = [name for line in drawn.splitlines() for name in line[:26].split() if line[2:3].strip()]
    unnamed = {"__init__.py", "__main__.py", "py.typed", "__pycache__"}
    there = {path.name for path in (ROOT / "mbc_cli").iterdir()}
    assert {name.rstrip("/") for name in named} == there - unnamed


def test_only_output_writes_to_stdout_and_stderr() -> None:
    found = []
    for path in sources("mbc_cli", "store/mbc_store"):
        if path == ROOT / "mbc_cli" / "cli" / "output.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WRITERS
            )
            named = (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and (node.value.id, node.attr) in STREAMS
            )
            if called or named:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_no_file_has_outgrown_one_idea() -> None:
    long = {
        str(p.relative_to(ROOT))
        for p in sources("mbc_cli", "store/mbc_store")
        if len(p.read_text().splitlines()) > 400
    }
    assert long == set()
