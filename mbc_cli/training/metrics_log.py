"""One line of JSON per report of a training run: ``metrics.jsonl``.

A line has ``step``, ``kind`` (``train`` or ``validation``) and figures. A resumed run first drops the lines
beyond its checkpoint, so the file reads like that of a run which was never interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbc_cli.training.checkpoints import write_atomically


class MetricsLog:
    """Appends to ``path``, which belongs to one run."""

    def __init__(self, path: Path, *, from_step: int = 0) -> None:
        """Open the log of a run that continues after ``from_step``; lines of later steps are dropped."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_metrics(path) if row["step"] <= from_step]
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))

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
