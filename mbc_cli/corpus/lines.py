"""The lines of a stream: every encoding and every line end that files have, in bounded memory."""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Iterator

from mbc_cli.corpus.bad_input import BadRecord
from mbc_cli.corpus.streams import MAX_RECORD_BYTES, BrokenStream, ByteStream
from mbc_cli.encodings import BYTES_THAT_TELL, encoding_of

_CHUNK_BYTES = 2**16
_TO_NULL = re.compile(rb"[^\0]*\0|[^\0]+")


class Lines(Iterator[bytes]):
    """The lines of a stream in UTF-8, without their ends and without a byte order mark.

    ``\\n``, ``\\r\\n`` and ``\\r`` end a line, nothing else does; with ``null`` a byte 0 alone does, and the
    stream is UTF-8. ``number`` is that of the line last returned, from 1. A line over ``MAX_RECORD_BYTES``
    is passed over in bounded memory and raises :class:`BadRecord`; the next call goes on after it. A stream
    that breaks off raises :class:`BrokenStream` once, then ends.
    """

    def __init__(self, stream: ByteStream, *, null: bool = False) -> None:
        self._stream = stream
        self._null = null
        self._decoder: codecs.IncrementalDecoder | None = None  # None for UTF-8
        self._begun = null  # what begins with "A\0B\0" is no UTF-16 then
        self._ended = self._after_return = False
        self._ready: deque[bytes | BadRecord | BrokenStream] = deque()
        self._pieces: list[bytes] = []  # of the line that is not complete yet
        self._length = 0
        self.number = 0

    def __next__(self) -> bytes:
        while not self._ready:
            if self._ended:
                raise StopIteration
            self._fill()
        self.number += 1
        line = self._ready.popleft()
        if isinstance(line, Exception):
            raise line
        return line

    def start(self) -> bytes:
        """The first two bytes that are not blank of the first line that is not; fewer if it has no more."""
        while True:
            for line in self._ready:
                if isinstance(line, Exception) or line.strip():
                    return b"" if isinstance(line, Exception) else b"".join(line.split())[:2]
            partial = b"".join(b"".join(self._pieces).split())
            if self._ended or len(partial) > 1:
                return partial[:2]
            self._fill()

    def first_line(self) -> bytes:
        """The first line that is not blank, of what comes next; it comes again. Empty if it is unusable."""
        while True:
            while self._ready:
                line = self._ready[0]
                if isinstance(line, Exception):
                    return b""
                if line.strip():
                    return line
                self._ready.popleft()
                self.number += 1
            if self._ended:
                return b""
            self._fill()

    def chunks(self) -> Iterator[bytes]:
        """What comes next, in pieces of any length instead of lines.

        Raises:
            BrokenStream: the stream breaks off.
        """
        for line in self._ready:
            if isinstance(line, Exception):
                raise line
            yield line + b"\n"
        yield b"".join(self._pieces)
        while not self._ended and (chunk := self._read()):
            yield chunk

    def _fill(self) -> None:
        """Take one more piece of the stream."""
        try:
            chunk = self._read()
        except BrokenStream as broken:
            self._ended = True
            self._ready.append(BrokenStream(f"{broken}; what came before was read"))
            return
        if not chunk:
            self._ended = True
            if self._length:
                self._complete()
            return
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r") and not self._null
        for line in _TO_NULL.findall(chunk) if self._null else chunk.splitlines(keepends=True):
            content = line.rstrip(b"\0" if self._null else b"\r\n")
            self._length += len(line)
            if self._length <= MAX_RECORD_BYTES:
                self._pieces.append(content)
            if len(content) < len(line):
                self._complete()

    def _complete(self) -> None:
        if self._length <= MAX_RECORD_BYTES:
            self._ready.append(b"".join(self._pieces))
        else:
            self._ready.append(BadRecord(f"the line is longer than {MAX_RECORD_BYTES // 2**20} MiB"))
        self._pieces, self._length = [], 0

    def _read(self) -> bytes:
        """The next bytes as UTF-8, as soon as there are any; none at the end."""
        if not self._begun:
            return self._begin()
        while chunk := self._take():
            if converted := self._converted(chunk):
                return converted
        return self._converted(b"")

    def _begin(self) -> bytes:
        self._begun = True
        start = b""
        while len(start) < BYTES_THAT_TELL and b"\n" not in start:
            if not (more := self._take()):
                break
            start += more
        if not start:
            return b""
        encoding, mark = encoding_of(start[:BYTES_THAT_TELL])
        if encoding != "utf-8":
            self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        return self._converted(start[mark:]) or self._read()

    def _take(self) -> bytes:
        try:
            return self._stream.read1(_CHUNK_BYTES)
        except OSError as failure:
            raise BrokenStream(f"reading failed: {failure.strerror or failure}") from None

    def _converted(self, chunk: bytes) -> bytes:
        if self._decoder is None:
            return chunk
        try:
            text = self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as failure:
            raise BrokenStream(f"invalid {failure.encoding.upper()}") from None
        return text.encode("utf-8", "surrogatepass")
