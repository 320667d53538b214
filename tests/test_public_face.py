"""What ``import mbc_cli`` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mbc_cli
from tests.test_architecture import loaded_by, within

ROOT = Path(__file__).parents[1]
NAMES = ["Memory", "Document", "Question", "Answer", "Source", "adapt", "load_adapter", "MbcError"]


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import mbc_cli; mbc_cli.__version__")
    assert within(loaded, "torch", "transformers", "numpy", "zarr", "icechunk", "pydantic", "yaml") == set()
    assert "mbc_cli.memory" not in loaded


def test_documents_and_errors_need_no_model() -> None:
    loaded = loaded_by("from mbc_cli import Document, Question, MbcError")
    assert within(loaded, "torch", "transformers", "zarr", "icechunk") == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_face_is_there(name: str) -> None:
    assert name in mbc_cli.__all__
    assert getattr(mbc_cli, name).__module__.startswith("mbc_cli.")


def test_all_names_nothing_else_and_an_unknown_one_is_an_attribute_error() -> None:
    assert set(mbc_cli.__all__) == {*NAMES, "__version__"}
    with pytest.raises(AttributeError, match="Memmory"):
        mbc_cli.Memmory  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "mbc_cli/__init__.py"
    done = subprocess.run(
        [sys.executable, "-m", "mbc_cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"mbc {mbc_cli.__version__}\n"


@pytest.mark.parametrize("folder", ["mbc_cli", "store/mbc_store"])
def test_both_packages_are_typed(folder: str) -> None:
    assert (ROOT / folder / "py.typed").is_file()
