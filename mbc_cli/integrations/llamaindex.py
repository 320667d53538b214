"""A memory as a retriever of LlamaIndex (the extra ``llamaindex``)."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from mbc_store import Where

from mbc_cli.inference.memory_filter import Time
from mbc_cli.integrations.found_passages import find_passages
from mbc_cli.memory import Memory


class MbcRetriever(BaseRetriever):
    """Passages of ``memory`` as LlamaIndex nodes with scores, best first.

    Args:
        memory: an open :class:`~mbc_cli.memory.Memory`; it stays the caller's to close.
        top_k: passages at most.
        since, until, where, prefer_newer: as for :meth:`~mbc_cli.memory.Memory.search`.
        others: what LlamaIndex's own retriever takes, such as ``callback_manager``.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        top_k: int = 5,
        since: Time | None = None,
        until: Time | None = None,
        where: Where | None = None,
        prefer_newer: bool = False,
        **others: Any,
    ) -> None:
        self._memory = memory
        self._top_k = top_k
        self._since = since
        self._until = until
        self._where = where
        self._prefer_newer = prefer_newer
        super().__init__(**others)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = find_passages(
            self._memory,
            query_bundle.query_str,
            top_k=self._top_k,
            since=self._since,
            until=self._until,
            where=self._where,
            prefer_newer=self._prefer_newer,
        )
        return [
            NodeWithScore(
                node=TextNode(id_=each.id, text=each.text, metadata=each.metadata), score=each.score
            )
            for each in found
        ]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)
