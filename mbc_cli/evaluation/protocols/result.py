"""What a protocol shows: figures, a table and plots, in a form that any report can draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; numbers are written by the report, None is a dash."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Series:
    """Points (x, y) of one line, with the bounds of an interval around each y where there is one."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines in one frame; axes are linear unless said otherwise. ``points`` draws no lines between them."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    points: bool = False


@dataclass(frozen=True, slots=True)
class ProtocolResult:
    """What a protocol found.

    Attributes:
        name: that of the registry.
        title: a heading.
        what: one sentence that says what was done and how to read it.
        figures: the figures by name; shares are fractions, times seconds, sizes bytes.
    """

    name: str
    title: str
    what: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
