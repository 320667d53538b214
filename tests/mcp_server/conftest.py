"""Fixtures of these tests."""

from __future__ import annotations

from tests.support.run_mbc import mbc

__all__ = ["mbc"]
