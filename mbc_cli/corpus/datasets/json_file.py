"""A data set in one JSON file, read whole and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mbc_cli.corpus.bad_input import BadInputs, BadRecord
from mbc_cli.corpus.json_text import JsonParser
from mbc_cli.corpus.streams import BrokenStream, open_stream, read_all
from mbc_cli.encodings import decode_text
from mbc_cli.errors import InputError, UsageError


def read_json(path: Path, bad: BadInputs, most_bytes: int) -> Any:
    """What the file holds, compressed or not, of at most so many bytes.

    Raises:
        UsageError: there is no file.
        InputError: it is no JSON, or too large.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "name a JSON file in the data set's format")
    try:
        with open_stream(str(path)) as stream:
            text = decode_text(read_all(stream, most_bytes))
        return JsonParser(lambda what: bad.remark(str(path), what)).parse(text, None)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    except (BadRecord, BrokenStream) as reason:
        raise InputError(f"{path}: {reason}") from None
