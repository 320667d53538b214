"""Files become items in a task each: documents, and all that is to be told of what is none."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mbc_cli.corpus.bad_input import BadInput, BadInputs
from mbc_cli.corpus.choices import Format, OnBadTime
from mbc_cli.corpus.documents import Document
from mbc_cli.corpus.readers import read_documents
from mbc_cli.corpus.records import FieldNames
from mbc_cli.errors import MbcError, OperatingSystemError

CHARACTERS_AT_ONCE = 500_000
DOCUMENTS_AT_ONCE = 256

File = tuple[str, Format | None]


@dataclass(frozen=True, slots=True)
class Remark:
    """Something is read otherwise than it stands."""

    place: str
    what: str


@dataclass(frozen=True, slots=True)
class Read:
    """So many bytes of files were read since the last of these."""

    size: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The run cannot go on."""

    error: Exception


Item = Document | BadInput | Remark | Read | Failed


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read; the arguments of ``read_documents``.

    Attributes:
        folder: the current one where the command was given: names are told as they were given there.
    """

    names: FieldNames = field(default_factory=FieldNames)
    delimiter: str | None = None
    on_bad_time: OnBadTime = "skip"
    folder: str = field(default_factory=os.getcwd)

    def items(self, files: Sequence[File]) -> Iterator[Item]:
        """What is in ``files``, in order; the last one is Failed where they cannot be read on."""
        told: list[Item] = []
        read: list[int] = []
        try:
            with chdir(self.folder):
                for name, format in files:
                    documents = read_documents(
                        [name],
                        _Told(told),
                        names=self.names,
                        format=format,
                        delimiter=self.delimiter,
                        on_bad_time=self.on_bad_time,
                        on_read=read.append,
                    )
                    for document in documents:
                        yield from told
                        told.clear()
                        yield document
                        if read:
                            yield Read(sum(read))
                            read.clear()
                yield from told
                yield Read(sum(read))
        except MbcError as error:
            yield from told
            yield Failed(error)
        except OSError as error:
            yield from told
            yield Failed(OperatingSystemError(f"{self.folder}: {error.strerror or error}"))

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, np.ndarray]]:
        """The items of the files in ``batch``, pickled, some at a time."""
        pickled: list[bytes] = []
        documents = characters = 0
        for item in self.items([(str(name), format or None) for name, format in _rows(batch)]):
            pickled.append(pickle.dumps(item))
            if isinstance(item, Document):
                documents += 1
                characters += item.characters
            if documents >= DOCUMENTS_AT_ONCE or characters >= CHARACTERS_AT_ONCE:
                yield {"item": objects(pickled)}
                pickled, documents, characters = [], 0, 0
        if pickled:
            yield {"item": objects(pickled)}


class _Told(BadInputs):
    """Bad input and remarks become items: only whoever has seen all files knows which is the first."""

    def __init__(self, told: list[Item]) -> None:
        super().__init__()
        self._told = told

    def add(self, place: str, reason: str) -> None:
        self._told.append(BadInput(place, reason))

    def remark(self, place: str, what: str) -> None:
        self._told.append(Remark(place, what))


def objects(values: Sequence[Any]) -> np.ndarray:
    """(n,) of ``values`` as they are."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _rows(batch: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    return zip(batch["name"].tolist(), batch["format"].tolist(), strict=True)
