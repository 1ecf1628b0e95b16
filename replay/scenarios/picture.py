"""Worth against cost of each detector: `python -m replay.scenarios.picture RESULTS.json > docs/scenarios.svg`.

RESULTS.json is `--output` of `evaluate --without`. A point a detector; right is dearer (its share of detection's time,
logarithmic), up is what would change were it left out: incidents lost, minutes that the hard ones would take longer at
the median, and false alarms that would not be. Stands on light and dark pages.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from detectors.picture import STYLE

WIDTH, HEIGHT, MARGIN, GAP, LINE = 320, 240, 48, 34, 13
SHARES = (0.001, 1.0)
OURS, WITHOUT = "tidegate", "without "
PANELS = ("incidents lost without it", "hard ones later without it, min", "false alarms it brings")


class Point(msgspec.Struct, frozen=True):
    """A detector's share of detection's time, and what PANELS measure."""

    name: str
    share: float
    worth: tuple[float, float, float]


def points(results: Mapping[str, Any]) -> list[Point]:
    """Of the detectors whose cost is known; the others (a comparison in somebody else's file) cost next to nothing."""
    whole = results["summaries"][OURS]
    found = []
    for name, one in results["summaries"].items():
        detector = name.removeprefix(WITHOUT)
        if name.startswith(WITHOUT) and detector in results["costs"]:
            found.append(Point(detector, results["costs"][detector], worth(whole, one)))
    return found


def worth(whole: Mapping[str, Any], without: Mapping[str, Any]) -> tuple[float, float, float]:
    """What is lost without a detector.

    >>> worth({"found": 9, "hard_delay_median": 2.0, "false": 3}, {"found": 7, "hard_delay_median": 2.5, "false": 2})
    (2, 0.5, 1)
    """
    later = (without["hard_delay_median"] or 0.0) - (whole["hard_delay_median"] or 0.0)
    return whole["found"] - without["found"], later, whole["false"] - without["false"]


def svg(each: Sequence[Point]) -> str:
    """The whole picture."""
    width = len(PANELS) * (WIDTH + GAP) + MARGIN
    panels = "".join(line for at in range(len(PANELS)) for line in panel(at, each))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + 2 * MARGIN}" role="img" '
        f'aria-label="What each detector is worth against what it costs">\n<style>{STYLE}</style>\n'
        f'<rect class="page" width="100%" height="100%"/>\n{panels}</svg>\n'
    )


def panel(at: int, each: Sequence[Point]) -> Iterator[str]:
    """Frame, scales and points of one measure."""
    left, values = MARGIN + at * (WIDTH + GAP), [point.worth[at] for point in each]
    low, high = span(values)
    yield f'<text class="title" x="{left}" y="{MARGIN - 16}">{PANELS[at]}</text>\n'
    yield f'<rect class="grid" x="{left}" y="{MARGIN}" width="{WIDTH}" height="{HEIGHT}"/>\n'
    for decade in range(round(math.log10(SHARES[0])), round(math.log10(SHARES[1])) + 1):
        x = across(10.0**decade, left)
        yield f'<path class="grid" d="M{x:.1f} {MARGIN}v{HEIGHT}"/>\n'
        if decade < 0:  # the last would run into the next panel's first
            share = f"{10.0 ** (decade + 2):g} %"
            yield f'<text x="{x:.1f}" y="{MARGIN + HEIGHT + 15}" text-anchor="middle">{share}</text>\n'
    for quarter in range(5):
        value = low + quarter / 4 * (high - low)
        y = up(value, low, high)
        yield f'<path class="grid" d="M{left} {y:.1f}h{WIDTH}"/>\n'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>\n'
    middle, below = left + WIDTH / 2, MARGIN + HEIGHT + 32
    yield f'<text x="{middle}" y="{below}" text-anchor="middle">share of detection\'s processor time</text>\n'
    free = MARGIN + HEIGHT + LINE / 2
    for point in sorted(each, key=lambda point: point.worth[at]):
        x, y = across(point.share, left), up(point.worth[at], low, high)
        free = label_y = min(y, free - LINE)
        label_x, anchor = (x - 14, "end") if x > left + 0.6 * WIDTH else (x + 14, "start")
        yield f'<path class="lead" d="M{x:.1f} {y:.1f}L{label_x:.1f} {label_y:.1f}"/>\n'
        yield f'<circle class="one" cx="{x:.1f}" cy="{y:.1f}" r="4"/>\n'
        text_x = label_x + (-2 if anchor == "end" else 2)
        yield f'<text x="{text_x:.1f}" y="{label_y + 4:.1f}" text-anchor="{anchor}">{point.name}</text>\n'


def span(values: Sequence[float]) -> tuple[float, float]:
    """From four steps of 1, 2 or 5 times a power of ten: they hold 0 and all values.

    >>> span([0, 60.0]), span([-0.3, 0.9])
    ((0.0, 80.0), (-0.5, 1.5))
    """
    reach = max(*values, 0.0) - min(*values, 0.0) or 1.0
    power = 10.0 ** math.floor(math.log10(reach / 4))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power, 50 * power):
        low = math.floor(round(min(*values, 0.0) / step, 9)) * step
        if low + 4 * step >= max(*values, 0.0):
            return low + 0.0, low + 4 * step
    raise AssertionError("a step of 50 times is beyond any value")


def across(share: float, left: float) -> float:
    low, high = (math.log10(each) for each in SHARES)
    return left + WIDTH * (min(max(math.log10(share), low), high) - low) / (high - low)


def up(value: float, low: float, high: float) -> float:
    return MARGIN + HEIGHT * (1.0 - (value - low) / (high - low))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m replay.scenarios.picture RESULTS.json")
    sys.stdout.write(svg(points(msgspec.json.decode(Path(sys.argv[1]).read_bytes()))))
