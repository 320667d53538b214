"""What a training run was started with, kept beside its checkpoints so that only the same run resumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mbc_cli.errors import CheckpointError
from mbc_cli.model.config import MemoryConfig
from mbc_cli.training.checkpoints import write_atomically
from mbc_cli.training.config import TrainingConfig

# Settings that may differ in a resumed run: none of them changes a single loss.
FREE_TO_CHANGE = frozenset({"training.max_minutes", "training.save_every", "training.trackers"})


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
    write_atomically(path, yaml.safe_dump(dict(record), sort_keys=False))


def check_run_record(path: Path, record: Mapping[str, Any]) -> None:
    """Compare a run with the one recorded at ``path``.

    Raises:
        MbcError: there is no record, or they differ in something that changes the losses; the message names
            every difference.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path.parent} holds checkpoints but no {path.name}, which says what they were trained with",
            f"restore {path.name}, or choose another output directory",
        )
    recorded = dict(_flat(_with_newer_settings(yaml.safe_load(path.read_text(encoding="utf-8")))))
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


def _with_newer_settings(record: dict[str, Any]) -> dict[str, Any]:
    """The record of an older version with the defaults of settings it did not know, which change nothing."""
    try:
        return record | {
            "model": MemoryConfig.model_validate(record["model"]).model_dump(mode="json"),
            "training": TrainingConfig.model_validate(record["training"]).model_dump(mode="json"),
        }
    except (KeyError, ValidationError):
        return record  # what this version does not know is named as a difference


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested keys as dotted ones."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
