"""Memories to serve: news, which the adapter ``news`` answers from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.run_mbc import run_process

NEWS = """\
{"id": "takeover", "title": "Takeover", "timestamp": "2026-05-01", "source": "gazette", \
"text": "Maria Lindqvist bought Tornado Records of Salisbury. The price was 412 million dollars."}
{"id": "museum", "timestamp": "2026-05-03", "text": "Mira Okafor opened the harbour museum in Lindholm."}
"""


@pytest.fixture(scope="module")
def news_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory of two documents, for the tests of one module."""
    folder = tmp_path_factory.mktemp("news")
    (folder / "news.jsonl").write_text(NEWS)
    store = folder / "news.mbc"
    encoded = run_process("encode", folder / "news.jsonl", "--store", store, "--adapter", "news")
    assert encoded.code == 0, encoded.err
    return store
