"""What a store is made of: its header, and the arrays with their shapes, chunks and compression
(docs/store-format.md)."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import zarr
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec, BytesBytesCodec
from zarr.codecs import Crc32cCodec, TransposeCodec, ZstdCodec
from zarr.codecs.numcodecs import PCodec

from mbc_store.errors import DamagedChunk, StoreCorrupt, StoreError

FORMAT = "mbc-store"
VERSION = 2

NO_TIMESTAMP = int(np.iinfo(np.int64).min)
"""Stored where a document has no timestamp; sorts before every real one."""
FIRST_TIMESTAMP, LAST_TIMESTAMP = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Microseconds since 1970 of the first and last moment that ISO 8601 and Python can write."""

ROWS_PER_CHUNK = 4096
# Commits pack the last chunk of an array anew, and rewrite its list of chunks: large chunks where packing is
# cheap. Codes: enough rows for one set of bins per slot to weigh little. Ids: few, look-ups unpack a chunk.
_ROWS_PER_CHUNK = {
    "passages/codes": 8192,
    "passages/alive": 65536,
    "passages/location": 8192,
    "documents/digest": 8192,
    "documents/first_row": 16384,
    "documents/timestamp": 8192,
    "documents/text": 256,
}
_SMALLEST_CAPACITY = 65536
ZSTD_LEVEL = 5
PCO_LEVEL = 4
UNORDERED_LEVEL = 8
MOST_ROWS = 2**40
MOST_FIELDS, MOST_COUNTS = 2**16, 2**26
"""Codes of a passage, and counts of codes: a chunk of either is held in memory."""
# UTF-8 bytes in a chunk: what is claimed is compared with this before memory is taken for it.
_TEXT_BYTES = {"documents/text": 512 * 2**20}
_SHORT_TEXT_BYTES = 64 * 2**20

_RUN_NAME = re.compile(r"run-\d+-\d+")
# Names that the header gives to fields of StoreConfig.
_HEADER_NAMES = {"num_quantizers": "levels", "codebook_size": "codes"}


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """What a store holds; fixed when it is made.

    Attributes:
        slots: T, context vectors per passage.
        num_quantizers: L, residual levels of the quantiser.
        codebook_size: K, codes per codebook (2 to 2^32).
        fingerprint: identifies the adapter whose codes these are.
        keep_text: whether texts are stored beside the codes.
        adapter: the adapter's directory or name, for messages only.
        base_model: the frozen LLM's id, for messages only.
        vector_width: C, components of the vectors that were quantised; only to compare sizes.
        quantization_error: mean over the documents that the adapter was trained on, in the unit of
            ``DocumentRecord.quantization_error``; what commits are compared with (``Commit.drift``).
        shared_counts: one count for a code in whatever slot, for large vocabularies that all slots share.
    """

    slots: int
    num_quantizers: int
    codebook_size: int
    fingerprint: str
    keep_text: bool = True
    adapter: str | None = None
    base_model: str | None = None
    vector_width: int | None = None
    quantization_error: float | None = None
    shared_counts: bool = False

    def __post_init__(self) -> None:
        for name in ("slots", "num_quantizers", "codebook_size", "vector_width"):
            value = getattr(self, name)
            if not _is_integer(value) and not (name == "vector_width" and value is None):
                raise StoreError(f"{name} is a whole number, not {value!r}")
        for name in ("fingerprint", "adapter", "base_model"):
            value = getattr(self, name)
            if not isinstance(value, str) and (name == "fingerprint" or value is not None):
                raise StoreError(f"{name} is a text, not {value!r}")
        for name in ("keep_text", "shared_counts"):
            if not isinstance(getattr(self, name), bool):
                raise StoreError(f"{name} is true or false, not {getattr(self, name)!r}")
        if self.slots < 1 or self.num_quantizers < 1:
            raise StoreError(
                f"slots and num_quantizers must be at least 1, got {self.slots} and {self.num_quantizers}"
            )
        if not 2 <= self.codebook_size <= 2**32:
            raise StoreError(f"a codebook has 2 to {2**32} codes, got {self.codebook_size}")
        if self.slots * self.num_quantizers > MOST_FIELDS or math.prod(self.counts_shape) > MOST_COUNTS:
            raise StoreError(
                f"codes of shape {self.code_shape} do not fit a store: at most {MOST_FIELDS} slots times "
                f"quantizers, and {MOST_COUNTS} counts"
            )
        error = self.quantization_error
        if error is not None and not (
            isinstance(error, int | float) and not isinstance(error, bool) and 0 <= error < math.inf
        ):
            raise StoreError(f"a quantisation error is a number from 0 on, not {error!r}")
        if not self.fingerprint:
            raise StoreError("a store needs the fingerprint of the adapter its codes come from")

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """(T, L, K)."""
        return self.slots, self.num_quantizers, self.codebook_size

    @property
    def counts_shape(self) -> tuple[int, int, int]:
        """(T, L, K), or (1, L, K) with ``shared_counts``."""
        return 1 if self.shared_counts else self.slots, self.num_quantizers, self.codebook_size

    @property
    def code_type(self) -> np.dtype:
        """Of codes in memory and on disk, where their packing makes of it what they need."""
        return np.dtype("uint16" if self.codebook_size <= 2**16 else "uint32")

    def header(self) -> dict[str, Any]:
        """As stores and exports hold it."""
        fields = {_HEADER_NAMES.get(name, name): value for name, value in asdict(self).items()}
        if not self.shared_counts:
            del fields["shared_counts"]
        return fields

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> StoreConfig:
        """Inverse of ``header``.

        Raises:
            StoreError: a value is not accepted.
            TypeError: a field is missing, unknown or of another type.
        """
        names = {stored: name for name, stored in _HEADER_NAMES.items()}
        return cls(**{names.get(name, name): value for name, value in header.items()})


