"""A close-up: every row around one event or detection, as a small picture that needs no script.

An event is a shaded stretch, hatched where it was missed; a detection is a shape on a line of its own: a triangle where
it is right, a cross in a diamond where it is false, a ring where it came just after an event, a square without truth.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from pipeline.judging.metrics import LATENCIES
from replay.backtest.model import Detection, Event, Floats, Panel, Strip, Times
from replay.chart import TimeAxis, ValueAxis, box, clock, line, rule, short, svg, text

WIDTH, HEIGHT = 360.0, 176.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 354.0, 26.0, 154.0
MARKS_Y = 13.0
ROWS_MAX = 600
ROWS_AROUND = 45

SHAPES = {
    "hit": "M0 -5L5 4.5L-5 4.5z",
    "false": "M0 -6L6 0L0 6L-6 0zM-2.2 -2.2L2.2 2.2M-2.2 2.2L2.2 -2.2",
    "after": "M4.5 0A4.5 4.5 0 1 1 -4.5 0A4.5 4.5 0 1 1 4.5 0",
    "unjudged": "M-4 -4H4V4H-4z",
}


TELLING: dict[str, tuple[str, ...]] = {
    "error_burst": ("error_rate",),
    "latency_spike": LATENCIES,
    "latency_leak": LATENCIES,
    "traffic_drop": ("requests",),
    "token_surge": ("tokens_per_s",),
    "cost_anomaly": ("cost_microusd",),
}
"""What to draw of an alert of this kind; of others the metric that lies furthest beyond its band."""


class View(NamedTuple):
    """What to draw: a stretch of one panel."""

    panel: Panel
    first: int
    end: int

    def cut(self, column: Floats) -> Floats:
        return column[self.first : self.end]


def view(strip: Strip, start_us: int, end_us: int, kind: str = "") -> View:
    """The rows around a stretch of time, in the panel that tells most of a detection of `kind`."""
    times_us = strip.panels[0].times_us
    first, end = (int(row) for row in np.searchsorted(times_us, [start_us, end_us + 1]))
    around = max(ROWS_AROUND, (end - first) // 2)
    begin = max(first - around, 0)
    finish = min(max(end + around, first + 1), begin + ROWS_MAX, len(times_us))
    named = [panel for panel in strip.panels if panel.metric in TELLING.get(kind, ())] or strip.panels
    panel = max(named, key=lambda one: _strangeness(one, first, max(end, first + 1)))
    return View(panel, begin, finish)


def _strangeness(panel: Panel, first: int, end: int) -> float:
    """How far beyond its band, in widths of the band, the panel lies in these rows."""
    value, low, high = (column[first:end] for column in (panel.values, panel.low, panel.high))
    width = np.maximum(high - low, 1e-12)
    beyond = np.maximum(value - high, low - value) / width
    known = beyond[np.isfinite(beyond)]
    return float(known.max()) if len(known) else -np.inf


def drawn(seen: View, events: Sequence[Event], detections: Sequence[Detection]) -> str:
    """The picture."""
    panel = seen.panel
    times_us = panel.times_us[seen.first : seen.end]
    if not len(times_us):
        return ""
    time = TimeAxis(int(times_us[0]), int(max(times_us[-1], times_us[0] + 1)), LEFT, RIGHT)
    values = _axis(seen)
    parts = [_event(event, time) for event in events if _within(event.start_us, event.end_us, time)]
    for tick in values.ticks():
        parts.append(rule(LEFT, values.y(tick), RIGHT, values.y(tick), "grid"))
        parts.append(text(LEFT - 5, values.y(tick) + 4, short(tick), "tick", "end"))
    parts.append(_band(times_us, seen, time, values))
    points = [
        (int(at), None if np.isnan(value) else float(value))
        for at, value in zip(times_us, seen.cut(panel.values), strict=True)
    ]
    parts.append(line(points, time, values, "a", panel.label))
    parts += [_finding(at, time) for at in panel.marks_us if time.start_us <= at <= time.end_us]
    parts += [shape(one, time.x(one.start_us)) for one in detections if _within(one.start_us, one.start_us, time)]
    parts += _times(time)
    return svg(WIDTH, HEIGHT, parts, f"{panel.label}, {clock(time.start_us, '%d %b %H:%M')} to {clock(time.end_us)}")


def _within(start_us: int, end_us: int, time: TimeAxis) -> bool:
    return start_us <= time.end_us and end_us >= time.start_us


def _axis(seen: View) -> ValueAxis:
    """From the lowest to the highest value, and of the band what lies within half as much again."""
    values, low, high = (seen.cut(column) for column in (seen.panel.values, seen.panel.low, seen.panel.high))
    known = values[np.isfinite(values)]
    least, most = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = (most - least) or abs(most) or 1.0
    edges = np.concatenate([low, high])
    edges = np.clip(edges[np.isfinite(edges)], least - room / 2, most + room / 2)
    if len(edges):
        least, most = min(least, float(edges.min())), max(most, float(edges.max()))
    return ValueAxis(least - 0.04 * room, most + 0.04 * room, TOP, BOTTOM)


def _event(event: Event, time: TimeAxis) -> str:
    left, right = time.x(event.start_us), time.x(event.end_us)
    name = "missed" if event.delay_us is None else "found"
    title = f"{name}: {event.kind} {clock(event.start_us, '%d %b %H:%M')}–{clock(event.end_us)}"
    return box(left, TOP - 4, max(right - left, 3), BOTTOM - TOP + 4, f"truth {name}", title)


def _band(times_us: Times, seen: View, time: TimeAxis, values: ValueAxis) -> str:
    """The forecast's interval as an area, one for each stretch without a gap."""
    low, high = seen.cut(seen.panel.low), seen.cut(seen.panel.high)
    known = np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    areas = []
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        upper = [f"{time.x(int(times_us[i])):.1f} {values.y(float(high[i])):.1f}" for i in range(first, end)]
        lower = [f"{time.x(int(times_us[i])):.1f} {values.y(float(low[i])):.1f}" for i in range(first, end)]
        areas.append("M" + "L".join([*upper, *reversed(lower)]) + "z")
    return f'<path class="band" d="{"".join(areas)}"/>' if areas else ""


def _finding(at_us: int, time: TimeAxis) -> str:
    x = time.x(at_us)
    return rule(x, BOTTOM - 5, x, BOTTOM, "finding")


def shape(one: Detection, x: float, y: float = MARKS_Y) -> str:
    """The mark of a detection: its outcome is its shape and its colour."""
    said = f"{one.outcome}: {one.kind} {clock(one.start_us, '%d %b %H:%M')}"
    return (
        f'<path class="mark {one.outcome}" transform="translate({x:.1f} {y:.1f})" d="{SHAPES[one.outcome]}">'
        f"<title>{escape(said)}</title></path>"
    )


def _times(time: TimeAxis) -> list[str]:
    long = time.end_us - time.start_us > 86_400_000_000
    form = "%d %b" if long else "%H:%M"
    parts = [rule(LEFT, BOTTOM, RIGHT, BOTTOM, "axis")]
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        at_us = round(time.start_us + share * (time.end_us - time.start_us))
        label = clock(at_us, "%d %b %H:%M") if share == 0.0 and not long else clock(at_us, form)
        parts.append(text(time.x(at_us), BOTTOM + 16, label, "tick", anchor))
    return parts
