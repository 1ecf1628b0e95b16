"""Small parts of SVG line charts: scales, ticks, paths. Colours are CSS classes: light, dark and print share them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from topics.fields import HOUR_US, MINUTE_US, SECOND_US

POINTS_MAX = 1_200
"""Points of a line: about one a pixel."""

Points = Sequence[tuple[int, float | None]]
"""(time in microseconds, value); None is a gap."""


@dataclass(frozen=True)
class TimeAxis:
    """Event time to horizontal place."""

    start_us: int
    end_us: int
    left: float
    right: float

    def x(self, time_us: int) -> float:
        """The place of a time, held inside the chart."""
        share = (time_us - self.start_us) / max(self.end_us - self.start_us, 1)
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)

    def ticks(self) -> list[tuple[float, str]]:
        """Round times with their labels, at most about a dozen."""
        step_us = next((step for step in _STEPS_US if (self.end_us - self.start_us) / step <= 12), _STEPS_US[-1])
        label = "%H:%M" if step_us < 24 * HOUR_US else "%d %b"
        first_us = -(-self.start_us // step_us) * step_us
        return [(self.x(at), clock(at, label)) for at in range(first_us, self.end_us + 1, step_us)]


_STEPS_US = [minutes * MINUTE_US for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440, 2880, 10_080, 40_320)]


def clock(time_us: int, form: str = "%H:%M") -> str:
    """A UTC time as text."""
    return datetime.fromtimestamp(time_us // SECOND_US, UTC).strftime(form)


@dataclass(frozen=True)
class ValueAxis:
    """Values to vertical place, linear or logarithmic."""

    low: float
    high: float
    top: float
    bottom: float
    logarithmic: bool = False

    def y(self, value: float) -> float:
        low, high, value = (self._scaled(each) for each in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.bottom - min(max(share, 0.0), 1.0) * (self.bottom - self.top)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.logarithmic else value

    def ticks(self) -> list[float]:
        """Round values between low and high: three or so, or 1-3-10 steps on a logarithmic axis."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            return [v for e in decades for v in (10.0**e, 3 * 10.0**e) if self.low <= v <= self.high * 1.0001]
        step = _nice((self.high - self.low) / 3)
        return [i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def _nice(value: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next(step * magnitude for step in (1, 2, 2.5, 5, 10) if step * magnitude >= value * 0.999)


def value_axis(values: Sequence[float], top: float, bottom: float, logarithmic: bool = False) -> ValueAxis:
    """An axis that holds the values: from zero up, or with a little room on both sides when logarithmic."""
    highest = max(values, default=1.0) or 1.0
    if not logarithmic:
        return ValueAxis(0.0, highest * 1.08, top, bottom)
    lowest = min((value for value in values if value > 0), default=highest)
    return ValueAxis(lowest / 1.4, max(highest * 1.4, lowest * 3), top, bottom, logarithmic=True)


def short(value: float) -> str:
    """A value for an axis: 1.2k, 0.5, 30."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def thin(points: Points) -> Points:
    """At most about POINTS_MAX points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(points) <= POINTS_MAX:
        return points
    stretch = -(-len(points) * 2 // POINTS_MAX)
    kept: list[tuple[int, float | None]] = []
    for start in range(0, len(points), stretch):
        part = [point for point in points[start : start + stretch] if point[1] is not None]
        ends = {min(part, key=_value), max(part, key=_value)} if part else {points[start]}
        kept += sorted(ends, key=lambda point: point[0])
    return kept


def _value(point: tuple[int, float | None]) -> float:
    return point[1] or 0.0


def line(points: Points, time: TimeAxis, values: ValueAxis, css: str, title: str) -> str:
    """A line, broken where values are missing."""
    commands, pen = [], "M"
    for time_us, value in thin(points):
        if value is None:
            pen = "M"
            continue
        commands.append(f"{pen}{time.x(time_us):.1f} {values.y(value):.1f}")
        pen = "L"
    return f'<path class="line {css}" d="{"".join(commands)}"><title>{escape(title)}</title></path>'


def text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> str:
    """A label."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(words)}</text>'


def width_of(words: str) -> float:
    """About how wide a small label is."""
    return 6.4 * len(words)


def box(x: float, y: float, width: float, height: float, css: str, title: str = "") -> str:
    """A rectangle, with what the pointer shows over it."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1.5):.1f}" height="{height:.1f}" rx="2" class="{css}">'
        f"{inner}</rect>"
    )


def rule(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """A straight line."""
    return f'<path class="{css}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def diamond(x: float, y: float, size: float, css: str, title: str) -> str:
    """A mark for a command."""
    d = f"M{x:.1f} {y - size:.1f}l{size} {size}l{-size} {size}l{-size} {-size}z"
    return f'<path class="{css}" d="{d}"><title>{escape(title)}</title></path>'


def svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    """The parts as one picture that scales with the page."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label, quote=True)}"'
        f' xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
