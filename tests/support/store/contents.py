"""Everything that a store holds at its newest commit, for two stores to be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from mbc_store import MemoryStore
from mbc_store.id_index import IdIndex


def contents_of(store: MemoryStore) -> dict[str, Any]:
    """By name: the header and every row of every array, those of the index of ids included."""
    with store.snapshot() as snapshot:
        columns = snapshot.columns
        IdIndex(columns)  # names the arrays of the index
        found: dict[str, Any] = {"header": columns._attributes, "code_counts": columns.read_counts()}
        found |= {path: columns.all(path) for path in columns.growing}
        for run in columns.runs:
            count = run["stop"] - run["start"]
            found["entries"] = columns.read(f"index/{run['name']}/entry", 0, count)
        return found


def assert_same_contents(one: MemoryStore, other: MemoryStore) -> None:
    """Both stores hold the same rows in the same order, the same index and the same header."""
    first, second = contents_of(one), contents_of(other)
    assert first["header"] == second["header"]
    assert first.keys() == second.keys()
    for name in first.keys() - {"header"}:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