@dataclass(frozen=True, slots=True)
class Lengths:
    """How much of the arrays is in use. Arrays are longer than that: they grow in steps.

    Attributes:
        rows: passages written, forgotten ones included.
        documents: documents written, forgotten and replaced ones included.
        alive: documents that are neither forgotten nor replaced.
    """

    rows: int
    documents: int
    alive: int

    def __post_init__(self) -> None:
        if not all(map(_is_integer, (self.rows, self.documents, self.alive))):
            raise StoreError(f"lengths are whole numbers, not {self}")
        if not 0 <= self.alive <= self.documents <= self.rows <= MOST_ROWS:
            raise StoreError(f"impossible {self}")

    def attributes(self) -> dict[str, Any]:
        return {"lengths": asdict(self)}


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def new_attributes(config: StoreConfig) -> dict[str, Any]:
    """The root group's attributes of an empty store."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": config.header(),
        "index_runs": [],
        **Lengths(0, 0, 0).attributes(),
    }


def read_attributes(attributes: Mapping[str, Any], location: object) -> tuple[StoreConfig, Lengths]:
    """Config and lengths from the root group's attributes, whose runs of the id index are checked too.

    Raises:
        StoreCorrupt: not a store of this format and version.
    """
    if attributes.get("format") != FORMAT:
        raise StoreCorrupt(f"{location} is not an mbc store", "check the path, or make one with `mbc encode`")
    version = attributes.get("version")
    if version != VERSION:
        raise StoreCorrupt(
            f"{location} has store format {version!r}, this program reads format {VERSION}",
            "open it with the version of mbc that wrote it, and export it there",
        )
    try:
        config, lengths = StoreConfig.from_header(attributes["config"]), Lengths(**attributes["lengths"])
        for runs, entries in (("index_runs", lengths.documents), ("posting_runs", lengths.rows)):
            for run in attributes.get(runs, []):
                if not _RUN_NAME.fullmatch(run["name"]) or not _is_integer(run["level"]):
                    raise ValueError(f"no run of an index is {run}")
                if not 0 <= run["start"] < run["stop"] <= entries:
                    raise ValueError(f"impossible {run}")
        return config, lengths
    except (ValueError, KeyError, TypeError, AttributeError, StoreError) as error:
        raise StoreCorrupt(f"{location} has a damaged header: {error}", "run `mbc memory repair`") from error


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array: shape beyond the first axis, rows per chunk, dtype and the value of unwritten rows.

    Attributes:
        optional: chunks that hold only fill values need not exist.
        by_column: the row axis is stored last, so that each column can be packed by itself.
        unordered: neighbouring values tell nothing of each other.
        text_bytes: what the texts of a chunk may come to in UTF-8.
    """

    tail: tuple[int, ...]
    rows_per_chunk: int
    dtype: str
    fill: Any
    optional: bool = False
    by_column: bool = False
    unordered: bool = False
    text_bytes: int = _SHORT_TEXT_BYTES

    @property
    def numpy_dtype(self) -> np.dtype:
        """Of the values in memory: texts are Python objects."""
        return np.dtype(object if self.dtype == "str" else self.dtype)

    @property
    def columns(self) -> int:
        """Values in a row."""
        return math.prod(self.tail)

    @property
    def chunk_bytes(self) -> int:
        """Most bytes of a decoded chunk."""
        if self.dtype == "str":
            return self.text_bytes
        return self.rows_per_chunk * self.columns * self.numpy_dtype.itemsize

    @property
    def stored_axes(self) -> tuple[int, ...]:
        """Axes in the order in which they are stored."""
        axes = tuple(range(1 + len(self.tail)))
        return (*axes[1:], 0) if self.by_column else axes


