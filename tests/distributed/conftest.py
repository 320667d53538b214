"""Fixtures of what runs on many machines."""

from __future__ import annotations

from tests.support.run_mbc import mbc

__all__ = ["mbc"]
