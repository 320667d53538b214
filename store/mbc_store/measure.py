"""How large a store is and how well its codes are used."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mbc_store.location import Location
from mbc_store.waiting import wait

if TYPE_CHECKING:
    from mbc_store.snapshot import Snapshot


def code_statistics(counts: np.ndarray) -> tuple[float, float]:
    """Entropy of one passage's codes in bits, and the share of codes in use.

    Args:
        counts: (T, L, K).

    Returns:
        The Shannon entropy of each (slot, level), summed; and the mean over (slot, level) of the share of
        codes that occur.
    """
    total = counts.sum(axis=-1, keepdims=True)
    if not total.any():
        return 0.0, 0.0
    share = counts / np.maximum(total, 1)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return float(-(share * logs).sum()), float((counts > 0).mean())


def array_bytes(snapshot: Snapshot) -> dict[str, int]:
    """Compressed bytes of every array at ``snapshot``."""
    store = snapshot.session.store

    async def measure() -> dict[str, int]:
        keys = [key async for key in store.list_prefix("")]
        chunks = [key for key in keys if "/c/" in key or key.endswith("/c")]
        sizes = await asyncio.gather(*(store.getsize(key) for key in chunks))
        totals: dict[str, int] = {}
        for key, size in zip(chunks, sizes, strict=True):
            path = key.split("/c/")[0]
            path = "index" if path.startswith("index/") else path
            totals[path] = totals.get(path, 0) + size
        return dict(sorted(totals.items()))

    return wait(measure())


def disk_bytes(location: Location) -> int | None:
    """Everything under a local store, history included; None on object storage."""
    if location.path is None:
        return None
    return sum(_size(path) for path in location.repository_path.rglob("*"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0
