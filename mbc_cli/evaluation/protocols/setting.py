"""What protocols are run with, and how their own settings are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import UsageError, nearest_hint
from mbc_cli.evaluation.method import Method
from mbc_cli.evaluation.vector_memory import AnyMemory

Make = Callable[[str, Mapping[str, object]], AbstractContextManager[Method]]
"""A fresh method of the registry, by name and settings, which keeps what it keeps while the block runs."""


@dataclass(frozen=True, slots=True)
class ProtocolSetting:
    """What a protocol works with.

    Attributes:
        make: makes methods, each with a memory of its own.
        memory: the memory that is evaluated; protocols fill fresh ones beside it.
        methods: the names of the methods to question.
        documents, questions: those of the run.
        folder: an empty folder of the protocol's own.
        options: the protocol's own settings.
    """

    make: Make
    memory: AnyMemory
    methods: tuple[str, ...]
    documents: tuple[Document, ...]
    questions: tuple[Question, ...]
    folder: Path
    seed: int = 0
    batch_size: int = 16
    options: Mapping[str, object] = field(default_factory=dict)

    def check_options(self, protocol: str, **known: object) -> None:
        """Raise UsageError if an option is not one of ``known``."""
        for name in self.options:
            if name not in known:
                raise UsageError(
                    f"protocol {protocol} has no setting {name!r}; accepted: {', '.join(known) or 'none'}",
                    nearest_hint(name, known),
                )

    def number(self, name: str, usual: int, *, least: int = 1) -> int:
        """A whole number among the options.

        Raises:
            UsageError: it is none, or below ``least``.
        """
        value = self.options.get(name, usual)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UsageError(f"setting {name} is {value!r}; accepted: a whole number of at least {least}")
        return value
