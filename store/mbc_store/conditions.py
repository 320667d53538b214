"""Conditions on metadata: ``year>=2021``, ``source!=blog``, ``tags=draft``, ``title~Lindholm``.

A condition's value is text, as a person writes it, or of a JSON type. It is compared with a document's value
by the type of that one: numbers as numbers (2021 and 2021.0 are equal), true and false whatever their case,
texts as texts. A list meets a condition if one of its items does; a dotted key looks into nested objects.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mbc_store.errors import StoreError

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~"]

_FORM = re.compile(r"(?P<key>.+?)(?P<operator>!=|<=|>=|=|<|>|~)(?P<value>.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What a document's metadata must be like.

    ``=`` and ``!=`` compare, ``<``, ``<=``, ``>`` and ``>=`` order numbers as numbers and texts as texts, and
    ``~`` finds the value inside of a text, whatever its case. A document without the key meets only ``!=``.
    """

    key: str
    operator: Operator
    value: str | int | float | bool | None

    def __post_init__(self) -> None:
        if not self.key or self.operator not in get_args(Operator):
            raise StoreError(
                f"{self} is no condition on metadata",
                f"write KEY, one of {' '.join(get_args(Operator))}, and a value, such as year>=2021",
            )

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read ``key=value``, ``key>=value`` and the like; the first operator counts.

        Raises:
            StoreError: there is no key or no operator.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise StoreError(
                f"{text!r} is no condition on metadata",
                f"write KEY, one of {' '.join(get_args(Operator))}, and a value, such as year>=2021",
            )
        return cls(match["key"].strip(), match["operator"], match["value"].strip())  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.key}{self.operator}{self.value}"

    def holds(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a document of this metadata meets the condition."""
        found = list(_values(metadata, self.key))
        if self.operator == "!=":
            return not any(_equal(value, self.value) for value in found)
        if self.operator == "=":
            return any(_equal(value, self.value) for value in found)
        if self.operator == "~":
            wanted = _text(self.value).casefold()
            return any(value is not None and wanted in _text(value).casefold() for value in found)
        return any(_ordered(value, self.value, _ORDER[self.operator]) for value in found)


Where = Mapping[str, Any] | Sequence[Condition | str]
"""All of these: a mapping of keys to the values they must equal, or conditions, perhaps as text."""


def conditions(where: Where | None) -> tuple[Condition, ...]:
    """The conditions that ``where`` stands for.

    Raises:
        StoreError: one of them is none.
    """
    if where is None:
        return ()
    if isinstance(where, Mapping):
        return tuple(Condition(key, "=", value) for key, value in where.items())
    return tuple(each if isinstance(each, Condition) else Condition.parse(each) for each in where)


def keys_of(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys that conditions can name, those of nested objects dotted."""
    for key, value in metadata.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{prefix}{key}.")


def _values(metadata: Mapping[str, Any], key: str) -> Iterator[Any]:
    """The values at a key: none where it is missing, every item of a list."""
    if key in metadata:
        value = metadata[key]
        yield from value if isinstance(value, list) else [value]
        return
    head, dot, rest = key.partition(".")
    inner = metadata.get(head)
    if dot and isinstance(inner, Mapping):
        yield from _values(inner, rest)


def _equal(value: Any, wanted: Any) -> bool:
    if value is None or wanted is None:
        return value is None and (wanted is None or wanted == "null")
    if isinstance(value, bool) or isinstance(wanted, bool):
        return _text(value).casefold() == _text(wanted).casefold()
    if isinstance(value, int | float) or (isinstance(wanted, int | float) and _number(value) is not None):
        number = _number(wanted)
        return number is not None and _number(value) == number
    return _text(value) == _text(wanted)


def _ordered(value: Any, wanted: Any, order: Callable[[Any, Any], bool]) -> bool:
    if value is None or wanted is None or isinstance(value, bool | Mapping):
        return False
    number, bound = _number(value), _number(wanted)
    if number is not None and bound is not None:
        return order(number, bound)
    return isinstance(value, str) and order(value, _text(wanted))


def _number(value: Any) -> int | float | None:
    """A number, or one that is written as text; whole ones exactly, however long."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    if not isinstance(value, str) or len(value) > 400 or not _NUMBER.fullmatch(value.strip()):
        return None
    return int(value) if re.fullmatch(r"[+-]?\d+", value.strip()) else float(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
