"""JSON as files hold it, with one rule for what JSON has no room for.

NaN, Infinity and numbers beyond a float's range (1e400) are read as null, and of equal keys in one object the
last one counts; either is remarked upon.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from mbc_cli.corpus.bad_input import BadRecord
from mbc_cli.corpus.streams import MAX_RECORD_BYTES

NO_NUMBER = "a number that is not finite is read as null"
EQUAL_KEYS = "a key stands twice in one object, and the last one counts"
MAX_DIGITS = 4300  # of an integer: Python's own limit

MAX_VALUES = 2**18  # of one record: a list of nothing takes three bytes of JSON, and sixty in Python
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"')  # possessive: nothing is kept to go back to

Remark = Callable[[str], object]
_BLANK = re.compile(r"\s*")
_BLANK_OR_COMMA = re.compile(r"[\s,]*")
_INFINITE = (float("inf"), float("-inf"))


class JsonParser:
    """Parses one JSON text after the other; ``remark`` gets what is read otherwise than it stands."""

    def __init__(self, remark: Remark = lambda what: None) -> None:
        self._remark = remark
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._constant,
            parse_float=self._float,
            parse_int=self._int,
        )
        # Of the value last decoded: the decoder goes on to its end, which must be known.
        self._remarks: list[str] = []
        self._unusable: str | None = None

    def parse(self, text: str, most_values: int | None = MAX_VALUES) -> Any:
        """Return the value of ``text``.

        Raises:
            BadRecord: it is malformed, nested too deep, has more than ``most_values`` values, or holds a
                number of over 4,300 digits.
        """
        if most_values is not None and _has_more_values(text, most_values):
            raise BadRecord(f"it holds more than {most_values:,} values")
        start = _after(_BLANK, text, 0)
        try:
            value, end = self.decode(text, start)
        except json.JSONDecodeError as failure:
            raise BadRecord(_malformed(failure)) from None
        if _after(_BLANK, text, end) < len(text):
            raise BadRecord(f"malformed JSON: Extra data at column {end + 1}")
        self.settle()
        return value

    def decode(self, text: str, start: int) -> tuple[Any, int]:
        """Return the value that begins at ``start``, and where it ends; it must be settled before its use.

        Raises:
            JSONDecodeError: there is no whole value.
            BadRecord: it is nested too deep.
        """
        self._remarks, self._unusable = [], None
        try:
            return self._decoder.raw_decode(text, start)
        except RecursionError:
            raise BadRecord("malformed JSON: nested too deep") from None

    def settle(self) -> None:
        """Pass on the remarks upon the value last decoded; raise BadRecord if it cannot be used."""
        if self._unusable is not None:
            raise BadRecord(self._unusable)
        for what in self._remarks:
            self._remark(what)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            self._remarks.append(EQUAL_KEYS)
        return content

    def _constant(self, name: str) -> None:
        self._remarks.append(NO_NUMBER)

    def _float(self, digits: str) -> float | None:
        if (value := float(digits)) in _INFINITE:
            self._remarks.append(NO_NUMBER)
            return None
        return value

    def _int(self, digits: str) -> int | None:
        if len(digits) > MAX_DIGITS:
            self._unusable = f"malformed JSON: a number has {len(digits):,} digits"
            return None
        return int(digits)


def is_json_object(text: str) -> bool:
    """Whether ``text`` is one JSON object, usable or not."""
    if _has_more_values(text, MAX_VALUES):
        return text.lstrip().startswith("{")
    try:
        value, end = JsonParser().decode(text, _after(_BLANK, text, 0))
    except (json.JSONDecodeError, BadRecord):
        return False
    return isinstance(value, dict) and _after(_BLANK, text, end) == len(text)


def parse_values(chunks: Iterator[str], remark: Remark) -> Iterator[Any]:
    """Yield the items of a JSON array, or JSON values that follow each other; one is held at a time.

    An item that is JSON but cannot be used is yielded as a :class:`BadRecord`.

    Raises:
        BadRecord: the text is malformed from here on, or an item is longer than ``MAX_RECORD_BYTES``.
    """
    parser, text = JsonParser(remark), _ArrivingText(chunks)
    in_array = text.skip(_BLANK) == "["
    text.position += in_array
    while character := text.skip(_BLANK_OR_COMMA):
        if in_array and character == "]":
            text.position += 1
            if text.skip(_BLANK):
                raise BadRecord("malformed JSON: there is more after the end of the array")
            return
        value = text.take(parser)
        try:
            parser.settle()
        except BadRecord as reason:
            value = reason
        yield value
    if in_array:
        raise BadRecord("malformed JSON: the array does not end (truncated file?)")


class _ArrivingText:
    """Text that comes in pieces, of which little more than one value is held."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks = chunks
        self._text = ""
        self.position = 0

    def skip(self, pattern: re.Pattern[str]) -> str:
        """Pass over what matches ``pattern``; return the character after it, none at the end."""
        while True:
            self.position = _after(pattern, self._text, self.position)
            if self.position < len(self._text) or not self._grow():
                return self._text[self.position : self.position + 1]

    def take(self, parser: JsonParser) -> Any:
        """Decode the value that begins here, and pass over it."""
        while True:
            # Most of the text held is of one value where it is more than a piece or two.
            if _has_more_values(self._text, 2 * MAX_VALUES):
                raise BadRecord(f"an item holds more than {MAX_VALUES:,} values")
            try:
                value, end = parser.decode(self._text, self.position)
            except json.JSONDecodeError as failure:
                if len(self._text) - self.position > MAX_RECORD_BYTES:
                    reason = f"{_malformed(failure)}, or longer than {MAX_RECORD_BYTES // 2**20} MiB"
                    raise BadRecord(reason) from None
                if not self._grow():
                    raise BadRecord(_malformed(failure)) from None
            else:
                length = end - self.position
                if end < len(self._text) or not self._grow():  # the digits of a number may go on
                    self.position += length
                    return value

    def _grow(self) -> bool:
        """Double what is held, for a value that is not whole is decoded anew; False if nothing is left."""
        held = self._text[self.position :]
        pieces, length = [held], len(held)
        while length <= 2 * len(held) and (piece := next(self._chunks, None)) is not None:
            pieces.append(piece)
            length += len(piece)
        self._text, self.position = "".join(pieces), 0
        return length > len(held)


def _after(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    assert found is not None, "the pattern matches the empty text as well"
    return found.end()


def _has_more_values(text: str, most: int) -> bool:
    """Whether JSON has more than ``most`` values; strings are left out only where it may have."""

    def separators(text: str) -> int:
        return sum(map(text.count, ",[{"))

    return len(text) > most and separators(text) > most and separators(_STRING.sub("", text)) > most


def _malformed(failure: json.JSONDecodeError) -> str:
    return f"malformed JSON: {failure.msg.removesuffix(' at')} at column {failure.colno}"
