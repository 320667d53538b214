"""Fixtures that several areas share. Heavy imports stay inside: store tests must not wait for torch."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jaxtyping import install_import_hook

import tests.support.shapes  # noqa: F401  (found by its name below)

# Shapes in the model's signatures are compared with every tensor that passes, from here on.
install_import_hook("mbc_cli.model", "tests.support.shapes.checked")

if TYPE_CHECKING:
    from mbc_cli.memory import Memory


def pytest_configure() -> None:
    # `nohup` ignores SIGHUP, and a shell starts background jobs with Ctrl-C ignored. Children inherit that,
    # and some tests send these signals to theirs.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def own_configuration_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests trust adapters in a configuration folder of their own, as do the processes that they start."""
    os.environ["MBC_CONFIG_HOME"] = str(tmp_path_factory.mktemp("configuration"))


@pytest.fixture(scope="session")
def adapter_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained adapter that reads the whole bank, around a random GPT-2."""
    from tests.support.tiny_memories import save_adapter_directory

    return save_adapter_directory(tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def memory(adapter_directory: Path, tmp_path: Path) -> Memory:
    """An empty memory on disk."""
    from mbc_cli.memory import Memory

    return Memory.create(tmp_path / "memory.mbc", adapter_directory, device="cpu")


@pytest.fixture(scope="session")
def select_adapter_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained adapter that selects passages, around a random GPT-2."""
    from tests.support.tiny_memories import save_adapter_directory
    from tests.support.tiny_models import select_config

    return save_adapter_directory(tmp_path_factory.mktemp("select"), make_config=select_config)


@pytest.fixture
def select_memory(select_adapter_directory: Path, tmp_path: Path) -> Memory:
    """An empty memory on disk, to be read by selection."""
    from mbc_cli.memory import Memory

    return Memory.create(tmp_path / "select.mbc", select_adapter_directory, device="cpu")
