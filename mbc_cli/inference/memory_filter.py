"""Which documents may be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from mbc_store.conditions import Condition, Where, conditions
from mbc_store.errors import StoreError

from mbc_cli.corpus.documents import Document
from mbc_cli.corpus.times import time_bound
from mbc_cli.errors import UsageError

Time = str | date
"""A datetime, or text that ``mbc_cli.corpus.times`` reads; UTC where no zone is named."""


@dataclass(frozen=True, slots=True)
class MemoryFilter:
    """Documents with ``since <= timestamp < until`` that meet all conditions; the empty one is all.

    Times are microseconds since the Unix epoch, UTC.
    """

    since: int | None = None
    until: int | None = None
    where: tuple[Condition, ...] = ()

    @classmethod
    def of(
        cls, since: Time | None = None, until: Time | None = None, where: Where | None = None
    ) -> MemoryFilter:
        """The filter of times and metadata as callers give them.

        Raises:
            UsageError: a time is none, or a condition is none.
        """
        if where is not None and (isinstance(where, str) or not isinstance(where, Mapping | Sequence)):
            raise UsageError(
                f"where is of type {type(where).__name__}; accepted: a mapping of metadata to values, or "
                "a list of conditions such as 'year>=2021'"
            )
        try:
            wanted = conditions(where)
        except StoreError as failure:
            raise UsageError(failure.message, failure.hint) from None
        return cls(time_bound("since", since), time_bound("until", until), wanted)

    def admits(self, document: Document) -> bool:
        """Whether the filter would find ``document`` in a memory."""
        time = document.timestamp
        if self.since is not None and (time is None or time < self.since):
            return False
        if self.until is not None and (time is None or time >= self.until):
            return False
        return all(condition.holds(document.metadata) for condition in self.where)

    @property
    def is_empty(self) -> bool:
        """Whether every document may be read."""
        return self.since is None and self.until is None and not self.where
