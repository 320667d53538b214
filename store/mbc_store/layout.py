"""The arrays of each version of the format: shapes, chunks and compression (docs/store-format.md)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec, BytesBytesCodec
from zarr.codecs import Crc32cCodec, TransposeCodec, ZstdCodec
from zarr.codecs.numcodecs import PCodec

from mbc_store.records import NO_TIMESTAMP
from mbc_store.schema import VERSION, StoreConfig

ROWS_PER_CHUNK = 4096
# Commits pack the last chunk of an array anew, and rewrite its list of chunks: large chunks where packing is
# cheap. Codes: enough rows for one set of bins per slot to weigh little. Ids: few, look-ups unpack a chunk.
_ROWS_PER_CHUNK = {
    1: {"documents/text": 256},
    2: {
        "passages/codes": 8192,
        "passages/alive": 65536,
        "passages/location": 8192,
        "documents/digest": 8192,
        "documents/first_row": 16384,
        "documents/timestamp": 8192,
        "documents/text": 256,
    },
}
_SMALLEST_CAPACITY = {1: 4096, 2: 65536}
ZSTD_LEVEL = 5
PCO_LEVEL = 4
UNORDERED_LEVEL = 8


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array: shape beyond the first axis, rows per chunk, dtype and the value of unwritten rows.

    Attributes:
        optional: chunks that hold only fill values need not exist.
        by_column: the row axis is stored last, so that each column can be packed by itself.
        unordered: neighbouring values tell nothing of each other.
    """

    tail: tuple[int, ...]
    rows_per_chunk: int
    dtype: str
    fill: Any
    optional: bool = False
    by_column: bool = False
    unordered: bool = False

    @property
    def numpy_dtype(self) -> np.dtype:
        """Of the values in memory: texts are Python objects."""
        return np.dtype(object if self.dtype == "str" else self.dtype)

    @property
    def columns(self) -> int:
        """Values in a row."""
        return math.prod(self.tail)

    @property
    def stored_axes(self) -> tuple[int, ...]:
        """Axes in the order in which they are stored."""
        axes = tuple(range(1 + len(self.tail)))
        return (*axes[1:], 0) if self.by_column else axes


def array_specs(config: StoreConfig, version: int = VERSION) -> dict[str, ArraySpec]:
    """Every growing array by path. Rows are passages under ``passages/``, documents under ``documents/``."""

    def spec(
        path: str, dtype: str, fill: Any, tail: tuple[int, ...] = (), optional: bool = False
    ) -> ArraySpec:
        rows = _ROWS_PER_CHUNK[version].get(path, ROWS_PER_CHUNK)
        by_column = version > 1 and bool(tail)
        return ArraySpec(tail, rows, dtype, fill, optional, by_column, unordered=path == "passages/codes")

    arrays: list[tuple[Any, ...]] = [
        ("passages/codes", "uint16", 0, (config.slots, config.levels)),
        # Appended rows are alive by the fill value, so only commits that forget write this array.
        ("passages/alive", "bool", version > 1, (), version > 1),
        ("passages/location", "int64", 0, (3,)),
        ("documents/id", "str", ""),
        ("documents/digest", "uint64", 0),
        ("documents/first_row", "int64", 0),
        ("documents/timestamp", "int64", NO_TIMESTAMP, (), True),
        ("documents/title", "str", "", (), True),
        ("documents/metadata", "str", "", (), True),
    ]
    if config.keep_text:
        arrays.append(("documents/text", "str", "", (), True))
    return {array[0]: spec(*array) for array in arrays}


def counts_spec(config: StoreConfig) -> ArraySpec:
    """``code_counts`` (T, L, K): how many living passages hold each code. One chunk."""
    return ArraySpec((config.levels, config.codes), config.slots, "int64", 0, unordered=True)


def capacity(rows: int, version: int = VERSION) -> int:
    """Rows of a growing array when ``rows`` are written: a power of two of the smallest, so that few commits
    rewrite array metadata."""
    smallest = _SMALLEST_CAPACITY[version]
    return smallest << (-(-max(rows, 1) // smallest) - 1).bit_length()


def codec_names(spec: ArraySpec) -> list[str]:
    """Codecs of an array, in the order in which they encode."""
    if spec.dtype == "str":
        return ["vlen-utf8", "zstd", "crc32c"]
    if spec.dtype == "bool":
        return ["bytes", "zstd", "crc32c"]
    return [*(["transpose"] if spec.by_column else []), "numcodecs.pcodec", "crc32c"]


def _codecs(
    spec: ArraySpec,
) -> tuple[list[ArrayArrayCodec], ArrayBytesCodec | str, list[BytesBytesCodec]]:
    """Filters, serializer and compressors for Zarr."""
    if spec.dtype in ("str", "bool"):
        return [], "auto", [ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()]
    effort: dict[str, Any] = {"level": PCO_LEVEL}
    if spec.unordered:
        effort = {"level": UNORDERED_LEVEL, "mode_spec": "classic", "delta_spec": "none"}
    if not spec.by_column:
        return [], PCodec(**effort), [Crc32cCodec()]
    serializer = PCodec(**effort, equal_pages_up_to=spec.rows_per_chunk)
    return [TransposeCodec(order=spec.stored_axes)], serializer, [Crc32cCodec()]


@contextmanager
def quiet() -> Iterator[None]:
    """Zarr warns that pco and texts are not in its core specification; docs/store-format.md names them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


def create_array(group: zarr.Group, path: str, rows: int, spec: ArraySpec) -> zarr.Array:
    """An array of ``rows`` rows of fill values, replacing one of that path."""
    with quiet():
        filters, serializer, compressors = _codecs(spec)
        return group.create_array(
            path,
            shape=(rows, *spec.tail),
            chunks=(spec.rows_per_chunk, *spec.tail),
            dtype=spec.dtype,
            serializer=serializer,
            compressors=compressors,
            filters=filters,
            fill_value=spec.fill,
            overwrite=True,
        )


def create_arrays(group: zarr.Group, config: StoreConfig) -> None:
    """Lay out the arrays of an empty store in ``group``, by the newest version."""
    for path, spec in array_specs(config).items():
        create_array(group, path, capacity(0), spec)
    create_array(group, "code_counts", config.slots, counts_spec(config))
