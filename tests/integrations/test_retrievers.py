"""The memory as a retriever of LangChain and of LlamaIndex, by their own packages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from llama_index.core.schema import MetadataMode

from mbc_cli import Document, MbcError, Memory
from mbc_cli.integrations import langchain, llamaindex

QUESTION = "Who opened the harbour museum in Lindholm?"
MUSEUM = "Mira Okafor opened the harbour museum in Lindholm."
DOCUMENTS = [
    Document("takeover", "Maria Lindqvist bought Tornado Records of Salisbury.", timestamp="2026-05-03"),
    Document("museum", MUSEUM, "Museum", "2026-05-01", {"source": "gazette"}),
]


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    folder = tmp_path_factory.mktemp("news")
    with Memory.create(folder / "memory.mbc", "news", device="cpu") as memory:
        memory.encode(DOCUMENTS)
        yield memory


def as_dictionary(found: Any) -> dict[str, Any]:
    (source,) = found
    expected = {"document_id": "museum", "passage": 0, "start": 0, "end": len(MUSEUM), "title": "Museum"}
    metadata = dict(source)
    assert metadata.pop("score") > 0
    assert metadata.pop("time").startswith("2026-05-01")
    assert metadata == {**expected, "source": "gazette"}
    return metadata


def test_langchain_finds_what_search_finds(news: Memory) -> None:
    retriever = langchain.MbcRetriever(memory=news, top_k=1)
    found = retriever.invoke(QUESTION)
    assert [(each.id, each.page_content) for each in found] == [("museum#0", MUSEUM)]
    as_dictionary(each.metadata for each in found)
    assert asyncio.run(retriever.ainvoke(QUESTION)) == found
    chain = retriever | RunnableLambda(lambda documents: documents[0].page_content)
    assert chain.invoke(QUESTION) == MUSEUM
    narrowed = langchain.MbcRetriever(memory=news, until="2026-05-02", where={"source": "wire"})
    assert narrowed.invoke(QUESTION) == []
    assert len(langchain.MbcRetriever(memory=news).invoke(QUESTION)) == len(DOCUMENTS)


def test_llamaindex_finds_what_search_finds(news: Memory) -> None:
    retriever = llamaindex.MbcRetriever(news, top_k=1)
    (found,) = retriever.retrieve(QUESTION)
    assert (found.node.node_id, found.node.get_content(MetadataMode.NONE)) == ("museum#0", MUSEUM)
    assert found.score == found.node.metadata["score"]
    as_dictionary([found.node.metadata])
    (later,) = asyncio.run(retriever.aretrieve(QUESTION))
    assert later.node.node_id == "museum#0"
    assert llamaindex.MbcRetriever(news, since="2026-05-04").retrieve(QUESTION) == []


def test_without_texts_passages_are_what_the_memory_holds_of_them(tmp_path: Path) -> None:
    with Memory.create(tmp_path / "memory.mbc", "news", keep_text=False, device="cpu") as memory:
        memory.encode(DOCUMENTS)
        (found,) = langchain.MbcRetriever(memory=memory, top_k=1).invoke(QUESTION)
        assert found.page_content == found.metadata.get("telegram", "")
        assert found.metadata["document_id"] == "museum"


def test_a_query_that_cannot_be_asked_is_told(news: Memory) -> None:
    for ask in (langchain.MbcRetriever(memory=news).invoke, llamaindex.MbcRetriever(news).retrieve):
        with pytest.raises((MbcError, ValueError), match="question"):
            ask(" ")
