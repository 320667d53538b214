"""Filters choose the same documents before and after these are stored."""

from __future__ import annotations

from typing import Any

import pytest

from mbc_cli import Document, Memory
from mbc_cli.inference.memory_filter import MemoryFilter

DOCUMENTS = [
    Document("may", "Then it rained.", timestamp="2026-05-01", metadata={"year": 2026, "tags": ["a", "b"]}),
    Document("june", "It snowed.", timestamp="2026-06-01T12:00:00Z", metadata={"year": 2027.0}),
    Document("never", "The sun shone.", metadata={"year": "2026"}),
    Document("bare", "Nothing happened.", timestamp="2026-06-02"),
]


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        ({}, ["may", "june", "never", "bare"]),
        ({"since": "2026-06-01"}, ["june", "bare"]),
        ({"until": "2026-06-02"}, ["may", "june"]),
        ({"where": {"year": 2026}}, ["may", "never"]),
        ({"where": ["year>=2026", "tags=a"]}, ["may"]),
        ({"where": ["year!=2026"]}, ["june", "bare"]),
        ({"since": "2026-05-01", "where": ["year<2027"]}, ["may"]),
    ],
)
def test_a_filter_admits_the_documents_that_it_finds_in_a_memory(
    memory: Memory, chosen: dict[str, Any], ids: list[str]
) -> None:
    memory.encode(DOCUMENTS)
    assert [document.id for document in memory.documents(**chosen)] == ids
    assert [document.id for document in DOCUMENTS if MemoryFilter.of(**chosen).admits(document)] == ids
