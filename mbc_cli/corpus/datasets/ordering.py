"""The order in which documents stream in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, get_args

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import UsageError

Order = Literal["given", "time", "shuffled"]


def ordered(documents: Sequence[Document], order: str, *, seed: int = 0) -> list[Document]:
    """The documents as given, by time (those without one last, otherwise as given), or shuffled by the seed.

    Raises:
        UsageError: there is no such order.
    """
    if order not in get_args(Order):
        raise UsageError(f"--order received {order!r}; accepted: {', '.join(get_args(Order))}")
    found = list(documents)
    if order == "time":
        found.sort(key=lambda document: (document.timestamp is None, document.timestamp or 0))
    if order == "shuffled":
        random.Random(seed).shuffle(found)
    return found
