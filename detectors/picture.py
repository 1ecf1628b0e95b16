"""Accuracy against cost: `python -m detectors.picture RESULTS.json > docs/detection.svg`, results of `evaluate`.

One panel a set, one point a detector; right is dearer (µs a row, logarithmic), up is better (F1 of events, or the
benchmark's score of 100). The threshold is two-fold, the naive recipe's its own. Stands on light and dark pages.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from detectors.contenders import ENSEMBLE, NAIVE

WIDTH, HEIGHT, MARGIN, GAP, LINE = 300, 240, 48, 34, 13
COSTS_US = (1.0, 10_000.0)
STYLE = """
  text{font-family:ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;font-size:11px;fill:#1f2328}
  .title{font-size:13px;font-weight:650}
  .page{fill:#fff}
  .grid{stroke:#d0d7de;fill:none}
  .lead{stroke:#8c959f;stroke-width:.7}
  .one{fill:#0b6bcb}
  .all{fill:#1a7f4b}
  .naive{fill:#cf222e}
  @media (prefers-color-scheme:dark){text{fill:#f0f6fc}.page{fill:#0d1117}.grid{stroke:#30363d}}
"""


class Point(msgspec.Struct, frozen=True):
    """A detector's cost (µs a row) and accuracy (0..1)."""

    name: str
    us_per_row: float
    accuracy: float


def points(results: Mapping[str, Any]) -> dict[str, list[Point]]:
    """By set; contenders without a cost of their own (the ensemble without one of its detectors) are left out."""
    found = dict[str, list[Point]]()
    for row in results["rows"]:
        cost = results["costs"].get(row["detector"])
        if cost and not row["threshold"].startswith("shipped"):
            found.setdefault(row["set"], []).append(Point(row["detector"], cost["us_per_row"], accuracy(row["result"])))
    return found


def accuracy(result: Mapping[str, Any]) -> float:
    """F1 of events; or the benchmark's score, as a fraction.

    >>> accuracy({"events": 10, "hit": 5, "false_episodes": 5}), accuracy({"windows": 2, "raw": 1.0})
    (0.5, 0.75)
    """
    if "windows" in result:
        return float((result["raw"] + result["windows"]) / (2.0 * result["windows"]))
    return float(2.0 * result["hit"] / max(result["events"] + result["hit"] + result["false_episodes"], 1))


def svg(by_set: Mapping[str, Sequence[Point]]) -> str:
    """The whole picture."""
    width = len(by_set) * (WIDTH + GAP) + MARGIN
    panels = "".join(
        line
        for at, (name, each) in enumerate(by_set.items())
        for line in panel(name, each, MARGIN + at * (WIDTH + GAP))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + 2 * MARGIN}" role="img" '
        f'aria-label="Accuracy against cost of each detector">\n<style>{STYLE}</style>\n'
        f'<rect class="page" width="100%" height="100%"/>\n{panels}</svg>\n'
    )


def panel(name: str, each: Sequence[Point], left: float) -> Iterator[str]:
    """Frame, scales and points of one set."""
    measure = "score / 100" if name == "benchmark" else "F1 of events"
    yield f'<text class="title" x="{left}" y="{MARGIN - 16}">{name}: {measure}</text>\n'
    yield f'<rect class="grid" x="{left}" y="{MARGIN}" width="{WIDTH}" height="{HEIGHT}"/>\n'
    for decade in range(round(math.log10(COSTS_US[0])), round(math.log10(COSTS_US[1])) + 1):
        x = across(10.0**decade, left)
        yield f'<path class="grid" d="M{x:.1f} {MARGIN}v{HEIGHT}"/>\n'
        if 10.0**decade < COSTS_US[1]:  # the last would run into the next panel's first
            yield f'<text x="{x:.1f}" y="{MARGIN + HEIGHT + 15}" text-anchor="middle">{10**decade:,} µs</text>\n'
    for fifth in range(6):
        y = up(fifth / 5)
        yield f'<path class="grid" d="M{left} {y:.1f}h{WIDTH}"/>\n'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{fifth / 5:.1f}</text>\n'
    yield f'<text x="{left + WIDTH / 2}" y="{MARGIN + HEIGHT + 32}" text-anchor="middle">processor time a row</text>\n'
    for point, label_y in labelled(each):
        kind = {ENSEMBLE: "all", NAIVE: "naive"}.get(point.name, "one")
        x, y = across(point.us_per_row, left), up(point.accuracy)
        at_end = x > left + 0.7 * WIDTH
        label_x, text_x, anchor = (x - 14, x - 16, "end") if at_end else (x + 14, x + 16, "start")
        yield f'<path class="lead" d="M{x:.1f} {y:.1f}L{label_x:.1f} {label_y:.1f}"/>\n'
        yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>\n'
        yield f'<text x="{text_x:.1f}" y="{label_y + 4:.1f}" text-anchor="{anchor}">{point.name}</text>\n'


def labelled(each: Sequence[Point]) -> list[tuple[Point, float]]:
    """The points from the bottom up, each with the height of its label: beside the point, or above the one below."""
    placed: list[tuple[Point, float]] = []
    free = up(0.0) - LINE / 2
    for point in sorted(each, key=lambda point: point.accuracy):
        label_y = min(up(point.accuracy), free)
        placed.append((point, label_y))
        free = label_y - LINE
    return placed


def across(us_per_row: float, left: float) -> float:
    low, high = (math.log10(cost) for cost in COSTS_US)
    return left + WIDTH * (min(max(math.log10(us_per_row), low), high) - low) / (high - low)


def up(fraction: float) -> float:
    return MARGIN + HEIGHT * (1.0 - min(max(fraction, 0.0), 1.0))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m detectors.picture RESULTS.json")
    sys.stdout.write(svg(points(msgspec.json.decode(Path(sys.argv[1]).read_bytes()))))
