"""Fixtures of what runs on many machines."""

from __future__ import annotations

import pytest

from tests.support.run_mbc import mbc

__all__ = ["mbc"]


@pytest.fixture(autouse=True)
def workers_get_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray makes way for whatever else is running, such as other tests: its workers would starve."""
    monkeypatch.setenv("RAY_worker_niceness", "0")
