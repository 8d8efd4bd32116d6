"""Figures as inline SVG. Colours and type come from the page's style sheet, so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from leadline.report.plots import Boxes, Curves, Five

COLOURS = 8  # classes c0 to c7 of the style sheet
BOX, GAP, GROUP = 11, 4, 14  # heights in units of the drawing: a box, between boxes, between categories
WIDTH, TOP, BOTTOM, RIGHT = 960, 8, 40, 16
CURVES_SIZE = 360, 230


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, about as many as wanted.

    >>> ticks(0, 97)
    [0.0, 20.0, 40.0, 60.0, 80.0]
    """
    step = (high - low) / max(wanted - 1, 1) or 1.0
    scale = 10.0 ** math.floor(math.log10(step))
    step = next(scale * nice for nice in (1, 2, 2.5, 5, 10) if scale * nice >= step * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def box_plot(boxes: Boxes) -> str:
    """Horizontal boxes, those of one category together; the long stripe is the median."""
    left = 12 + 6.6 * max(map(len, boxes.categories))
    values = [own for lines in boxes.categories.values() for own in lines.values()]
    low, high = min(own.low for own in values), max(own.high for own in values)
    low, high = _padded(low, high)
    order = {label: i for i, label in enumerate(boxes.labels)}
    parts: list[str] = []
    y = float(TOP)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - RIGHT)

    for name, lines in boxes.categories.items():
        height = len(lines) * (BOX + GAP) - GAP
        count = max(own.pictures for own in lines.values())
        parts.append(_text(left - 10, y + height / 2, name, "end middle", f"{name}: {_pictures(count)}"))
        for label, own in lines.items():
            parts.append(_box(own, x, y, order[label] % COLOURS, label))
            y += BOX + GAP
        y += GROUP - GAP
    bottom = y - GROUP / 2
    grid = [_tick(x(value), TOP, bottom, value) for value in ticks(low, high)]
    axis = _text((left + WIDTH - RIGHT) / 2, bottom + 32, boxes.axis, "middle axis")
    return _svg(WIDTH, bottom + BOTTOM, boxes.title, [*grid, *parts, axis])


def curve_plot(curves: Curves) -> str:
    """Lines with their intervals; the horizontal axis is logarithmic."""
    width, height = CURVES_SIZE
    left, bottom = 52, height - 44
    points = [point for series in curves.series.values() for point in series]
    places = sorted({point.x for point in points})
    low, high = _padded(min(p.low for p in points), max(p.high for p in points))
    start, end = math.log(places[0]), math.log(places[-1])

    def x(value: float) -> float:
        return left + 14 + (math.log(value) - start) / (end - start) * (width - left - 14 - RIGHT)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - TOP)

    parts = [_row(left, width - RIGHT, y(value), value) for value in ticks(low, high, 5)]
    parts += [_text(x(place), bottom + 16, str(place), "middle") for place in places]
    for i, series in enumerate(curves.series.values()):
        colour = f"c{i % COLOURS}"
        path = " ".join(f"{x(p.x):.1f},{y(p.y):.1f}" for p in series)
        parts.append(f'<polyline class="curve {colour}" points="{path}"/>')
        for p in series:
            title = f"<title>{p.x}: {p.y:.2f} ({p.low:.2f} to {p.high:.2f})</title>"
            parts.append(f'<path class="bar {colour}" d="M{x(p.x):.1f} {y(p.low):.1f}V{y(p.high):.1f}"/>')
            parts.append(
                f'<circle class="dot {colour}" cx="{x(p.x):.1f}" cy="{y(p.y):.1f}" r="3.2">{title}</circle>'
            )
    parts.append(_text((left + width) / 2, height - 8, curves.x_axis, "middle axis"))
    middle = (TOP + bottom) / 2
    turned = f'transform="rotate(-90 12 {middle:.0f})"'
    parts.append(_text(12, middle, curves.y_axis, "middle axis", turned=turned))
    return _svg(width, height, curves.title, parts)


def _box(own: Five, x: object, y: float, colour: int, label: str) -> str:
    assert callable(x)
    low, first, median, third, high = (x(value) for value in own[:5])
    middle = y + BOX / 2
    quartiles = f"{own.median:.1f} ({own.first:.1f} to {own.third:.1f}), {_pictures(own.pictures)}"
    return (
        f'<g class="c{colour}"><title>{escape(label)}: {quartiles}</title>'
        f'<path class="whisker" d="M{low:.1f} {middle}H{first:.1f}M{third:.1f} {middle}H{high:.1f}"/>'
        f'<rect class="box" x="{first:.1f}" y="{y}" width="{max(third - first, 1):.1f}" height="{BOX}"/>'
        f'<path class="median" d="M{median:.1f} {y - 1.5}v{BOX + 3}"/></g>'
    )


def _pictures(count: int) -> str:
    return f"{count} picture{'s' * (count != 1)}"


def _padded(low: float, high: float) -> tuple[float, float]:
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def _tick(x: float, top: float, bottom: float, value: float) -> str:
    line = f'<path class="grid" d="M{x:.1f} {top}V{bottom:.1f}"/>'
    return line + _text(x, bottom + 15, f"{value:g}", "middle")


def _row(left: float, right: float, y: float, value: float) -> str:
    line = f'<path class="grid" d="M{left} {y:.1f}H{right}"/>'
    return line + _text(left - 6, y, f"{value:g}", "end middle")


def _text(x: float, y: float, words: str, where: str = "", title: str = "", turned: str = "") -> str:
    """where: classes of the style sheet, which place it around the point."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    return f'<text class="{where}" x="{x:.1f}" y="{y:.1f}" {turned}>{inner}{escape(words)}</text>'


def _svg(width: float, height: float, title: str, parts: Iterable[str] | Sequence[str]) -> str:
    box = f'viewBox="0 0 {width:.0f} {height:.0f}"'
    return f'<svg {box} role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">{"".join(parts)}</svg>'
