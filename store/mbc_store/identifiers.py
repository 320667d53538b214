"""What may name a document, one rule for all who write: readers, the Python API, imports and merges."""

from __future__ import annotations

import re

MAX_ID_CHARACTERS = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # newlines, and what steers terminals


def id_problem(identifier: object) -> str | None:
    """Why ``identifier`` cannot name a document, to be read after "the id"; None if it can."""
    if not isinstance(identifier, str):
        return f"is of type {type(identifier).__name__}; accepted: text"
    if not identifier.strip():
        return "is empty"
    if len(identifier) > MAX_ID_CHARACTERS:
        return f"has {len(identifier):,} characters; accepted: up to {MAX_ID_CHARACTERS}"
    if _CONTROL.search(identifier):
        return "holds a newline or another control character"
    return None if is_unicode(identifier) else "is not valid UTF-8"


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold ``text``; Python makes text that it cannot of arguments that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
