"""Secrets that people write into URLs."""

from __future__ import annotations

import re

# scheme://USER@host, and scheme://KEY:SECRET..., where what follows the colon is no port.
_CREDENTIALS = re.compile(r"[a-z][a-z0-9+.-]+:/+[^/?#]*(@|:(?![0-9]*([/?#]|$)))", re.IGNORECASE)


def holds_credentials(text: str) -> bool:
    """Whether ``text`` is a URL with user information in it, which must not be printed, either."""
    return _CREDENTIALS.match(text) is not None
