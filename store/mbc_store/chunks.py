"""Chunks: to bytes and back, by exactly the codecs that each array's Zarr metadata names, and in memory.

Every chunk is decoded by the type the format gives its array, never by what a file claims about itself.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import google_crc32c
import numpy as np
import zstandard
from numcodecs import VLenUTF8
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, PagingSpec, standalone

from mbc_store.errors import DamagedChunk, InvalidRecord
from mbc_store.format import PCO_LEVEL, UNORDERED_LEVEL, ZSTD_LEVEL, ArraySpec

_CHECKSUM_BYTES = 4
_FEW_ROWS = 16
_ROWS_LOOKED_AT = 256
_HASTY_LEVEL = 6
CACHED_BYTES = 64 * 2**20
TEXT_BYTES = 64
"""What a text weighs in memory beyond its characters."""
Key = tuple[str, int]
"""Path of the array, number of the chunk."""
_utf8 = VLenUTF8()


def empty_chunk(spec: ArraySpec) -> np.ndarray:
    """A chunk of fill values, of shape (rows_per_chunk, *tail)."""
    return np.full((spec.rows_per_chunk, *spec.tail), spec.fill, dtype=spec.numpy_dtype)


def encode_chunk(values: np.ndarray, spec: ArraySpec) -> bytes:
    """Compressed bytes of a whole chunk, with its CRC-32C at the end (little endian)."""
    if spec.dtype == "str":
        body = _compress(_utf8.encode(values), spec)
    elif spec.dtype == "bool":
        body = _compress(np.ascontiguousarray(values).tobytes(), spec)
    else:
        body = _encode_numbers(values, spec)
    return body + int(google_crc32c.value(body)).to_bytes(_CHECKSUM_BYTES, "little")


def decode_chunk(data: bytes, spec: ArraySpec) -> np.ndarray:
    """Inverse of ``encode_chunk``; the result may be read-only.

    Raises:
        DamagedChunk: wrong checksum, size or contents.
    """
    body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if google_crc32c.value(body) != int.from_bytes(checksum, "little"):
        raise DamagedChunk("its checksum does not match")
    shape = (spec.rows_per_chunk, *spec.tail)
    try:
        if spec.dtype == "str":
            values: np.ndarray = _utf8.decode(_texts(body, spec))
        elif spec.dtype == "bool":
            values = np.frombuffer(_decompress(body, spec), dtype=np.bool_)
        else:
            return _decode_numbers(body, spec)
        return values.reshape(shape)
    except (ValueError, RuntimeError, zstandard.ZstdError) as error:
        raise DamagedChunk(str(error)) from error


def _compress(data: bytes, spec: ArraySpec) -> bytes:
    if len(data) > spec.chunk_bytes:
        raise InvalidRecord(
            f"{spec.rows_per_chunk} neighbouring texts come to {len(data):,} bytes, a store holds "
            f"{spec.chunk_bytes:,} of them",
            "cut long documents into several",
        )
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(data)


def _decompress(body: bytes, spec: ArraySpec) -> bytes:
    """What a frame holds; one that claims more than a chunk may have is refused before memory is taken."""
    claimed = zstandard.frame_content_size(body)
    if claimed > spec.chunk_bytes:
        raise DamagedChunk(f"it claims {claimed:,} bytes, more than {spec.chunk_bytes:,}")
    return zstandard.ZstdDecompressor().decompress(body, max_output_size=spec.chunk_bytes)


def _texts(body: bytes, spec: ArraySpec) -> bytes:
    """What numcodecs decodes; it takes memory for as many texts as the first four bytes claim."""
    data, count = _decompress(body, spec), spec.rows_per_chunk * spec.columns
    if int.from_bytes(data[:4], "little") != count:
        raise DamagedChunk(f"it holds other than {count} texts")
    return data


def _encode_numbers(values: np.ndarray, spec: ArraySpec) -> bytes:
    """pco, with the columns, and the rows that are not in use yet, in pages of their own.

    A page has its own bins. Slots use their codes unequally often, and where fill values share bins with
    values they lengthen every one of them.
    """
    used, rows, width = _rows_in_use(values, spec), spec.rows_per_chunk, spec.columns
    stored = np.ascontiguousarray(values.transpose(spec.stored_axes), dtype=spec.dtype)
    if not spec.by_column:
        pages = [used * width, (rows - used) * width]
    elif used < _FEW_ROWS:  # a page costs some ten bytes
        pages = [rows * width]
    else:
        pages = [used, rows - used] * width
    return bytes(standalone.simple_compress(stored.reshape(-1), _effort(spec, [n for n in pages if n], used)))


def _rows_in_use(values: np.ndarray, spec: ArraySpec) -> int:
    """Rows up to the last that is not all fill values."""
    rows = values.reshape(spec.rows_per_chunk, spec.columns)
    for start in range((len(rows) - 1) // _ROWS_LOOKED_AT * _ROWS_LOOKED_AT, -1, -_ROWS_LOOKED_AT):
        written = np.flatnonzero(rows[start : start + _ROWS_LOOKED_AT] != spec.fill)
        if written.size:
            return start + int(written[-1]) // spec.columns + 1
    return 0


def _effort(spec: ArraySpec, pages: list[int], used: int) -> ChunkConfig:
    paging = PagingSpec.exact_page_sizes(pages)
    if not spec.unordered:
        return ChunkConfig(compression_level=PCO_LEVEL, paging_spec=paging)
    # A growing chunk of codes is packed anew by every commit, and for good by the one that fills it.
    level = _HASTY_LEVEL if used < spec.rows_per_chunk else UNORDERED_LEVEL
    return ChunkConfig(level, ModeSpec.classic(), DeltaSpec.none(), paging)


def _decode_numbers(body: bytes, spec: ArraySpec) -> np.ndarray:
    shape = (spec.rows_per_chunk, *spec.tail)
    stored = np.empty([shape[axis] for axis in spec.stored_axes], dtype=spec.dtype)
    progress = standalone.simple_decompress_into(body, stored.reshape(-1))
    if not progress.finished or progress.n_processed != stored.size:
        raise DamagedChunk(f"it holds other than {stored.size} values")
    return stored.transpose(np.argsort(spec.stored_axes))


def decode_attributes(metadata: bytes) -> dict[str, Any]:
    """Attributes of a Zarr group from its ``zarr.json``."""
    try:
        document = json.loads(metadata)
        attributes = document["attributes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedChunk(f"the header is not valid: {error}") from error
    if not isinstance(attributes, dict):
        raise DamagedChunk("the header's attributes are not an object")
    return attributes


def encode_attributes(attributes: Mapping[str, Any]) -> bytes:
    """The ``zarr.json`` of a Zarr group with these attributes."""
    return json.dumps({"attributes": attributes, "zarr_format": 3, "node_type": "group"}).encode()


class ChunkCache:
    """Decoded chunks, the least recently used ones given up first. Those handed out are shared: never write
    into one."""

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

    @property
    def full(self) -> bool:
        """Whether ``trim`` would drop something."""
        return self._bytes > CACHED_BYTES

    def trim(self) -> None:
        """Keep within ``CACHED_BYTES``. Not done by ``put``: what one read needs must stay until it ends."""
        while self.full:
            self.drop(next(iter(self._chunks)))
