"""What a memory of telegrams keeps, seen from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.run_mbc import RunMbc
from tests.support.tiny_memories import save_adapter_directory
from tests.support.tiny_models import SENTENCES, telegram_config


def test_show_and_sources_tell_what_the_codes_hold(mbc: RunMbc, tmp_path: Path) -> None:
    adapter = save_adapter_directory(tmp_path, make_config=telegram_config)
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": "a", "text": SENTENCES[0]}) + "\n")
    store = tmp_path / "s.mbc"
    assert mbc("encode", tmp_path / "d.jsonl", "--store", store, "--adapter", adapter).code == 0

    shown = mbc("memory", "show", "a", "--store", store)
    assert shown.code == 0
    assert "[" in shown.out.splitlines()[-1]

    told = json.loads(mbc("memory", "show", "a", "--store", store, "--json").out)
    telegram = told["telegrams"][0]["telegram"]
    assert telegram in shown.out
    kept = [text for text, is_kept in told["telegrams"][0]["pieces"] if is_kept]
    assert kept
    assert all(text in SENTENCES[0] for text in kept)

    asked = mbc("query", "Who opened the museum?", "--store", store, "--json")
    assert json.loads(asked.out)["sources"][0]["telegram"]


def test_without_its_adapter_a_document_is_shown_all_the_same(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MBC_CONFIG_HOME", str(tmp_path / "trusts-nobody-else"))
    adapter = save_adapter_directory(tmp_path, make_config=telegram_config)
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": "a", "text": SENTENCES[0]}) + "\n")
    store = tmp_path / "s.mbc"
    mbc("encode", tmp_path / "d.jsonl", "--store", store, "--adapter", adapter)
    adapter.rename(tmp_path / "elsewhere")
    shown = mbc("memory", "show", "a", "--store", store)
    assert shown.code == 0
    assert SENTENCES[0] in shown.out
    assert "cannot be shown in words" in shown.err
