"""A store is made whole or not at all, and a failure leaves the place as it was."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import icechunk
import pytest
from mbc_store import MemoryStore, StoreError
from mbc_store.creation import create_repository
from mbc_store.errors import StoreExists
from mbc_store.location import Location

from tests.support.store import SMALL


def test_a_place_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"no store can be created at .*file/store: Not a directory"):
        MemoryStore.create(tmp_path / "file" / "store", SMALL)


def test_a_folder_with_other_things_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(StoreExists, match="is not empty and not a store"):
        MemoryStore.create(tmp_path, SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


def test_a_creation_that_fails_leaves_no_folder_behind(tmp_path: Path) -> None:
    def fill(_: icechunk.Session) -> NoReturn:
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        create_repository(Location.parse(tmp_path / "deep" / "store"), "create", fill)
    assert list(tmp_path.iterdir()) == []


def test_a_creation_that_fails_in_an_empty_folder_leaves_it_empty(tmp_path: Path) -> None:
    def fill(_: icechunk.Session) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_repository(Location.parse(tmp_path), "create", fill)
    assert list(tmp_path.iterdir()) == []
