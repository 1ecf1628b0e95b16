"""The data of the page's zoomable plots: per panel the lowest and highest value, the forecast and its band in buckets.

A bucket is an equal stretch of time, so that a gap in the data is a gap in the plot, and a peak of one row is still
there. Numbers travel as base64 of 32-bit floats: a quarter of the length of text.
"""

import base64
from typing import Any, NamedTuple

import numpy as np

from replay.backtest.model import Detection, Event, Floats, Panel, Review, Strip

BUCKETS_TOTAL = 200_000
"""Of all panels together: at most 27 bytes each make 5.3 MB."""

BUCKETS_MIN, BUCKETS_MAX = 1_200, 12_000

MARKS_TOTAL, DETECTIONS_TOTAL = 40_000, 3_000
"""Of all panels and strips together; each may have an equal part, the page says where one had more."""

MARKS_MIN, DETECTIONS_MIN = 100, 20
SAYS_MAX = 140
"""Characters of an alert's sentence under the pointer."""


class Buckets(NamedTuple):
    """Columns of equal length, NaN where a bucket has no row."""

    start_us: int
    step_us: int
    lowest: Floats
    highest: Floats
    expected: Floats
    low: Floats
    high: Floats


class Room(NamedTuple):
    """How much each panel or strip may have, of so many on the page."""

    buckets: int
    marks: int
    detections: int


def room_for(panels: int, strips: int) -> Room:
    """What BUCKETS_TOTAL, MARKS_TOTAL and DETECTIONS_TOTAL leave to each."""
    return Room(
        max(BUCKETS_MIN, min(BUCKETS_MAX, BUCKETS_TOTAL // max(panels, 1))),
        max(MARKS_MIN, MARKS_TOTAL // max(panels, 1)),
        max(DETECTIONS_MIN, DETECTIONS_TOTAL // max(strips, 1)),
    )


def bucketed(panel: Panel, strip: Strip, buckets_max: int) -> Buckets:
    """The panel over the strip's time, in at most `buckets_max` buckets, each as long as a whole number of rows."""
    row_us = max(strip.step_us, 1)
    rows = -(-(strip.end_us - strip.start_us + row_us) // row_us)
    step_us = row_us * -(-rows // buckets_max)
    count = -(-rows * row_us // step_us)
    order = np.argsort(panel.times_us, kind="stable")
    place = np.clip((panel.times_us[order] - strip.start_us) // step_us, 0, count - 1)
    firsts = np.flatnonzero(np.diff(place, prepend=-1))

    def spread(values: Floats, reduce: Any) -> Floats:
        column = np.full(count, np.nan)
        if len(firsts):
            column[place[firsts]] = reduce.reduceat(values[order], firsts)
        return column

    return Buckets(
        strip.start_us,
        int(step_us),
        spread(panel.values, np.fmin),
        spread(panel.values, np.fmax),
        spread(panel.expected, np.fmin),
        spread(panel.low, np.fmin),
        spread(panel.high, np.fmax),
    )


def packed_panel(panel: Panel, strip: Strip, room: Room) -> dict[str, Any]:
    """A panel for the page; columns that say nothing are left out."""
    found = bucketed(panel, strip, room.buckets)
    packed: dict[str, Any] = {
        "label": panel.label,
        "t": found.start_us / 1e6,
        "step": found.step_us / 1e6,
        "lo": _floats(found.lowest),
        "marks": [round(time_us / 1e6) for time_us in panel.marks_us[: room.marks]],
    }
    if not np.array_equal(found.lowest, found.highest, equal_nan=True):
        packed["hi"] = _floats(found.highest)
    if np.isfinite(found.expected).any():
        packed |= {"e": _floats(found.expected), "bl": _floats(found.low), "bh": _floats(found.high)}
    return packed


def _floats(column: Floats) -> str:
    return base64.b64encode(column.astype("<f4").tobytes()).decode()


def packed_event(event: Event, found_by_b: bool | None) -> dict[str, Any]:
    """An event on a strip; `b` where there is a second configuration."""
    packed: dict[str, Any] = {
        "from": event.start_us / 1e6,
        "to": event.end_us / 1e6,
        "kind": event.kind,
        "found": event.delay_us is not None,
    }
    if event.delay_us is not None:
        packed["delay"] = event.delay_us / 1e6
    if found_by_b is not None:
        packed["b"] = found_by_b
    return packed


def packed_drift(one: Review) -> dict[str, Any]:
    """A drift on a strip: a line where it was told."""
    return {"at": one.time_us / 1e6, "says": one.summary[:SAYS_MAX]}


def packed_detection(one: Detection, end_us: int) -> dict[str, Any]:
    """A detection on a strip; one that is still open ends with it."""
    return {
        "from": one.start_us / 1e6,
        "to": (end_us if one.end_us is None else one.end_us) / 1e6,
        "kind": one.kind,
        "outcome": one.outcome,
        "says": one.summary[:SAYS_MAX],
    }
