"""Plots as SVG text: lines or points with intervals, and stacked bars, with axes that fit what is shown.

Colours are classes of the page's style sheet, so that plots follow its light and dark form. Every mark says
its values where the pointer rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from mbc_cli.evaluation.protocols.result import Plot, Series

WIDTH, HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 40, 16, 48
COLOURS = 9
"""Classes s0 to s8."""

Scale = Callable[[float], float]


def line_plot(plot: Plot, palette: Sequence[str] = ()) -> str:
    """The plot as one ``<svg>``; empty text where there is nothing to draw.

    A series whose label is in the ``palette`` has the colour of its place there, in every plot.
    """
    series = [each for each in plot.series if each.x]
    if not series:
        return ""
    xs = [x for each in series for x in each.x if not plot.log_x or x > 0]
    ys = [y for each in series for y in (*each.y, *(each.low or ()), *(each.high or ()))]
    if not xs:
        return ""
    x_ticks = _log_ticks(xs) if plot.log_x else _ticks(min(xs), max(xs))
    y_ticks = _ticks(min(0.0, *ys), max(ys))
    x_scale = _scale(x_ticks, _LEFT, WIDTH - _RIGHT, log=plot.log_x)
    y_scale = _scale(y_ticks, HEIGHT - _BOTTOM, _TOP)
    labels = [each.label for each in series]
    known = [*palette, *(label for label in labels if label not in palette)]
    colours = [known.index(label) % COLOURS for label in labels]
    parts = [_axes(plot, x_ticks, y_ticks, x_scale, y_scale)]
    for colour, each in zip(colours, series, strict=True):
        parts.append(_series(each, colour, plot, x_scale, y_scale))
    return _figure(plot.title, "".join(parts), labels, colours)


def stacked_bars(title: str, bars: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Horizontal bars of shares: each a label and its parts, which fill it as far as their sum reaches 1."""
    names = list(dict.fromkeys(name for _, parts in bars for name in parts))
    if not names:
        return ""
    step, left = 30, 150
    drawn = []
    for row, (label, parts) in enumerate(bars):
        y = 8 + row * step
        drawn.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(label)}</text>')
        x = float(left)
        for colour, name in enumerate(names):
            width = parts.get(name, 0.0) * (WIDTH - left - _RIGHT)
            told = escape(f"{label}: {name} {100 * parts.get(name, 0.0):.1f} %")
            drawn.append(
                f'<rect class="s{colour}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="22">'
                f"<title>{told}</title></rect>"
            )
            x += width
    return _figure(title, "".join(drawn), names, range(len(names)), height=16 + len(bars) * step)


def _figure(
    title: str, content: str, labels: Sequence[str], colours: Sequence[int], height: int = HEIGHT
) -> str:
    keys = "".join(
        f'<li><span class="key s{colour}"></span>{escape(label)}</li>'
        for label, colour in zip(labels, colours, strict=True)
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}">'
        f'{content}</svg><ul class="keys">{keys}</ul></figure>'
    )


def _axes(plot: Plot, x_ticks: Sequence[float], y_ticks: Sequence[float], x: Scale, y: Scale) -> str:
    parts = []
    for tick in y_ticks:
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{number(tick)}</text>'
        )
    for tick in x_ticks:
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
            f'<text x="{x(tick):.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{number(tick)}</text>'
        )
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text class="axis" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(plot.x_label)}</text>"
        f'<text class="axis" transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(plot.y_label)}</text>"
    )
    return "".join(parts)


def _series(series: Series, place: int, plot: Plot, x: Scale, y: Scale) -> str:
    colour = f"s{place}"
    points = [
        (index, across, up)
        for index, (across, up) in enumerate(zip(series.x, series.y, strict=True))
        if not plot.log_x or across > 0
    ]
    parts = []
    if not plot.points and len(points) > 1:
        path = " ".join(f"{x(across):.1f},{y(up):.1f}" for _, across, up in points)
        parts.append(f'<polyline class="{colour} line" points="{path}"/>')
    for index, across, up in points:
        told = f"{series.label}: {plot.x_label} {number(across)}, {plot.y_label} {number(up)}"
        if series.low is not None and series.high is not None:
            low, high = series.low[index], series.high[index]
            told += f" ({number(low)} to {number(high)})"
            parts.append(
                f'<line class="{colour} line" x1="{x(across):.1f}" x2="{x(across):.1f}" '
                f'y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
            )
        parts.append(
            f'<circle class="{colour}" cx="{x(across):.1f}" cy="{y(up):.1f}" r="4">'
            f"<title>{escape(told)}</title></circle>"
        )
    return "".join(parts)


def number(value: float | int | str | None) -> str:
    """A number as people read it: 1,234, 12.3, 0.0123; text stays as it is, and None is a dash."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (value == round(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _scale(ticks: Sequence[float], start: float, end: float, *, log: bool = False) -> Scale:
    turned: Callable[[float], float] = math.log10 if log else float
    low, high = turned(ticks[0]), turned(ticks[-1])
    return lambda value: start + (turned(value) - low) / ((high - low) or 1) * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, about five, that enclose low to high."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= 6)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [place * step for place in range(first, last + 1)]


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Powers of ten that enclose the values; with 2s and 5s between where they are few."""
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    last = max(last, first + 1)
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [factor * 10.0**power for power in range(first, last) for factor in factors] + [10.0**last]
    below = [tick for tick in ticks if tick <= min(values)]
    above = [tick for tick in ticks if tick >= max(values)]
    kept = [tick for tick in ticks if below[-1] <= tick <= above[0]]
    return kept if len(kept) > 1 else ticks
