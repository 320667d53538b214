"""A memory as a retriever of LangChain (the extra ``langchain``)."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from mbc_cli.integrations.found_passages import find_passages
from mbc_cli.memory import Memory


class MbcRetriever(BaseRetriever):
    """Passages of ``memory`` as LangChain documents, best first; asynchronous calls run in a thread.

    Args:
        memory: an open :class:`~mbc_cli.memory.Memory`; it stays the caller's to close.
        top_k: passages at most.
        since, until, where, prefer_newer: as for :meth:`~mbc_cli.memory.Memory.search`.
    """

    memory: Memory
    top_k: int = 5
    since: Any = None
    until: Any = None
    where: Any = None
    prefer_newer: bool = False

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        found = find_passages(
            self.memory,
            query,
            top_k=self.top_k,
            since=self.since,
            until=self.until,
            where=self.where,
            prefer_newer=self.prefer_newer,
        )
        return [Document(id=each.id, page_content=each.text, metadata=each.metadata) for each in found]