def array_specs(config: StoreConfig) -> dict[str, ArraySpec]:
    """Every growing array by path. Rows are passages under ``passages/``, documents under ``documents/``."""

    def spec(
        path: str, dtype: str, fill: Any, tail: tuple[int, ...] = (), optional: bool = False
    ) -> ArraySpec:
        rows = _ROWS_PER_CHUNK.get(path, ROWS_PER_CHUNK)
        unordered = path == "passages/codes"
        text_bytes = _TEXT_BYTES.get(path, _SHORT_TEXT_BYTES)
        return ArraySpec(tail, rows, dtype, fill, optional, bool(tail), unordered, text_bytes)

    arrays: list[tuple[Any, ...]] = [
        ("passages/codes", config.code_type.name, 0, (config.slots, config.num_quantizers)),
        # Appended rows are alive by the fill value, so only commits that forget write this array.
        ("passages/alive", "bool", True, (), True),
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


def check_values(path: str, values: np.ndarray, config: StoreConfig, lengths: Lengths) -> None:
    """Raise DamagedChunk where written values of a chunk break what readers rely on.

    Args:
        values: (n, ...) of array ``path``.
    """
    if not values.size:
        return
    if path == "passages/codes":
        sound = values.max() < config.codebook_size
    elif path == "passages/location":
        sound = values.min() >= 0 and (values[:, 1] <= values[:, 2]).all()
    elif path == "documents/first_row":
        sound = values[0] >= 0 and values[-1] < lengths.rows and (np.diff(values) > 0).all()
    elif path == "documents/timestamp":
        known = values[values != NO_TIMESTAMP]
        sound = ((known >= FIRST_TIMESTAMP) & (known <= LAST_TIMESTAMP)).all()
    else:
        return
    if not sound:
        raise DamagedChunk("it holds values that nobody writes")


def counts_spec(config: StoreConfig) -> ArraySpec:
    """``code_counts`` (T or 1, L, K): how many living passages hold each code. One chunk."""
    rows, *tail = config.counts_shape
    return ArraySpec(tuple(tail), rows, "int64", 0, unordered=True)


def capacity(rows: int) -> int:
    """Rows of a growing array when ``rows`` are written: a power of two of the smallest, so that few commits
    rewrite array metadata."""
    return _SMALLEST_CAPACITY << (-(-max(rows, 1) // _SMALLEST_CAPACITY) - 1).bit_length()


def codec_names(spec: ArraySpec) -> list[str]:
    """Codecs of an array, in the order in which they encode."""
    if spec.dtype == "str":
        return ["vlen-utf8", "zstd", "crc32c"]
    if spec.dtype == "bool":
        return ["bytes", "zstd", "crc32c"]
    return [*(["transpose"] if spec.by_column else []), "numcodecs.pcodec", "crc32c"]


def _codecs(
    spec: ArraySpec,
) -> tuple[list[ArrayArrayCodec], ArrayBytesCodec | Literal["auto"], list[BytesBytesCodec]]:
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


def dimension_names(path: str, axes: int) -> list[str]:
    """Names of an array's axes, by which xarray puts those of a group together."""
    group, _, _ = path.partition("/")
    first = {"passages": "passage", "documents": "document", "code_counts": "slot"}.get(group, "entry")
    rest = {"passages/codes": ["slot", "level"], "code_counts": ["level", "code"]}
    return [first, *rest.get(path, [f"{path.rpartition('/')[2]}_{n}" for n in range(1, axes)])]


def create_array(group: zarr.Group, path: str, rows: int, spec: ArraySpec) -> zarr.Array[Any]:
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
            dimension_names=dimension_names(path, 1 + len(spec.tail)),
            overwrite=True,
        )


def create_arrays(group: zarr.Group, config: StoreConfig) -> None:
    """Lay out the arrays of an empty store in ``group``."""
    for path, spec in array_specs(config).items():
        create_array(group, path, capacity(0), spec)
    create_array(group, "code_counts", config.counts_shape[0], counts_spec(config))
