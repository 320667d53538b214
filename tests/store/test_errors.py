"""Every failure is told apart by what it is, and a bug of ours is never called damage."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import icechunk
import mbc_store
import pytest
from mbc_store import MemoryStore, StoreError
from mbc_store.errors import DamagedChunk, translated

from mbc_cli.cli.app import main
from tests.support.store import make_record, state_of


def descendants(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(one for child in kind.__subclasses__() for one in descendants(child))]


def test_every_error_has_a_kind_of_its_own_and_is_public() -> None:
    kinds = [error.kind for error in descendants(StoreError)]
    assert len(set(kinds)) == len(kinds)
    assert all(kind.startswith("store-") for kind in kinds)
    assert {error.__name__ for error in descendants(StoreError)} <= {*mbc_store.__all__}


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "store-full"),
        (errno.EDQUOT, "store-full"),
        (errno.EROFS, "store-read-only"),
        (errno.EACCES, "store-read-only"),
        (errno.EIO, "store-unreachable"),
        (errno.ECONNREFUSED, "store-unreachable"),
        (errno.ENOTDIR, "store-failed"),
    ],
)
def test_what_the_system_refuses_is_told_by_its_number_in_any_wording(number: int, kind: str) -> None:
    ours = OSError(number, "in a language of its own", "file")
    with pytest.raises(StoreError) as told, translated("here"):
        raise ours
    assert told.value.kind == kind
    if kind != "store-failed":
        with pytest.raises(StoreError) as told, translated("here"):
            raise icechunk.IcechunkError(f"object store error: {os.strerror(number)} (os error {number})")
        assert told.value.kind == kind


def test_a_path_that_spells_a_failure_is_not_one() -> None:
    with pytest.raises(StoreError) as told, translated("here"):
        raise icechunk.IcechunkError("cannot decode /data/permission denied/no space left/file")
    assert told.value.kind == "store-corrupt"
    with pytest.raises(StoreError) as told, translated("here"):
        raise DamagedChunk("its checksum does not match")
    assert told.value.kind == "store-corrupt"


@pytest.mark.parametrize("bug", [TypeError, KeyError, ValueError, RuntimeError, AssertionError])
def test_a_bug_is_an_internal_error_to_report_and_the_store_stays_sound(
    store: MemoryStore,
    bug: type[Exception],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert([make_record("a", 1), make_record("b", 2)])
    with monkeypatch.context() as broken:

        def plant(*_: object) -> None:
            raise bug("planted")

        broken.setattr("mbc_store.changes._rows_of", plant)
        with pytest.raises(SystemExit) as ended:
            main(["memory", "forget", "a", "--yes", "--store", str(store.location)])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert f"internal error: {bug.__name__}" in said
    assert "report it" in said
    assert "repair" not in said
    assert state_of(MemoryStore.open(Path(str(store.location)))) == {"a": 1, "b": 2}
