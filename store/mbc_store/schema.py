"""What a store says of itself: its format, what it holds and how much (docs/store-format.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import icechunk

from mbc_store.errors import StoreCorrupt, StoreError

FORMAT = "mbc-store"
VERSION = 2
"""Of stores made now. Those of the versions before are read, changed, and upgraded by compaction."""
VERSIONS = (1, 2)

# Icechunk logs to stdout: that local commits are unsafe between processes (commit.py makes them
# safe), and errors that it raises as well.
icechunk.set_logs_filter("off")


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """What a store holds; fixed when it is made.

    Attributes:
        slots: T, context vectors per passage.
        levels: L, residual levels of the quantiser.
        codes: K, codes per codebook (2 to 65536).
        fingerprint: identifies the adapter whose codes these are.
        keep_text: whether texts are stored beside the codes.
        adapter: the adapter's directory or name, for messages only.
        base_model: the frozen LLM's id, for messages only.
        vector_width: C, components of the vectors that were quantised; only to compare sizes.
        quantization_error: mean over the documents that the adapter was trained on, in the unit of
            ``DocumentRecord.quantization_error``; what commits are compared with (``Commit.drift``).
    """

    slots: int
    levels: int
    codes: int
    fingerprint: str
    keep_text: bool = True
    adapter: str | None = None
    base_model: str | None = None
    vector_width: int | None = None
    quantization_error: float | None = None

    def __post_init__(self) -> None:
        if self.slots < 1 or self.levels < 1:
            raise StoreError(f"slots and levels must be at least 1, got {self.slots} and {self.levels}")
        if not 2 <= self.codes <= 65536:
            raise StoreError(f"a codebook has 2 to 65536 codes, got {self.codes}")
        error = self.quantization_error
        if error is not None and not (isinstance(error, int | float) and 0 <= error < math.inf):
            raise StoreError(f"a quantisation error is a number from 0 on, not {error!r}")
        if not self.fingerprint:
            raise StoreError("a store needs the fingerprint of the adapter its codes come from")


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

    def attributes(self) -> dict[str, Any]:
        return {"lengths": asdict(self)}


def new_attributes(config: StoreConfig) -> dict[str, Any]:
    """The root group's attributes of an empty store."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": asdict(config),
        "index_runs": [],
        **Lengths(0, 0, 0).attributes(),
    }


def read_attributes(attributes: Mapping[str, Any], location: object) -> tuple[StoreConfig, Lengths, int]:
    """Config, lengths and version of the format from the root group's attributes.

    Raises:
        StoreCorrupt: not a store of this format, or one written by a newer version.
    """
    if attributes.get("format") != FORMAT:
        raise StoreCorrupt(f"{location} is not an mbc store", "check the path, or make one with `mbc encode`")
    version = attributes.get("version")
    if version not in VERSIONS:
        raise StoreCorrupt(
            f"{location} has store format {version!r}, this program reads {' and '.join(map(str, VERSIONS))}",
            "upgrade mbc, or export the store with the version that wrote it",
        )
    try:
        config, lengths = StoreConfig(**attributes["config"]), Lengths(**attributes["lengths"])
        if not 0 <= lengths.alive <= lengths.documents <= lengths.rows:
            raise ValueError(f"impossible {lengths}")
        return config, lengths, version
    except (ValueError, KeyError, TypeError, StoreError) as error:
        raise StoreCorrupt(f"{location} has a damaged header: {error}", "run `mbc memory repair`") from error
