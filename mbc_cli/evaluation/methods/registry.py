"""The methods by name; a new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mbc_cli.errors import UsageError, nearest_hint
from mbc_cli.evaluation.method import Method, Setting
from mbc_cli.evaluation.methods.bm25 import Bm25Method
from mbc_cli.evaluation.methods.dense import DenseMethod
from mbc_cli.evaluation.methods.fine_tuning import FineTuningMethod
from mbc_cli.evaluation.methods.gold_text import GoldTextMethod
from mbc_cli.evaluation.methods.memory import MemoryMethod, VectorsMethod
from mbc_cli.evaluation.methods.no_memory import NoMemory
from mbc_cli.evaluation.methods.text import SelectedTextMethod
from mbc_cli.evaluation.methods.whole_bank import WholeBankMethod


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
    "whole-bank": MethodKind("whole bank", "the published method, by another adapter", WholeBankMethod.make),
    "text": MethodKind(
        "text, same selection",
        "what the memory selects, read as text",
        SelectedTextMethod.make,
        SelectedTextMethod.GRID,
    ),
    "gold-text": MethodKind(
        "gold text", "the right documents as text: an upper bound", GoldTextMethod.make, GoldTextMethod.GRID
    ),
    "bm25": MethodKind("BM25 + text", "found by words, read as text", Bm25Method.make, Bm25Method.GRID),
    "dense": MethodKind(
        "dense + text", "found by an encoder's vectors, read as text", DenseMethod.make, DenseMethod.GRID
    ),
    "fine-tuning": MethodKind(
        "online fine-tuning", "a LoRA that learns the stream", FineTuningMethod.make, FineTuningMethod.GRID
    ),
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
