"""What a data set is: told by `mbc dataset`, and what its files and splits are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mbc_cli.errors import UsageError, nearest_hint

_ALIASES = {"dev": "validation", "val": "validation", "valid": "validation", "eval": "test"}


@dataclass(frozen=True, slots=True)
class DatasetDescription:
    """A data set.

    Attributes:
        name: what ``--dataset`` takes.
        what: one or two sentences.
        languages: of its text.
        splits: its parts, each with its size in words; the first one is evaluated unless another is named.
        licence: of the data.
        citation: the publication.
        source: where its makers offer it.
        files: for each split the names its file may have, as patterns, those published first.
        how_to_get: what to do to have it in the data folder.
        hub: how it is found on the hub by ``datasets``, if it is: repository and configuration.
    """

    name: str
    what: str
    languages: str
    splits: Mapping[str, str]
    licence: str
    citation: str
    source: str
    files: Mapping[str, tuple[str, ...]]
    how_to_get: str
    hub: tuple[str, str | None] | None = None

    def split(self, wanted: str | None) -> str:
        """The split of that name, ``dev``, ``val`` and ``valid`` being validation; None is the usual one.

        Raises:
            UsageError: there is no such split.
        """
        if wanted is None:
            return next(iter(self.splits))
        found = wanted if wanted in self.splits else _ALIASES.get(wanted, wanted)
        if found not in self.splits:
            raise UsageError(
                f"data set {self.name} has no split {wanted!r}; it has {', '.join(self.splits)}",
                nearest_hint(wanted, self.splits),
            )
        return found
