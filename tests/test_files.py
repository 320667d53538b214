"""The durable writer: what is written is on the disk as a whole, or what was there before is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mbc_cli.files import write_file


def test_a_file_is_synced_before_it_takes_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "record.yaml"
    seen: list[tuple[str, bool]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        seen.append((kind, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_file(path, "größer\n")
    assert path.read_text(encoding="utf-8") == "größer\n"
    assert seen == [("file", False), ("folder", True)]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace", "encode"])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "record.yaml"
    write_file(path, "before")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif failing == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises((OSError, UnicodeEncodeError)):
        write_file(path, "half of a pair: \ud800" if failing == "encode" else "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
