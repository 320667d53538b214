"""Stores that are damaged or hostile, and what must come of them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from mbc_store import MemoryStore, StoreError
from mbc_store.columns import Columns

from tests.support.store.operations import SMALL, make_record, make_records, state_of

FORGOTTEN = {"doc-3", "doc-17"}


def store_with_history(root: Path) -> MemoryStore:
    """A store with replaced and forgotten documents, a tag and a compaction in its history."""
    store = MemoryStore.create(root, SMALL)
    for first in range(0, 24, 6):
        with store.transaction("load") as transaction:
            transaction.upsert(make_records(first, 6))
    store.tag("early")
    with store.transaction("change") as transaction:
        transaction.upsert([make_record("doc-5", 500)])
        transaction.forget(["doc-3"])
    store.compact()
    with store.transaction("change") as transaction:
        transaction.upsert(make_records(24, 6))
        transaction.forget(["doc-17"])
    return store


def corrupt(root: Path, chance: random.Random) -> str:
    """Damage one file; what was done."""
    files = sorted(path for path in (root / "icechunk").rglob("*") if path.is_file())
    path = chance.choice(files)
    kind = chance.choice(("flip", "cut", "empty", "missing"))
    content = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "empty" or not content:
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(content[: chance.randrange(len(content))])
    else:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    return f"{kind} {path.parent.name}"


def digests(store: MemoryStore) -> dict[str, int]:
    """By id, whether or not the text is still there."""
    with store.snapshot() as snapshot:
        return {record.id: record.digest for record in snapshot.iter_records()}


def corruption(sound: Path, root: Path, expected: dict[str, int], chance: random.Random) -> str:
    """One trial; its outcome in a word. What is wrong is an AssertionError or no error of the store's."""
    shutil.copytree(sound, root)
    done = corrupt(root, chance)
    try:
        problems = MemoryStore.open(root).verify()
    except StoreError:
        problems = ["not opened"]  # type: ignore[list-item]
    if not problems:
        assert state_of(MemoryStore.open(root)) == expected, f"silent: {done}"
        return "unharmed"
    try:
        plan = MemoryStore.plan_repair(root)
    except StoreError:
        return "beyond repair, said"
    MemoryStore.repair(root, plan)
    store = MemoryStore.open(root)
    assert store.verify() == [], f"unsound after repair: {done}"
    state = digests(store)
    if not plan.lost_details:
        assert state_of(store) == state
    if plan.returning == 0:
        assert not state.keys() & FORGOTTEN, f"came back: {done}"
    assert plan.documents == len(state), f"the plan said {plan.documents}, there are {len(state)}: {done}"
    allowed = set(expected.items()) | {(f"doc-{n}", n + 1) for n in range(30)}
    assert set(state.items()) <= allowed, f"other contents: {done}"
    store.gc(older_than=timedelta(0))
    assert digests(MemoryStore.open(root)) == state
    return f"repaired, {'all' if state == expected else 'part'} kept"


PLACES = [f"icechunk/{name}/x" for name in ("chunks", "refs", "manifests", "snapshots")] + ["locks/x"]
VALUES: list[Any] = [None, True, 0, -1, 1.5, 2**63, 10**30, "", "x", "3", [], [1], {}, {"a": 1}, "[" * 5000]


def poison(store: MemoryStore, chance: random.Random) -> str:
    """Commit or put something that no store writes; what it was."""
    root = store.location.path
    assert root is not None
    kind = chance.choice(("header", "config", "lengths", "runs", "values", "metadata", "link", "entry"))
    if kind in ("link", "entry"):
        place = root / chance.choice(
            (
                "icechunk/chunks/x",
                "icechunk/refs/tag.x",
                "icechunk/manifests/x",
                "locks/x",
                "icechunk/snapshots/x",
            )
        )
        place.parent.mkdir(exist_ok=True)
        if kind == "link":
            place.symlink_to(root.parent / "outside", target_is_directory=True)
        else:
            place.mkdir()
        return kind

    def write(session: Any) -> dict[str, Any]:
        group = zarr.open_group(session.store, mode="r+")
        group.update_attributes({"salt": chance.random()})  # a commit must change something
        value = chance.choice(VALUES)
        if kind == "header":
            group.update_attributes({chance.choice(("format", "version", "config", "lengths")): value})
        elif kind == "config":
            config = SMALL.header() | {chance.choice([*SMALL.header(), "unknown"]): value}
            group.update_attributes({"config": config})
        elif kind == "lengths":
            lengths = {"rows": 40, "documents": 30, "alive": 28}
            group.update_attributes({"lengths": lengths | {chance.choice([*lengths]): value}})
        elif kind == "runs":
            run: dict[str, Any] = {"name": "run-0-9", "level": 0, "start": 0, "stop": 9} | {
                chance.choice(["name", "level"]): value
            }
            group.update_attributes({"index_runs": [run]})
        elif kind == "metadata":
            columns = Columns(session, store.location)
            columns.append_many([("documents/metadata", 0, np.array([str(value)], object))])
            columns.flush()
        else:
            columns = Columns(session, store.location)
            paths = [path for path, spec in columns.growing.items() if spec.numpy_dtype.kind in "iu"]
            path = chance.choice(paths)
            spec = columns.growing[path]
            wild = np.random.default_rng(chance.getrandbits(32)).integers(0, 2**16, (9, *spec.tail))
            columns.append_many([(path, 0, wild.astype(spec.numpy_dtype))])
            columns.flush()
        return {"operation": chance.choice(["tamper", 3, None, ["x"]]), "counts": chance.choice([{}, value])}

    store.repository.commit("tamper", write)
    return kind


def hostile(sound: Path, root: Path, chance: random.Random) -> str:
    """One trial; its outcome in a word. Any error but the store's own comes through."""
    shutil.copytree(sound, root)
    outside = root.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "letter#1").write_text("mine")
    poison(MemoryStore.open(root), chance)
    refused = 0
    uses: list[Callable[[], object]] = [
        lambda: MemoryStore.open(root).verify(),
        lambda: MemoryStore.open(root).history(),
        lambda: MemoryStore.open(root).info(),
        lambda: list(MemoryStore.open(root).snapshot().iter_records()),
        lambda: MemoryStore.open(root).snapshot().row_mask(since=0, where={"a": "b"}),
        lambda: MemoryStore.open(root).snapshot().find(["doc-1"]),
        lambda: MemoryStore.open(root).gc(older_than=timedelta(0)),
        lambda: MemoryStore.repair(root, MemoryStore.plan_repair(root)),
        lambda: MemoryStore.open(root).compact(purge=True),
    ]
    for use in uses:
        try:
            use()
        except StoreError as error:
            refused += 1 if "\n" not in str(error) else 1_000_000
    assert refused <= len(uses), "an error of several lines"
    assert [path.read_text() for path in outside.iterdir()] == ["mine"], "something outside was touched"
    return "refused in one line" if refused else "read"
