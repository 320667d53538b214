"""What a run leaves on the disk so that it can go on: how it was started, its figures, its checkpoints.

``run.yaml`` says what the run was started with: only the same run resumes. ``metrics.jsonl`` has a line for
each report. ``checkpoints/step-00000042`` has ``state.pt`` (tensors: memory model, optimiser, random number
generators) and ``progress.json`` (counters, readable); it is written under a temporary name, forced to disk
and then renamed, so a directory with a final name is complete whatever kills the process.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from mbc_cli.errors import CheckpointError
from mbc_cli.files import publish, write_file
from mbc_cli.model.config import MemoryConfig
from mbc_cli.training.config import TrainingConfig

_PREFIX = "step-"
_TEMPORARY = ".writing-"

# Settings that may differ in a resumed run: none of them changes a single loss.
FREE_TO_CHANGE = frozenset({"training.max_minutes", "training.save_every", "training.trackers"})


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
        for leftover in self.directory.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover)
        temporary.mkdir()
        with (temporary / "state.pt").open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        write_file(temporary / "progress.json", json.dumps(asdict(progress), indent=2) + "\n")
        publish(temporary, final)
        for step in self.steps():
            if step != progress.step and step not in keep:
                shutil.rmtree(self._path(step))

    def load(self, step: int) -> tuple[Progress, dict[str, Any]]:
        """Read the checkpoint of ``step``; tensors arrive on the CPU.

        Raises:
            CheckpointError: it cannot be read (damaged from outside, or written by another version).
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


def random_states() -> dict[str, Any]:
    """The state of every random number generator of this process, in types that load without pickle."""
    version, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": (version, torch.from_numpy(np.array(keys, dtype=np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_states(state: dict[str, Any]) -> None:
    """Undo everything drawn since ``random_states`` returned ``state``."""
    random.setstate(state["python"])
    version, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((version, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


class MetricsLog:
    """One line of JSON per report of a run: ``step``, ``kind`` (``train`` or ``validation``) and figures.

    A resumed run first drops the lines beyond its checkpoint, so the file reads like that of a run which
    was never interrupted.
    """

    def __init__(self, path: Path, *, from_step: int = 0) -> None:
        """Open the log of a run that continues after ``from_step``; lines of later steps are dropped."""
        self.path = path
        kept = [row for row in read_metrics(path) if row["step"] <= from_step]
        write_file(path, "".join(json.dumps(row) + "\n" for row in kept))

    def write(self, kind: str, step: int, figures: Mapping[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "kind": kind, **figures}) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log. A last line cut short by a crash is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def run_record(
    config: MemoryConfig, training: TrainingConfig, data_digest: str, processes: int
) -> dict[str, Any]:
    """Everything that decides a run's numbers, as plain YAML types."""
    return {
        "model": config.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "data": data_digest,
        "processes": processes,
    }


def write_run_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write how a run was started, as YAML, for :func:`check_run_record` to compare a resumed one with."""
    write_file(path, yaml.safe_dump(dict(record), sort_keys=False))


def check_run_record(path: Path, record: Mapping[str, Any]) -> None:
    """Compare a run with the one recorded at ``path``.

    Raises:
        CheckpointError: there is no record, or they differ in something that changes the losses; the
                message names every difference.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path.parent} holds checkpoints but no {path.name}, which says what they were trained with",
            f"restore {path.name}, or choose another output directory",
        )
    recorded = dict(_flat(yaml.safe_load(path.read_text(encoding="utf-8"))))
    current = dict(_flat(record))
    changed = [
        f"{key} was {recorded.get(key)!r}, is {current.get(key)!r}"
        for key in sorted(recorded.keys() | current.keys())
        if recorded.get(key) != current.get(key) and key not in FREE_TO_CHANGE
    ]
    if changed:
        raise CheckpointError(
            f"the run in {path.parent} was started differently: {'; '.join(changed)}",
            "resume with the settings and data it was started with, or choose another output directory",
        )


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested keys as dotted ones."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
