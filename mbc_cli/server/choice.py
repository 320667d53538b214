"""What is read for a question: which documents, how many passages, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mbc_store.conditions import Condition

from mbc_cli.corpus.times import EPOCH
from mbc_cli.inference.checks import check_threshold
from mbc_cli.inference.memory_filter import MemoryFilter


@dataclass(frozen=True, slots=True)
class Choice:
    """As for :meth:`mbc_cli.memory.Memory.answer`; questions of equal choices are answered together.

    ``since`` and ``until`` are microseconds since the Unix epoch, UTC. ``at`` is a snapshot, tag or time.
    """

    top_k: int | None = None
    since: int | None = None
    until: int | None = None
    where: tuple[Condition, ...] = ()
    threshold: float | None = None
    require_memory: bool = False
    fallback: bool | None = None
    prefer_newer: bool = False
    at: str | None = None

    @classmethod
    def of(
        cls,
        since: str | None = None,
        until: str | None = None,
        where: dict[str, Any] | list[str] | None = None,
        **others: Any,
    ) -> Choice:
        """The choice of times and conditions as they are written.

        Raises:
            UsageError: a time or a condition is none, or the threshold no probability.
        """
        chosen = MemoryFilter.of(since, until, where)
        check_threshold(others.get("threshold"))
        return cls(since=chosen.since, until=chosen.until, where=chosen.where, **others)

    @property
    def filters(self) -> dict[str, Any]:
        """Which documents are read."""
        return {"since": _time(self.since), "until": _time(self.until), "where": self.where}

    @property
    def searching(self) -> dict[str, Any]:
        """What a search is told."""
        return self.filters | {"prefer_newer": self.prefer_newer}

    @property
    def answering(self) -> dict[str, Any]:
        """What answering is told."""
        return self.searching | {
            "top_k": self.top_k,
            "threshold": self.threshold,
            "require_memory": self.require_memory,
            "fallback": self.fallback,
        }


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else EPOCH + timedelta(microseconds=microseconds)
