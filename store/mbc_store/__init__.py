"""A versioned, crash-safe store of codebook indices and the documents they were read from.

Numpy in, numpy out: nothing here knows of torch or of the command line.

What is not an error is loaded when it is first named: importing ``mbc_store.durable`` alone must not cost the
import of zarr and icechunk.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mbc_store.errors import (
    FingerprintMismatch,
    InvalidRecord,
    StoreClock,
    StoreConflict,
    StoreCorrupt,
    StoreError,
    StoreExists,
    StoreFull,
    StoreInUse,
    StoreNotFound,
    StoreReadOnly,
    StoreUnreachable,
    StoreUnsafe,
    StoreWarning,
)

if TYPE_CHECKING:
    from mbc_store.conditions import Condition, Where
    from mbc_store.format import StoreConfig
    from mbc_store.memory_store import MemoryStore
    from mbc_store.records import Commit, Counts, DocumentRecord, StoredDocument, StoredPassage, StoreInfo
    from mbc_store.snapshot import Snapshot
    from mbc_store.transaction import Transaction

_HOMES = {
    "Condition": "conditions",
    "Where": "conditions",
    "Commit": "records",
    "Counts": "records",
    "DocumentRecord": "records",
    "MemoryStore": "memory_store",
    "Snapshot": "snapshot",
    "StoreConfig": "format",
    "StoreInfo": "records",
    "StoredDocument": "records",
    "StoredPassage": "records",
    "Transaction": "transaction",
}

__all__ = [
    "Commit",
    "Condition",
    "Counts",
    "DocumentRecord",
    "FingerprintMismatch",
    "InvalidRecord",
    "MemoryStore",
    "Snapshot",
    "StoreClock",
    "StoreConfig",
    "StoreConflict",
    "StoreCorrupt",
    "StoreError",
    "StoreExists",
    "StoreFull",
    "StoreInUse",
    "StoreInfo",
    "StoreNotFound",
    "StoreReadOnly",
    "StoreUnreachable",
    "StoreUnsafe",
    "StoreWarning",
    "StoredDocument",
    "StoredPassage",
    "Transaction",
    "Where",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
