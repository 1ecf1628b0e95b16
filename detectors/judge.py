"""Rules by which flagged rows are compared with labelled ones: events for services, windows for the benchmark.

**Events.** One run of marked rows is an event; it is hit if a flagged row lies in it, its delay is that row's distance
from its start. A flagged row outside every event, and more than 10 rows after one, is false; false rows at most 10
apart are one episode, which counts once per started 60 rows.

    recall = hit / events      precision = hit / (hit + false episodes)      F1 = their harmonic mean

**Windows** (the benchmark's standard profile). The first flagged row in a window earns σ(y), y from -1 at its left to 0
at its right edge, scaled to 1; a window without any costs 1; every flagged row outside costs up to 0.11, less shortly
after a window. The score is 100 for perfect, 0 for a detector that never speaks.

    σ(y) = 2 / (1 + e^(5y)) - 1

Lavin and Ahmad, *Evaluating Real-time Anomaly Detection Algorithms – the Numenta Anomaly Benchmark*, ICMLA 2015.
"""

import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import reduce
from statistics import median
from typing import TypeVar

import msgspec

AFTER_EVENT_ROWS = 10
EPISODE_GAP_ROWS = 10
EPISODE_ROWS = 60
FALSE_COST = 0.11
PROBATION_FRACTION, PROBATION_ROWS_MAX = 0.15, 750


class Events(msgspec.Struct, frozen=True):
    """Counts over some series; they add up. `days` is the time that was judged, `delays` of the hits in rows."""

    events: int = 0
    hit: int = 0
    false_episodes: int = 0
    days: float = 0.0
    delays: tuple[float, ...] = ()

    def __add__(self, other: "Events") -> "Events":
        return Events(
            self.events + other.events,
            self.hit + other.hit,
            self.false_episodes + other.false_episodes,
            self.days + other.days,
            self.delays + other.delays,
        )

    @property
    def recall(self) -> float:
        return self.hit / self.events if self.events else 0.0

    @property
    def precision(self) -> float:
        spoken = self.hit + self.false_episodes
        return self.hit / spoken if spoken else 0.0

    @property
    def merit(self) -> float:
        """F1 of events."""
        return 2.0 * self.hit / max(self.events + self.hit + self.false_episodes, 1)


class Windows(msgspec.Struct, frozen=True):
    """Raw benchmark score over some series; sums add up."""

    windows: int = 0
    hit: int = 0
    raw: float = 0.0

    def __add__(self, other: "Windows") -> "Windows":
        return Windows(self.windows + other.windows, self.hit + other.hit, self.raw + other.raw)

    @property
    def merit(self) -> float:
        """The normalised score: 0 for silence, 100 for perfection."""
        return 100.0 * (self.raw + self.windows) / (2.0 * self.windows) if self.windows else 0.0


def columns(result: "Events | Windows") -> tuple[str, ...]:
    """Events, recall, precision, F1, false episodes a day, median delay, benchmark score; "-" where there is none."""
    if isinstance(result, Windows):
        recall = f"{result.hit / result.windows:.3f}" if result.windows else "-"
        return (str(result.windows), recall, "-", "-", "-", "-", f"{result.merit:.1f}")
    delay = f"{median(result.delays):g}" if result.delays else "-"
    rate = result.false_episodes / result.days if result.days else 0.0
    ratios = (f"{v:.3f}" for v in (result.recall, result.precision, result.merit, rate))
    return (str(result.events), *ratios, delay, "-")


R = TypeVar("R", Events, Windows)


def judge_events(flagged: Sequence[int], marked: Sequence[bool], start: int, days: float) -> Events:
    """Judge ascending rows `flagged` from row `start` on; an event that reaches over `start` is cut there."""
    runs = runs_of(marked)
    judged = [(max(first, start), end) for first, end in runs if end > start]
    spoken = flagged[bisect_left(flagged, start) :]
    delays = [_first_from(spoken, first) - first for first, end in judged if _first_from(spoken, first) < end]
    starts = [first for first, _ in runs]
    false = [row for row in spoken if not _excused(row, runs, starts)]
    return Events(len(judged), len(delays), episodes(false), days, tuple(delays))


