"""The methods by name; a new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mbc_cli.errors import UsageError, nearest_hint
from mbc_cli.evaluation.method import Method, Setting
from mbc_cli.evaluation.methods.memory import MemoryMethod, VectorsMethod
from mbc_cli.evaluation.methods.no_memory import NoMemory


@dataclass(frozen=True, slots=True)
class MethodKind:
    """A method that can be made.

    ``what`` is one line on it. ``grid`` are the settings that tuning chooses among, its own first.
    """

    label: str
    what: str
    make: Callable[[Setting], Method]
    grid: Sequence[Mapping[str, object]] = ({},)


METHODS: Mapping[str, MethodKind] = {
    "none": MethodKind("no memory", "the LLM untouched, reading nothing", NoMemory.make),
    "memory": MethodKind("memory", "this memory, from its codes", MemoryMethod.make),
    "vectors": MethodKind("unquantised", "the same before its codes, as MAC keeps it", VectorsMethod.make),
}


def make_method(name: str, setting: Setting) -> Method:
    """The method called ``name``.

    Raises:
        UsageError: there is none.
    """
    return kind_of(name).make(setting)


def kind_of(name: str) -> MethodKind:
    """The entry of ``name``. Raises UsageError where there is none."""
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}", nearest_hint(name, METHODS))
    return METHODS[name]
