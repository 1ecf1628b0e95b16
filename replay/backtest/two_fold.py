"""Which threshold a labelled series would have had, had it been chosen on other series: two-fold, beside the shipped.

Choose the cut on one half of the groups for the best F1 of events, score the other half, swap, add up
(`detectors.judge.two_fold`). A cut is on the detector's score; 0.5 is the shipped threshold.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.judge import Events, judge_events, total

CUTS: tuple[float, ...] = tuple(float(odds / (1 + odds)) for odds in np.geomspace(0.25, 4.0, 25))
SHIPPED_CUT = 0.5


class Scored(Struct):
    """A labelled series after its run: the score of each row, which rows are marked, where scoring begins."""

    group: str
    scores: NDArray[np.float32]
    marked: list[bool]
    start: int
    days: float


class TwoFold(Struct, frozen=True):
    """`cuts`: chosen on the first half of the groups, and on the second (each scored on the other)."""

    cuts: tuple[float, float]
    groups: tuple[int, int]
    chosen: Events
    shipped: Events


def flagged(scores: NDArray[np.float32], cut: float) -> list[int]:
    """The rows that `SeriesDetector` would flag, were a score above `cut` its alarm: its bar does not depend on it."""
    return [int(row) for row in np.flatnonzero(scores > cut)]


def judged(scored: Scored, cut: float) -> Events:
    """One series at one cut."""
    return judge_events(flagged(scored.scores, cut), scored.marked, scored.start, scored.days)


def two_fold(series: Sequence[Scored]) -> TwoFold | None:
    """None where there is nothing to choose by: a half of the groups without any event."""
    order = sorted({one.group for one in series})
    halves = [[i for i, one in enumerate(series) if order.index(one.group) % 2 == fold] for fold in (0, 1)]
    if not all(any(any(series[i].marked[series[i].start :]) for i in half) for half in halves):
        return None
    results = {cut: [judged(one, cut) for one in series] for cut in {*CUTS, SHIPPED_CUT}}

    def of(cut: float, half: list[int]) -> Events:
        return total([results[cut][i] for i in half])

    def best(half: list[int]) -> float:
        return max(CUTS, key=lambda cut: of(cut, half).merit)

    cuts = (best(halves[0]), best(halves[1]))
    return TwoFold(
        cuts=cuts,
        groups=((len(order) + 1) // 2, len(order) // 2),
        chosen=of(cuts[1], halves[0]) + of(cuts[0], halves[1]),
        shipped=total(results[SHIPPED_CUT]),
    )