def _first_from(rows: Sequence[int], start: int) -> float:
    at = bisect_left(rows, start)
    return rows[at] if at < len(rows) else math.inf


def _excused(row: int, runs: Sequence[tuple[int, int]], starts: Sequence[int]) -> bool:
    """Inside an event or shortly after one."""
    at = bisect_right(starts, row) - 1
    return at >= 0 and row < runs[at][1] + AFTER_EVENT_ROWS


def runs_of(marked: Sequence[bool]) -> list[tuple[int, int]]:
    """Runs of True as (first, end), end exclusive.

    >>> runs_of([False, True, True, False, True])
    [(1, 3), (4, 5)]
    """
    edges = [i for i in range(len(marked) + 1) if (i > 0 and marked[i - 1]) != (i < len(marked) and marked[i])]
    return list(zip(edges[::2], edges[1::2], strict=True))


def episodes(rows: Sequence[int]) -> int:
    """Number of episodes in ascending rows, a long one counted once per started 60 rows.

    >>> episodes([]), episodes([5, 15]), episodes([5, 16]), episodes(range(61))
    (0, 1, 2, 2)
    """
    count, first, last = 0, None, 0
    for row in rows:
        if first is not None and row - last > EPISODE_GAP_ROWS:
            count += _started(first, last)
            first = row
        first, last = (row if first is None else first), row
    return count if first is None else count + _started(first, last)


def _started(first: int, last: int) -> int:
    return math.ceil((last - first + 1) / EPISODE_ROWS)


def benchmark_score(flagged: Sequence[int], windows: Sequence[tuple[int, int]], rows: int) -> Windows:
    """Raw score of one series; `windows` are (first, last) rows, both inside."""
    start = min(int(PROBATION_FRACTION * rows), PROBATION_ROWS_MAX)
    judged = [w for w in windows if w[1] >= start]
    raw, hit = 0.0, set[tuple[int, int]]()
    for row in (r for r in flagged if r >= start):
        inside = next((w for w in judged if w[0] <= row <= w[1]), None)
        if inside is None:
            raw += FALSE_COST * _after(row, judged)
        elif inside not in hit:
            hit.add(inside)
            raw += _sigmoid(-(inside[1] - row + 1) / (inside[1] - inside[0] + 1)) / _sigmoid(-1.0)
    return Windows(len(judged), len(hit), raw - (len(judged) - len(hit)))


def _after(row: int, windows: Sequence[tuple[int, int]]) -> float:
    """From 0 right after a window down to -1 far from any."""
    before = [w for w in windows if w[1] < row]
    if not before:
        return -1.0
    first, last = before[-1]
    return _sigmoid((row - last) / max(last - first, 1))


def _sigmoid(y: float) -> float:
    return -1.0 if y > 3.0 else 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0


def total(results: Sequence[R]) -> R:
    """Sum of at least one result."""
    return reduce(operator.add, results)


def two_fold(results: Sequence[Sequence[R]], groups: Sequence[str]) -> R:
    """`results[threshold][series]`: choose the threshold on one half of the groups, score the other, swap, add up.

    Raises ValueError when all series are of one group.
    """
    order = sorted(set(groups))
    if len(order) < 2:
        raise ValueError(f"two-fold choice of a threshold needs series of at least two groups, got {order}")
    halves = [[i for i, group in enumerate(groups) if order.index(group) % 2 == fold] for fold in (0, 1)]

    def of(threshold: int, half: list[int]) -> R:
        return total([results[threshold][i] for i in half])

    def best(half: list[int]) -> int:
        return max(range(len(results)), key=lambda threshold: of(threshold, half).merit)

    return total([of(best(halves[1]), halves[0]), of(best(halves[0]), halves[1])])
