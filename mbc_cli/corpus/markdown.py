"""Markdown files: their text as it is, a title and a time from the front matter, else the first heading."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mbc_cli.untrusted import UntrustedFileError, parse_yaml

MAX_FRONT_MATTER = 2**16
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#[ \t]+(\S[^\n]*?)[ \t]*#*[ \t]*$|^(\S[^\n]*)\n=+[ \t]*$", re.MULTILINE)
_FENCED = re.compile(r"^(```|~~~).*?(?:^\1|\Z)", re.DOTALL | re.MULTILINE)
_TIMES = ("date", "published", "created", "timestamp")


def read_markdown(text: str) -> Mapping[str, Any]:
    """Return ``text``, ``title``, ``times`` and ``metadata``, the other fields of the front matter.

    Front matter is YAML between lines of three dashes at the very beginning; what is none stays text.
    """
    text = text.replace("\r\n", "\n")
    fields: dict[str, Any] = {}
    if (found := _FRONT_MATTER.match(text)) and found.end() <= MAX_FRONT_MATTER:
        try:
            content = parse_yaml(found[1])
        except UntrustedFileError:
            content = None
        if isinstance(content, dict):
            fields = {str(name): value for name, value in content.items()}
            text = text[found.end() :].lstrip("\n")
    title = fields.pop("title", None)
    if title is None and (heading := _HEADING.search(_FENCED.sub("", text))):
        title = heading[1] or heading[2]
    times = [fields.pop(name) for name in _TIMES if fields.get(name) is not None][:1]
    return {
        "text": text,
        "title": None if title is None else str(title).strip() or None,
        "times": times,
        "metadata": fields,
    }
