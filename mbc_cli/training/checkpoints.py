"""Checkpoints that are either whole or absent, whatever kills the process.

A checkpoint is a directory ``step-00000042`` with ``state.pt`` (tensors: memory model, optimiser, random
number generators) and ``progress.json`` (counters, readable). It is written under a temporary name, forced
to disk and then renamed, so a directory with a final name is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mbc_cli.errors import CheckpointError

_PREFIX = "step-"
_TEMPORARY = ".writing-"


@dataclass
class Progress:
    """Where a run stands. Everything the loop needs besides tensors, and nothing that can be derived.

    The data position is ``step``: which passages a batch holds is a function of the seed and the step.
    """

    step: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    best_loss: float | None = None
    best_em: float | None = None
    validations_without_gain: int = 0
    interval_sums: dict[str, float] = field(default_factory=dict)
    interval_counts: dict[str, int] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one run, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def steps(self) -> list[int]:
        """The steps that have a complete checkpoint, in order."""
        return sorted(int(path.name.removeprefix(_PREFIX)) for path in self.directory.glob(f"{_PREFIX}*"))

    def save(self, progress: Progress, state: dict[str, Any], keep: Collection[int] = ()) -> None:
        """Write a checkpoint for ``progress.step``; afterwards drop all others but those in ``keep``."""
        final = self._path(progress.step)
        temporary = self.directory / f"{_TEMPORARY}{final.name}"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        temporary.mkdir()
        with durable_file(temporary / "state.pt") as path:
            torch.save(state, path)
        with durable_file(temporary / "progress.json") as path:
            path.write_text(json.dumps(asdict(progress), indent=2) + "\n", encoding="utf-8")
        _sync_directory(temporary)
        temporary.rename(final)
        _sync_directory(self.directory)
        for step in self.steps():
            if step != progress.step and step not in keep:
                shutil.rmtree(self._path(step))

    def load(self, step: int) -> tuple[Progress, dict[str, Any]]:
        """Read the checkpoint of ``step``; tensors arrive on the CPU.

        Raises:
            MbcError: the checkpoint cannot be read (damaged from outside, or written by another version).
        """
        path = self._path(step)
        try:
            progress = Progress(**json.loads((path / "progress.json").read_text(encoding="utf-8")))
            state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises nearly every type on a damaged file
            raise CheckpointError(
                f"cannot read the checkpoint {path}: {type(error).__name__}: {error}",
                "delete that directory to resume from an earlier checkpoint",
            ) from error
        return progress, state

    def _path(self, step: int) -> Path:
        return self.directory / f"{_PREFIX}{step:08d}"

    def _remove_leftovers(self) -> None:
        for path in self.directory.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(path)


@contextmanager
def durable_file(path: Path) -> Iterator[Path]:
    """Yield ``path`` to be written; what was written is on the disk when the block ends."""
    yield path
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_atomically(path: Path, text: str) -> None:
    """Replace the file at ``path`` by ``text``: a reader, or a crash, sees the old text or the new."""
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    with durable_file(temporary):
        temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Make renames within ``path`` durable; a no-op where directories cannot be opened (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
