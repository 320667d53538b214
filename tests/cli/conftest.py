"""Fixtures of the command line's tests."""

from __future__ import annotations

from tests.support.run_mbc import mbc

__all__ = ["mbc"]
