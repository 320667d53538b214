"""Decoded chunks held in memory, the least recently used ones given up first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

CACHED_BYTES = 64 * 2**20
TEXT_BYTES = 64
"""What a text weighs beyond its characters."""
Key = tuple[str, int]


class ChunkCache:
    """Chunks by array path and number. Those handed out are shared: never write into one."""

    def __init__(self) -> None:
        self._chunks: OrderedDict[Key, tuple[np.ndarray, int]] = OrderedDict()
        self._bytes = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._chunks

    def get(self, key: Key) -> np.ndarray:
        """Raises KeyError."""
        self._chunks.move_to_end(key)
        return self._chunks[key][0]

    def put(self, key: Key, chunk: np.ndarray) -> None:
        self.drop(key)
        weight = chunk.nbytes if chunk.dtype != object else sum(map(len, chunk)) + TEXT_BYTES * len(chunk)
        self._chunks[key] = chunk, weight
        self._bytes += weight

    def drop(self, key: Key) -> None:
        """Does nothing where there is no such chunk."""
        _, weight = self._chunks.pop(key, (None, 0))
        self._bytes -= weight

    def keep(self, wanted: Callable[[Key], bool]) -> None:
        """Drop every chunk but those ``wanted``."""
        for key in [key for key in self._chunks if not wanted(key)]:
            self.drop(key)

    def trim(self) -> None:
        """Keep within ``CACHED_BYTES``. Not done by ``put``: what one read needs must stay until it ends."""
        while self._bytes > CACHED_BYTES:
            self.drop(next(iter(self._chunks)))
