"""Small charts as SVG text, which a page can hold without any script or file beside it.

Colours are classes (`good`, `bad`, `even`, `ink`, `faint`, `line`) that the page's style defines, so that they follow
its light or dark scheme. Blue and orange are told apart by those who do not see red and green.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from journeyman.records import Interval

_ROW = 26
_LABEL = 250
_WIDTH = 860
_CHARACTERS = 34


@dataclass(frozen=True, slots=True)
class Whisker:
    """A line of a forest plot; `tone` is `good`, `bad` or `even`, `note` stands at its right end."""

    label: str
    interval: Interval
    tone: str
    note: str


@dataclass(frozen=True, slots=True)
class Spot:
    """A model in a scatter plot: what it costs, in whatever unit, and its success rate, both with intervals."""

    label: str
    x: Interval
    y: Interval


def forest(rows: Sequence[Whisker], title: str) -> str:
    """Differences in percentage points with their intervals, and a line at no difference."""
    left, right, top = _LABEL, _WIDTH - 190, 34
    edge = _nice(100 * max(0.01, *(max(abs(row.interval.low), abs(row.interval.high)) for row in rows)))
    height = top + _ROW * len(rows) + 34

    def at(points: float) -> float:
        return (left + right) / 2 + points / edge * (right - left) / 2

    parts = [_text(_WIDTH / 2, 16, title, "ink", "middle")]
    for tick in (-edge, -edge / 2, 0.0, edge / 2, edge):
        kind = "axis" if tick == 0 else "line"
        parts.append(_line(at(tick), top - 8, at(tick), height - 26, kind))
        parts.append(_text(at(tick), height - 10, f"{tick:+g}" if tick else "0", "faint", "middle"))
    for number, row in enumerate(rows):
        y = top + _ROW * number + 10
        low, middle, high = (at(100 * each) for each in (row.interval.low, row.interval.estimate, row.interval.high))
        parts.append(_text(left - 12, y + 4, _cut(row.label), "ink", "end", row.label))
        parts.append(f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" class="{row.tone} whisker"/>')
        parts.append(f'<rect x="{middle - 4:.1f}" y="{y - 4}" width="8" height="8" class="{row.tone} fill"/>')
        parts.append(_text(right + 12, y + 4, row.note, "faint"))
    return _svg(height, parts, title)


def rates(rows: Sequence[Whisker], title: str) -> str:
    """Rates with their intervals, from 0 to the highest upper end."""
    left, right, top = _LABEL, _WIDTH - 190, 34
    edge = min(100.0, _nice(100 * max(0.01, *(row.interval.high for row in rows))))
    height = top + _ROW * len(rows) + 34

    def at(share: float) -> float:
        return left + min(1.0, 100 * share / edge) * (right - left)

    parts = [_text(_WIDTH / 2, 16, title, "ink", "middle")]
    for step in range(5):
        share = step / 4 * edge / 100
        parts.append(_line(at(share), top - 8, at(share), height - 26, "line" if step else "axis"))
        parts.append(_text(at(share), height - 10, f"{100 * share:g}%", "faint", "middle"))
    for number, row in enumerate(rows):
        y = top + _ROW * number + 10
        low, middle, high = (at(each) for each in (row.interval.low, row.interval.estimate, row.interval.high))
        parts.append(_text(left - 12, y + 4, _cut(row.label), "ink", "end", row.label))
        parts.append(f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" class="{row.tone} whisker"/>')
        parts.append(f'<rect x="{middle - 4:.1f}" y="{y - 4}" width="8" height="8" class="{row.tone} fill"/>')
        parts.append(_text(right + 12, y + 4, row.note, "faint"))
    return _svg(height, parts, title)


def scatter(spots: Sequence[Spot], title: str, x_title: str, unit: str) -> str:
    """Success against what it takes, with the front of the models that no other beats in both.

    Crosses are 95% intervals; the front goes by the estimates alone, so neighbours on it may not be distinguishable.
    `unit` holds a `{}` for the number. The axis is logarithmic where models are more than twentyfold apart.
    """
    left, right, top, bottom = 70, _WIDTH - 170, 34, 320
    ticks, share_of = _axis([spot.x for spot in spots])

    def across(x: float) -> float:
        return left + share_of(x) * (right - left)

    def up(y: float) -> float:
        return bottom - y * (bottom - top)

    middle = (left + right) / 2
    parts = [_text(_WIDTH / 2, 16, title, "ink", "middle"), _text(middle, bottom + 38, x_title, "faint", "middle")]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_line(left, up(share), right, up(share), "line"))
        parts.append(_text(left - 8, up(share) + 4, f"{share:.0%}", "faint", "end"))
    for tick in ticks:
        parts.append(_line(across(tick), bottom, across(tick), bottom + 5, "axis"))
        parts.append(_text(across(tick), bottom + 18, unit.format(f"{tick:.3g}"), "faint", "middle"))
    front = _front(spots)
    corners = " ".join(f"{across(spot.x.estimate):.1f},{up(spot.y.estimate):.1f}" for spot in front)
    parts.append(f'<polyline points="{corners}" class="front"/>')
    labels = _apart([up(spot.y.estimate) + 4 for spot in spots])
    for spot, label_at in zip(spots, labels, strict=True):
        x, y, tone = across(spot.x.estimate), up(spot.y.estimate), "good" if spot in front else "even"
        parts.append(_line(x, y, right + 8, label_at - 4, "line"))
        parts.append(_line(across(spot.x.low), y, across(spot.x.high), y, f"{tone} whisker"))
        parts.append(_line(x, up(spot.y.low), x, up(spot.y.high), f"{tone} whisker"))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="{tone} fill"/>')
        parts.append(_text(right + 12, label_at, _cut(spot.label, 22), "ink", "start", spot.label))
    return _svg(bottom + 48, parts, title)


def _axis(values: Sequence[Interval]) -> tuple[list[float], Callable[[float], float]]:
    """Ticks, and where on the axis a value lies, from 0 to 1."""
    least, most = min(each.low for each in values), max(max(each.high, each.estimate) for each in values)
    if least > 0 and most / least > 20:
        low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
        return [10.0**power for power in range(low, high + 1)], lambda x: (math.log10(x) - low) / (high - low)
    edge = _nice(max(1e-9, most))
    steps = 4 if f"{edge:e}"[:3] in ("1.0", "2.0") else 5  # so that the numbers at the ticks are short
    return [step / steps * edge for step in range(steps + 1)], lambda x: max(0.0, x) / edge


def bars(rows: Sequence[tuple[str, int, int, int]], title: str) -> str:
    """Wins, ties and losses of each row as one bar, with their numbers."""
    left, right, top = _LABEL, _WIDTH - 60, 34
    height = top + _ROW * len(rows) + 30
    parts = [_text(_WIDTH / 2, 16, title, "ink", "middle")]
    for number, (label, *counts) in enumerate(rows):
        y, x, total = top + _ROW * number, float(left), max(1, sum(counts))
        parts.append(_text(left - 12, y + 14, _cut(label), "ink", "end", label))
        for count, tone in zip(counts, ("good", "even", "bad"), strict=True):
            width = count / total * (right - left)
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="18" class="{tone} fill"/>')
            if width > 18:
                parts.append(_text(x + width / 2, y + 13, str(count), "inside", "middle"))
            x += width
        parts.append(_text(right + 8, y + 14, f"n {sum(counts)}", "faint"))
    for place, (name, tone) in enumerate((("won", "good"), ("tied", "even"), ("lost", "bad"))):
        x = left + 90 * place
        parts.append(f'<rect x="{x}" y="{height - 20}" width="12" height="12" class="{tone} fill"/>')
        parts.append(_text(x + 18, height - 10, name, "faint"))
    return _svg(height, parts, title)


def _front(spots: Sequence[Spot]) -> list[Spot]:
    """From the cheapest on, each that succeeds more often than all that cost less."""
    front: list[Spot] = []
    for spot in sorted(spots, key=lambda each: (each.x.estimate, -each.y.estimate)):
        if not front or spot.y.estimate > front[-1].y.estimate:
            front.append(spot)
    return front


def _apart(heights: Sequence[float], least: float = 16.0) -> list[float]:
    """The same heights, moved down where labels would lie on one another."""
    moved, lowest = list(heights), -math.inf
    for at in sorted(range(len(heights)), key=lambda number: heights[number]):
        moved[at] = lowest = max(heights[at], lowest + least)
    return moved


def _nice(value: float) -> float:
    """The next larger of 1, 2, 2.5, 5 and 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999999)


def _cut(label: str, most: int = _CHARACTERS) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start", whole: str = "") -> str:
    hint = f"<title>{escape(whole)}</title>" if whole and whole != text else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{hint}{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<div class="wide"><svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg></div>"
    )
