"""How the bytes of text are read: UTF-8, and UTF-16 and UTF-32 where their first bytes say so."""

from __future__ import annotations

import codecs

# UTF-32 first: its mark for little endian begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
BYTES_THAT_TELL = 4


def encoding_of(start: bytes) -> tuple[str, int]:
    """The encoding of text that begins with ``start``, its first four bytes, and the length of its mark.

    Without a mark two ASCII characters in four bytes, which no other text begins with, are UTF-16.
    """
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding, len(mark)
    if len(start) >= BYTES_THAT_TELL:
        even, odd = start[0:4:2], start[1:4:2]
        if not any(odd) and all(even) and even.isascii():
            return "utf-16-le", 0
        if not any(even) and all(odd) and odd.isascii():
            return "utf-16-be", 0
    return "utf-8", 0


def decode_text(content: bytes) -> str:
    """The text that ``content`` is, without a byte order mark.

    Raises:
        UnicodeDecodeError: it is not valid in its encoding.
    """
    encoding, mark = encoding_of(content[:BYTES_THAT_TELL])
    return content[mark:].decode(encoding)
