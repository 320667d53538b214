"""The process that reads one HTML, PDF or Word file from stdin and writes what it found as JSON to stdout.

It imports nothing of this package, to begin at once. Arguments: the MIME type, the most bytes of memory, and
the most bytes of text.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Mapping
from typing import Any

_PUBLISHED = ("article-published_time", "article:published_time", "datePublished", "dc.date", "date")
_MODIFIED = ("article-modified_time", "article:modified_time", "dateModified", "last-modified")


def main() -> None:
    """Read, and write; whatever goes wrong is said in one line, under "error"."""
    mime_type, most_memory, most_text = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (most_memory, most_memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    result_file = os.fdopen(os.dup(1), "wb")  # the libraries' own words must not come between
    os.dup2(2, 1)
    try:
        found: Mapping[str, Any] = _extract(sys.stdin.buffer.read(), mime_type)
        if len(found["text"].encode("utf-8", "replace")) > most_text:
            found = {"error": f"its text is longer than {most_text // 2**20} MiB"}
    except MemoryError:
        found = {"error": f"it takes more than {most_memory // 2**20:,} MiB of memory"}
    except Exception as failure:
        found = {"error": _in_short(str(failure))}
    result_file.write(json.dumps(found).encode())
    result_file.close()


def _extract(content: bytes, mime_type: str) -> Mapping[str, Any]:
    from kreuzberg import ExtractionConfig, extract_bytes_sync

    result = extract_bytes_sync(content, mime_type, ExtractionConfig(use_cache=False))
    known: Mapping[str, Any] = result.metadata or {}
    meta: Mapping[str, Any] = known.get("meta_tags") or {}
    modified = [known.get("modified_at"), *(meta.get(name) for name in _MODIFIED)]
    times = [known.get("created_at"), *(meta.get(name) for name in _PUBLISHED), *modified]
    metadata = {
        "authors": known.get("authors"),
        "modified": next((time for time in modified if time), None),
        "pages": known.get("page_count"),
        "keywords": known.get("keywords"),
    }
    title = known.get("title") or (known.get("open_graph") or {}).get("title")
    return {
        "text": result.content,
        "title": title.strip() if isinstance(title, str) and title.strip() else None,
        "times": [time for time in times if time],
        "metadata": {name: value for name, value in metadata.items() if value},
    }


def _in_short(message: str) -> str:
    """The library's message on one line; it says many twice."""
    words = " ".join(message.split()).removeprefix("ParsingError: ")
    first, _, second = words.partition(": ")
    return (first if second.startswith(first) else words)[:200]


if __name__ == "__main__":
    main()
