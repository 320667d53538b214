"""Documents whose contents follow from a number, and random operations on a store of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from mbc_store.format import StoreConfig
from mbc_store.memory_store import MemoryStore
from mbc_store.records import DocumentRecord

SMALL = StoreConfig(slots=3, num_quantizers=2, codebook_size=32, fingerprint="test")
State = dict[str, int]
"""What a store must hold: content digest by document id."""


def make_record(
    identifier: str, seed: int, config: StoreConfig = SMALL, passages: int | None = None, **fields: Any
) -> DocumentRecord:
    """A document whose contents follow from ``seed`` (its digest is ``seed``)."""
    generator = np.random.default_rng(seed)
    count = passages or int(generator.integers(1, 4))
    text = " ".join(f"word{n}" for n in generator.integers(0, 1000, 5 * count))
    cuts = np.linspace(0, len(text), count + 1).astype(np.int64)
    return DocumentRecord(
        id=identifier,
        codes=generator.integers(0, config.codebook_size, (count, config.slots, config.num_quantizers)),
        spans=np.column_stack([cuts[:-1], cuts[1:]]),
        digest=seed,
        text=text,
        **fields,
    )


def make_records(first: int, count: int, config: StoreConfig = SMALL) -> list[DocumentRecord]:
    """Documents ``doc-<first>`` and following, each with its number plus one as seed."""
    return [make_record(f"doc-{n}", n + 1, config) for n in range(first, first + count)]


def state_of(store: MemoryStore) -> State:
    """What ``store`` holds, after checking that it is sound and the contents are those of their digests."""
    problems = store.verify()
    assert not problems, problems
    with store.snapshot() as snapshot:
        state: State = {}
        for record in snapshot.iter_records():
            expected = make_record(record.id, record.digest, store.config)
            assert np.array_equal(record.codes, expected.codes), record.id
            assert record.text == expected.text, record.id
            state[record.id] = record.digest
        assert len(state) == snapshot.document_count
        return state


Operation = tuple[str, dict[str, int | None]]
"""A name and, for ``change``, the new digest by id (None forgets)."""


def apply(state: State, operation: Operation) -> State:
    """The state after ``operation``."""
    result = dict(state)
    for identifier, digest in operation[1].items():
        if digest is None:
            result.pop(identifier, None)
        else:
            result[identifier] = digest
    return result


def random_operation(chance: random.Random, ids: int, kinds: Sequence[str]) -> Operation:
    """One of ``kinds``: change, compact, purge, gc."""
    kind = chance.choice(kinds)
    if kind != "change":
        return kind, {}
    chosen = chance.sample(range(ids), chance.randint(1, min(ids, 30)))
    return kind, {f"doc-{n}": None if chance.random() < 0.3 else chance.getrandbits(40) for n in chosen}


def perform(store: MemoryStore, operation: Operation) -> None:
    """Carry out ``operation``."""
    kind, changes = operation
    if kind == "compact":
        store.compact()
    elif kind == "purge":
        store.compact(purge=True)
    elif kind == "gc":
        store.gc(older_than=timedelta(0))
    else:
        with store.transaction("change") as transaction:
            transaction.upsert([make_record(i, d, store.config) for i, d in changes.items() if d is not None])
            transaction.forget([i for i, d in changes.items() if d is None])
