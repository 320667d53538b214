"""Rows of progress on a terminal: how far, how fast, and how long it still takes where the end is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from mbc_cli.reporting import Advance


class ProgressRows:
    """One row for each work in progress, the work within it below; drawn several times a second."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), _Done(), _TimeLeft())
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)

    @property
    def console(self) -> Console:
        """What writes above the rows."""
        return self._progress.console

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw the rows while the block runs."""
        with self._progress:
            yield

    @contextmanager
    def row(self, description: str, total: int | None, unit: str) -> Iterator[Advance]:
        """Add a row while the block runs; yield what moves it on."""
        row = self._progress.add_task(description, total=total, unit=unit, also="")
        self._progress.refresh()
        try:
            yield partial(self._advance, row)
        finally:
            self._progress.remove_task(row)

    def _advance(self, row: TaskID, count: int = 1, total: int | None = None, also: str = "") -> None:
        self._progress.update(row, advance=count, total=total, also=also)
        self._progress.refresh()


class _Done(ProgressColumn):
    """What is done, of how much, and the rate or another figure."""

    def render(self, task: Task) -> Text:
        unit, elapsed = task.fields["unit"], task.elapsed
        if task.total is None and not task.completed:
            return Text()
        done = _amount(task.completed, unit)
        if task.total is not None:
            done = f"{done.removesuffix(f' {unit}')}/{_amount(task.total, unit)}"
        rate = [f"{_amount(task.completed / elapsed, unit)}/s"] if elapsed and task.completed else []
        return Text(", ".join([done, *([task.fields["also"]] if task.fields["also"] else rate)]))


class _TimeLeft(ProgressColumn):
    """By the mean rate so far: work comes in batches and commits, between which nothing seems to move."""

    def render(self, task: Task) -> Text:
        if not task.total or not task.completed or task.elapsed is None:
            return Text()
        left = task.elapsed * max(task.total - task.completed, 0) / task.completed
        return Text(f"{timedelta(seconds=round(left))} left")


def _amount(count: float, unit: str) -> str:
    return decimal(int(count)) if unit == "bytes" else f"{count:,.0f} {unit}"
