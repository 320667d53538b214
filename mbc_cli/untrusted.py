"""Reading what somebody else wrote: regular files of a bounded size, and shallow YAML and JSON.

A folder that was unpacked or downloaded may hold anything under the names that we look for: links to other
files, pipes that never end, trees deep enough to exhaust the stack, numbers that take minutes to read.
"""

from __future__ import annotations

import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

import yaml

from mbc_cli.encodings import decode_text

DEEPEST = 64
LONGEST_NUMBER = 100


class UntrustedFileError(ValueError):
    """A file is not what it must be; the message says in one line why."""


def open_regular(path: Path) -> BufferedReader:
    """Open the regular file ``path`` for reading; a link is not followed, and a pipe not waited for.

    Raises:
        OSError: there is no such file, or it may not be read.
        UntrustedFileError: it is a link, a folder, a pipe or a device.
    """
    if path.is_symlink():  # also where the system knows no O_NOFOLLOW
        raise UntrustedFileError(f"{path} is a symbolic link, and links are not followed here")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UntrustedFileError(f"{path} is no regular file")
    return os.fdopen(descriptor, "rb")


def read_text(path: Path, most_bytes: int) -> str:
    """The UTF-8 text of the regular file ``path``.

    Raises:
        OSError: as `open_regular`.
        UntrustedFileError: as `open_regular`, and for a file of more than ``most_bytes`` or not UTF-8.
    """
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise UntrustedFileError(f"{path} is larger than {most_bytes:,} bytes")
    try:
        return decode_text(content)
    except UnicodeDecodeError as error:
        raise UntrustedFileError(f"{path} is not UTF-8 text: {error}") from error


def parse_json(text: str) -> Any:
    """The tree that ``text`` spells in JSON.

    Raises:
        UntrustedFileError: it is no JSON, nests too deeply, or holds a number of over 100 digits.
    """
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError:
        raise UntrustedFileError("it nests too deeply") from None
    except UntrustedFileError:
        raise
    except ValueError as error:
        raise UntrustedFileError(f"it is not valid JSON: {error}") from error


def parse_yaml(text: str) -> Any:
    """The tree that ``text`` spells in YAML, of plain values only.

    Aliases are refused: merged into each other they grow exponentially.

    Raises:
        UntrustedFileError: it is no YAML, nests deeper than 64, has aliases or a number of over 100 digits.
    """
    try:
        return yaml.load(text, _BoundedLoader)
    except UntrustedFileError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-99-99
        raise UntrustedFileError(f"it is not valid YAML: {' '.join(str(error).split())}") from error


class _BoundedLoader(yaml.SafeLoader):
    """The safe loader, which makes plain values only, without its ways to run out of stack or time."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise UntrustedFileError("it holds an alias (*name)")
        self.depth += 1
        if self.depth > DEEPEST:
            raise UntrustedFileError(f"it nests deeper than {DEEPEST}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_yaml_int(self, node: Any) -> int:
        _check_length(node.value)
        return super().construct_yaml_int(node)


_BoundedLoader.add_constructor("tag:yaml.org,2002:int", _BoundedLoader.construct_yaml_int)


def _whole_number(digits: str) -> int:
    _check_length(digits)
    return int(digits)


def _check_length(digits: str) -> None:
    if len(digits) > LONGEST_NUMBER:
        raise UntrustedFileError(f"it holds a number of {len(digits):,} digits")
