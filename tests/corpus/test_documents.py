"""Documents: digests that tell content apart."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from mbc_cli.corpus.documents import Document, document_digest


def test_the_digest_is_the_same_in_every_process_and_version() -> None:
    document = Document("a", "text", "title", 5, {"source": "bbc", "tags": ["x"]})
    canonical = b'["text","title",5,{"source":"bbc","tags":["x"]}]'
    assert document_digest(document) == int.from_bytes(blake2b(canonical, digest_size=8).digest(), "big")


def test_the_digest_ignores_the_id_and_the_order_of_metadata() -> None:
    assert document_digest(Document("a", "t", metadata={"x": 1, "y": 2})) == document_digest(
        Document("b", "t", metadata={"y": 2, "x": 1})
    )


@pytest.mark.parametrize(
    "other",
    [
        Document("a", "text."),
        Document("a", "text", title="t"),
        Document("a", "text", timestamp=0),
        Document("a", "text", metadata={"k": None}),
    ],
)
def test_the_digest_changes_with_every_part_of_the_content(other: Document) -> None:
    assert document_digest(other) != document_digest(Document("a", "text"))
