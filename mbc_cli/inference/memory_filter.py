"""Which documents may be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from mbc_cli.corpus.times import time_bound
from mbc_cli.errors import UsageError

Time = str | date
"""A datetime, or text that ``mbc_cli.corpus.times`` reads; UTC where no zone is named."""


@dataclass(frozen=True, slots=True)
class MemoryFilter:
    """Documents with ``since <= timestamp < until`` and all of ``where``'s metadata; the empty one is all.

    Times are microseconds since the Unix epoch, UTC.
    """

    since: int | None = None
    until: int | None = None
    where: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, since: Time | None = None, until: Time | None = None, where: Mapping[str, str] | None = None
    ) -> MemoryFilter:
        """The filter of times and metadata as callers give them.

        Raises:
            UsageError: a time is none, or ``where`` is no mapping.
        """
        if where is not None and not isinstance(where, Mapping):
            raise UsageError(
                f"where is of type {type(where).__name__}; accepted: a mapping of metadata to values"
            )
        return cls(time_bound("since", since), time_bound("until", until), where or {})

    @property
    def is_empty(self) -> bool:
        """Whether every document may be read."""
        return self.since is None and self.until is None and not self.where
