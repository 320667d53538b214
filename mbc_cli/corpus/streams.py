"""Byte streams: files and stdin, decompressed as they are read."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from mbc_cli.corpus.bad_input import BadRecord
from mbc_cli.errors import UnreadableError, UsageError

ByteStream: TypeAlias = "io.BufferedReader[Any]"
OnRead: TypeAlias = Callable[[int], None]

STDIN = "-"
MAX_RECORD_BYTES = 16 * 2**20
_CHUNK_BYTES = 2**16
_COMPRESSED_BYTES = 2**12  # read at once: little, for a few bytes can stand for very many
_MAX_WINDOW_BYTES = 2**31  # the most that `zstd --ultra --long=31` makes; little of it is used by small data
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


class BrokenStream(Exception):
    """The stream breaks off before its end; what was read until then is good."""


def size_of(source: str) -> int | None:
    """How many bytes a file has, or what stdin is read from; None where only the end tells, as of a pipe."""
    try:
        found = os.fstat(0) if source == STDIN else Path(source).stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


@contextmanager
def open_stream(source: str, on_read: OnRead | None = None) -> Iterator[ByteStream]:
    """Open a file, or stdin for ``-``; gzip and zstd are recognised by their first bytes.

    Args:
        on_read: called with how many bytes were read, before they are decompressed.

    Raises:
        UsageError: stdin is closed.
        UnreadableError: the file cannot be opened.
    """
    if source == STDIN and sys.stdin is None:
        raise UsageError("stdin is closed", "give it input, or name a file instead of -")
    try:
        raw = _stdin() if source == STDIN else io.FileIO(source)
        stream = io.BufferedReader(raw if on_read is None else _Counted(raw, on_read), _CHUNK_BYTES)
        start, stream = _start_of(stream)
    except OSError as failure:
        raise UnreadableError(f"cannot be read: {failure.strerror or failure}") from None
    try:
        for magic, compression in _COMPRESSIONS.items():
            if start.startswith(magic):
                yield io.BufferedReader(_Decompressed(stream, compression), _CHUNK_BYTES)
                return
        yield stream
    finally:
        if source != STDIN:
            stream.close()


def read_all(stream: ByteStream, most_bytes: int = MAX_RECORD_BYTES) -> bytes:
    """Return everything that is left in ``stream``.

    Raises:
        BadRecord: there are more than ``most_bytes``.
        BrokenStream: the stream breaks off.
    """
    try:
        content = stream.read(most_bytes + 1)
    except OSError as failure:
        raise _reading_failed(failure) from None
    if len(content) > most_bytes:
        raise BadRecord(f"it is longer than {most_bytes // 2**20} MiB")
    return content


def _start_of(stream: ByteStream) -> tuple[bytes, ByteStream]:
    """The first four bytes, fewer if a line ends before, and a stream that begins with them once more.

    A pipe gives what has arrived, which may be a single byte: what is read from a stream must not depend
    on when its bytes come.
    """
    begin = stream.tell() if stream.seekable() else None
    start = b""
    while len(start) < 4 and b"\n" not in start and (more := stream.read1(4 - len(start))):
        start += more
    if begin is not None:
        stream.seek(begin)
        return start, stream
    return start, io.BufferedReader(_Resumed(start, stream))


def decode(content: bytes) -> str:
    """Return UTF-8 ``content`` as text.

    Raises:
        BadRecord: it is not UTF-8.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as failure:
        byte = content[failure.start]
        raise BadRecord(f"invalid UTF-8 (byte 0x{byte:02x} at offset {failure.start})") from None


def _reading_failed(failure: OSError) -> BrokenStream:
    return BrokenStream(f"reading failed: {failure.strerror or failure}")


def _stdin() -> io.RawIOBase:
    """Stdin as a raw stream of its own, which closing does not close for the rest of the process."""
    return _Unclosable(sys.stdin.buffer)


class _Unclosable(io.RawIOBase):
    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._source.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._source.seek(offset, whence))

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        content = self._source.read1(len(buffer))
        buffer[: len(content)] = content
        return len(content)


class _Counted(io.RawIOBase):
    """Another raw stream, of which it is told how much is read."""

    def __init__(self, source: io.RawIOBase, on_read: OnRead) -> None:
        self._source = source
        self._on_read = on_read

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._source.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._source.seek(offset, whence)

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        count = self._source.readinto(buffer)
        self._on_read(count or 0)
        return count

    def close(self) -> None:
        super().close()
        self._source.close()


class _Resumed(io.RawIOBase):
    """A pipe of which ``start`` has been read already."""

    def __init__(self, start: bytes, source: ByteStream) -> None:
        self._start = start
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        content = self._start[: len(buffer)] or self._source.read1(len(buffer))
        self._start = self._start[len(buffer) :]
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        super().close()
        self._source.close()


class _Decompressed(io.RawIOBase):
    """What a compressed stream holds: everything up to where it breaks off, then :class:`BrokenStream`.

    The libraries' own readers lose what they have when they meet a break, or do not notice a missing end.
    """

    def __init__(self, source: ByteStream, compression: str) -> None:
        self._source = source
        self._compression = compression
        self._decompressor: Any = None  # None between the members of a file
        self._compressed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            self._compressed = self._compressed or self._source.read1(_COMPRESSED_BYTES)
            if not self._compressed:
                if self._decompressor is None:
                    return 0
                raise BrokenStream("the compressed data end too early (truncated file?)")
            self._decompress()
        content = self._ready[: len(buffer)]
        buffer[: len(content)] = content
        self._ready = self._ready[len(content) :]
        return len(content)

    def _decompress(self) -> None:
        if self._decompressor is None:
            if self._compression == "gzip":  # zeros may fill a file up to the end of a block
                self._compressed = self._compressed.lstrip(b"\0")
            if not self._compressed:
                return
            self._decompressor = _decompressor(self._compression)
        try:
            self._ready = memoryview(self._decompressor.decompress(self._compressed))
        except Exception as failure:  # zlib and zstandard have no error in common
            raise BrokenStream(f"the compressed data are damaged ({failure})") from None
        self._compressed = self._decompressor.unused_data
        if self._decompressor.eof:
            self._decompressor = None


def _decompressor(compression: str) -> Any:
    """An object of the form of ``zlib.decompressobj`` for one member of a gzip or zstd file."""
    if compression == "gzip":
        import zlib

        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()
