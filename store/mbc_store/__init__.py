"""A versioned, crash-safe store of codebook indices and the documents they were read from.

Numpy in, numpy out: nothing here knows of torch or of the command line.
"""

from mbc_store.errors import (
    FingerprintMismatch,
    InvalidRecord,
    StoreConflict,
    StoreCorrupt,
    StoreError,
    StoreExists,
    StoreFull,
    StoreInUse,
    StoreNotFound,
    StoreReadOnly,
)
from mbc_store.memory_store import MemoryStore
from mbc_store.records import Commit, Counts, DocumentRecord, StoredDocument, StoredPassage, StoreInfo
from mbc_store.schema import StoreConfig
from mbc_store.snapshot import Snapshot
from mbc_store.transaction import Transaction

__all__ = [
    "Commit",
    "Counts",
    "DocumentRecord",
    "FingerprintMismatch",
    "InvalidRecord",
    "MemoryStore",
    "Snapshot",
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
    "StoredDocument",
    "StoredPassage",
    "Transaction",
]
