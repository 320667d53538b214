"""How large a store is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import icechunk

from mbc_store.location import Location
from mbc_store.waiting import wait


def array_bytes(session: icechunk.Session) -> dict[str, int]:
    """Compressed bytes of every array of a snapshot."""
    store = session.store

    async def measure() -> dict[str, int]:
        keys = [key async for key in store.list_prefix("")]
        chunks = [key for key in keys if "/c/" in key or key.endswith("/c")]
        sizes = await asyncio.gather(*(store.getsize(key) for key in chunks))
        totals: dict[str, int] = {}
        for key, size in zip(chunks, sizes, strict=True):
            path = key.split("/c/")[0]
            group = path.partition("/")[0]
            path = group if group in ("index", "postings") else path
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
