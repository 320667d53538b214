"""HTML, PDF and Word files: what they say, their titles and dates, by kreuzberg (the extra ``documents``).

Such files come from anywhere, and their parsers are large: each is read by a process of its own, whose memory
and time are limited, so that a hostile or damaged one ends neither this process nor a long run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mbc_cli.corpus.bad_input import BadRecord
from mbc_cli.corpus.choices import Format
from mbc_cli.corpus.streams import MAX_RECORD_BYTES
from mbc_cli.encodings import decode_text
from mbc_cli.errors import MissingPackageError, install_hint

MAX_FILE_BYTES = 128 * 2**20
MAX_SECONDS = 120
MAX_PROCESS_BYTES = 4 * 2**30
MIME_TYPES: dict[Format, str] = {
    "html": "text/html",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}
_PROCESS = Path(__file__).with_name("office_process.py")
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([-\w:.]+)", re.IGNORECASE)


def is_installed() -> bool:
    """Whether the library is there that reads such files."""
    return find_spec("kreuzberg") is not None


def not_installed(name: str) -> MissingPackageError:
    """What is told where it is not."""
    return MissingPackageError(
        f"{name} needs a package that is not installed to be read", install_hint("documents")
    )


def read_office_file(content: bytes, format: Format) -> Mapping[str, Any]:
    """Return ``text``, ``title``, ``times`` (created before modified) and ``metadata`` of a file.

    Raises:
        BadRecord: it is damaged, encrypted, takes too much time or memory, or holds no text.
    """
    if not content.strip():
        raise BadRecord("it is empty")
    if format == "html":
        content = _decoded_html(content).encode("utf-8")
    command = [sys.executable, "-P", str(_PROCESS), MIME_TYPES[format], str(MAX_PROCESS_BYTES)]
    try:
        done = subprocess.run(
            [*command, str(MAX_RECORD_BYTES)],
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=MAX_SECONDS,
            check=False,
        )
        found = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise BadRecord(f"reading it takes more than {MAX_SECONDS} seconds") from None
    except ValueError:
        raise BadRecord(f"it cannot be read as {_shown(format)}: its reader broke down") from None
    if "error" in found:
        raise BadRecord(f"it cannot be read as {_shown(format)}: {found['error']}")
    if not found["text"].strip():
        scanned = " (a scan, perhaps: images are not read)" if format == "pdf" else ""
        raise BadRecord(f"it holds no text{scanned}")
    return dict(found)


def _decoded_html(content: bytes) -> str:
    """The page as text, by the encoding that it names; else as all input is."""
    declared = _CHARSET.search(content[:2048])
    try:
        if declared is not None and not content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            return content.decode(declared[1].decode("ascii"))
        return decode_text(content)
    except (LookupError, UnicodeError):
        raise BadRecord("its text is not in the encoding that it names, or in UTF-8") from None


def _shown(format: Format) -> str:
    return "a Word file" if format == "docx" else format.upper()
