"""Documents and settings made to do harm: told in words, never an internal error."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbc_cli.errors import ExitCode
from tests.corpus.test_readers import read
from tests.support.hostile_inputs import hostile_documents, hostile_settings
from tests.support.run_mbc import RunMbc


def test_hostile_documents_are_read_or_named(tmp_path: Path) -> None:
    told = 0
    for number, (suffix, data) in enumerate(hostile_documents(seed=0, count=150)):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(data)
        documents, reports = read(path)
        assert all(document.id and document.text for document in documents)
        told += len(reports)
    assert told


@pytest.mark.parametrize("named", [False, True])
def test_hostile_settings_are_used_or_named(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for content in hostile_settings(seed=1, count=50):
        Path("mbc.yaml").write_bytes(content)
        result = mbc(*(["--config", "mbc.yaml"] if named else []), "memory", "list")
        assert "internal error" not in result.err, content
        assert "SECRET" not in result.err
        assert result.code in (ExitCode.USAGE, ExitCode.FAILED)
        assert len([line for line in result.err.splitlines() if line.startswith("error: ")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mbc.yaml"]
