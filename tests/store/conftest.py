"""Stores of tiny, unequal dimensions: 3 slots, 2 levels, 32 codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from mbc_store import MemoryStore

from tests.support.run_mbc import mbc
from tests.support.store import SMALL

__all__ = ["mbc"]


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """An empty store."""
    return MemoryStore.create(tmp_path / "store", SMALL)
