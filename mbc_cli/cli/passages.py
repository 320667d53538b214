"""Passages as text: those an answer was read from, and those a search finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mbc_cli.cli import output

if TYPE_CHECKING:
    from mbc_cli.inference.answer import Source

_LONGEST = 160  # characters of a passage


def write_passages(sources: Sequence[Source], *, indent: str = "") -> None:
    """Write what each passage is, and below it the beginning of its telegram, or else of its text."""
    for source in sources:
        title = f" {source.title!r}" if source.title else ""
        output.write(
            f"{indent}{source.document_id}{title}, passage {source.passage} "
            f"({source.start}-{source.end}), score {source.score:.3f}"
        )
        if shown := source.telegram or source.text:
            output.write(f"{indent}  {_shortened(shown)}")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
