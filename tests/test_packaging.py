"""The distribution: what its wheel holds, that it runs where a user installs it, what hints call it."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from mbc_cli import __version__
from mbc_cli.errors import DISTRIBUTION, install_hint
from mbc_cli.inference.adapters import BUNDLED_ADAPTERS
from tests.support.run_mbc import process_environment

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENT = {
    "id": "takeover",
    "text": "Maria Lindqvist bought Tornado Records of Salisbury. The price was 412 million dollars.",
}


def run(command: Iterable[str | Path], cwd: Path) -> str:
    """What ``command`` wrote to stdout, without a PYTHONPATH that would lead back to this working tree."""
    environment = {k: v for k, v in process_environment().items() if k != "PYTHONPATH"}
    done = subprocess.run([*command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run([sys.executable, *build, "--wheel-dir", folder, ROOT], folder)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of a fresh environment that holds the wheel, beside the libraries of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    paths = {"base": str(folder), "platbase": str(folder)}
    scripts = Path(sysconfig.get_path("scripts", "venv", paths))
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    run([sys.executable, "-m", "pip", "--python", scripts / "python", *install], folder)
    # Only now: pip would take what is installed here for installed there. A path in a .pth file brings the
    # libraries of its folder, but not that folder's own .pth files, one of which leads to this working tree.
    libraries = Path(sysconfig.get_path("purelib", "venv", paths)) / "libraries.pth"
    libraries.write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return scripts


def test_the_hints_name_this_distribution_and_extras_that_it_has() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    assert install_hint("quantize") == "pip install 'mbc-memory[quantize]'"
    assert {"datasets", "quantize", "server", "tensorboard", "wandb"} <= PROJECT[
        "optional-dependencies"
    ].keys()


def test_the_wheel_holds_the_two_packages_whole_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = f"mbc_memory-{__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"mbc_cli", "mbc_store", metadata}
    sources = {
        str(path.relative_to(package.parent))
        for package in (ROOT / "mbc_cli", ROOT / "store" / "mbc_store")
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if not name.startswith(metadata)} == sources
    adapters = {f"mbc_cli/default_adapters/{name}/config.yaml" for name in BUNDLED_ADAPTERS.values()}
    assert {"mbc_cli/py.typed", "mbc_store/py.typed", *adapters} <= names


@pytest.mark.slow
def test_the_installed_wheel_answers_beside_files_named_like_packages(
    installed: Path, tmp_path: Path
) -> None:
    for name in ("store.py", "tests.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the user was run')\n")
    (tmp_path / "news.jsonl").write_text(json.dumps(DOCUMENT) + "\n")
    script, module = [installed / "mbc"], [installed / "python", "-m", "mbc_cli"]
    where = run([installed / "python", "-c", "import mbc_store, mbc_cli; print(mbc_cli.__file__)"], tmp_path)
    assert Path(where).is_relative_to(installed.parent)
    run([*script, "encode", "news.jsonl", "--store", "news.store", "--adapter", "news"], tmp_path)
    question = "What organisation is Maria Lindqvist connected with?"
    # `python -m` puts the current folder first on the path.
    answered = run([*module, "query", question, "--store", "news.store", "--json"], tmp_path)
    assert json.loads(answered)["answer"] == "Tornado Records"
