"""Concept drift: is this series still what it was, though no single row need be odd? For a person to review, no alert.

    u_t = the loudest voice among the detectors of `detectors/series.py` (1: what chance brings once a week), at most 1
    W   = the u of this weekday since the last drift;  for every cut of W into W0, W1 that ADWIN's buckets allow:
    drift when |mean W0 - mean W1| > ε,   ε = sqrt(2/m · var W · L) + 2/(3m) · L,   L = ln(2 ln|W| / δ),
                                          1/m = 1/|W0| + 1/|W1|

ADWIN is river's, one for each weekday (UTC). When level, spread or rhythm change, rows are more unusual to detectors
that learnt the old state, for hours to days, though none need be beyond its threshold. One ADWIN over all days tells of
every weekend; a weekday compared with the same weekday does not. A drift is told at the row at which ADWIN tells it.
`since`, `before` and `after` are of the cut within that day at which the squares between both parts are greatest, for
at that moment ADWIN itself has dropped no more than its oldest rows; the change may have begun on a day before. Then
all begins anew: the detectors have a week to learn the new state, so that one change is one drift.

An ADWIN object can be stored only by pickle, which state here never is. So this runs over a history from its first row,
as a backtest does, and is not checkpointed; the live stages do not use it.

Trade-off: the first week is the detectors', the second the first to compare with: nothing is told in the first seven
days, little in 14. δ is far below ADWIN's usual .002, because neighbouring rows are not independent: with it shifts of
one σ are missed, and a series needs some 200 rows a day. What a weekly wave hides is missed too (`docs/detection.md`).

Bifet and Gavaldà, *Learning from Time-Changing Data with Adaptive Windowing*, SIAM SDM 2007; the cut: Hinkley,
*Inference about the change-point in a sequence of random variables*, Biometrika 57, 1970.

>>> drifts = Drifts(DriftParams(warm_up_us=0))
>>> strengths = [0.1 + 0.01 * (i % 7) for i in range(900)] + [0.4 + 0.01 * (i % 7) for i in range(100)]
>>> [(d.row, d.since_row, round(d.before, 2), round(d.after, 2)) for d in drifts_of(enumerate(strengths), drifts)]
[(991, 900, 0.13, 0.43)]
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Protocol, cast

import msgspec
import numpy as np

from detectors.season import DAY_US


class Adwin(Protocol):
    """What is used of river's, whose methods have no types."""

    drift_detected: bool

    def update(self, x: float) -> object: ...


HISTORY_ROWS_MAX = 10_000
"""Rows of one weekday among which the cut is sought: seven weeks of minutes. ADWIN's own memory is logarithmic."""

SIDE_ROWS_MIN = 5
"""Of either side of the cut, as in ADWIN."""


class DriftParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`delta`: ADWIN's δ; `warm_up_us`: from the first row, and after a drift, until rows count; `strength_max` bounds
    what one row can say; a day is compared with those `cycle_days` apart (1: with all)."""

    delta: float = 1e-10
    warm_up_us: int = 7 * DAY_US
    strength_max: float = 1.0
    cycle_days: int = 7


class Drift(msgspec.Struct, frozen=True):
    """The series is not what it was. `row`, `time_us`: when that was told; `since_row`, `since_us`: where it began at
    the latest. `before`, `after`: mean strength of the loudest detector on both sides, on days of this weekday."""

    row: int
    time_us: int
    since_row: int
    since_us: int
    before: float
    after: float

    @property
    def sentence(self) -> str:
        """For a person, in one sentence.

        >>> print(Drift(9, 90_000_000, 5, 50_000_000, 0.16, 0.2).sentence)
        Not what it was, since 1970-01-01 00:00 at the latest: rows are 1.2 times as unusual as before (0.20, not 0.16).
        """
        known = self.before > 0.0
        rows = f"{self.after / self.before:.1f} times as unusual as" if known else "more unusual than"
        return (
            f"Not what it was, since {_clock(self.since_us)} at the latest: rows are {rows} before"
            f" ({self.after:.2f}, not {self.before:.2f})."
        )


class Drifts:
    """Finds the drifts of one series, row by row. What it says of a row hangs on no later one."""

    def __init__(self, params: DriftParams | None = None) -> None:
        self.params = params or DriftParams()
        self._rows = 0
        self._from_us: int | None = None
        self._days: dict[int, _Weekday] = {}

    def step(self, time_us: int, strength: float | None) -> Drift | None:
        """The next row's strength (`SeriesDetector.loudest`), >= 0; None or NaN where there was no value."""
        row, self._rows = self._rows, self._rows + 1
        if self._from_us is None:
            self._from_us = time_us + self.params.warm_up_us
        if strength is None or not math.isfinite(strength) or time_us < self._from_us:
            return None
        weekday = time_us // DAY_US % self.params.cycle_days
        if weekday not in self._days:
            self._days[weekday] = _Weekday(self.params.delta)
        if not self._days[weekday].told(row, time_us, min(strength, self.params.strength_max)):
            return None
        found = self._days[weekday].cut()
        self._days, self._from_us = {}, time_us + self.params.warm_up_us
        return found


class _Weekday:
    """ADWIN over the rows of one weekday, and the newest of them."""

    def __init__(self, delta: float) -> None:
        self._adwin = _adwin(delta)
        self._rows = deque[tuple[int, int, float]](maxlen=HISTORY_ROWS_MAX)

    def told(self, row: int, time_us: int, strength: float) -> bool:
        self._rows.append((row, time_us, strength))
        self._adwin.update(strength)
        return self._adwin.drift_detected

    def cut(self) -> Drift:
        """The drift told at the newest row."""
        values = np.array([strength for _, _, strength in self._rows])
        row, time_us, _ = self._rows[-1]
        today = sum(1 for _, at_us, _ in self._rows if at_us // DAY_US == time_us // DAY_US)
        at, before, after = best_cut(values, today)
        since_row, since_us, _ = self._rows[at]
        return Drift(row, time_us, since_row, since_us, before, after)


def _adwin(delta: float) -> Adwin:
    from river.drift import ADWIN  # imports pandas' and scikit-learn's adapters, 2 s: only long series need it

    return cast(Adwin, ADWIN(delta=delta))  # type: ignore[no-untyped-call] # river types few of its functions


def best_cut(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", after_max: int) -> tuple[int, float, float]:
    """Where the second part (of `after_max` rows at most, but five) begins when the squares between both are
    greatest; and the means of both.

    >>> best_cut(np.array([1.0] * 8 + [3.0] * 6), 9)
    (8, 1.0, 3.0)
    """
    n = len(values)
    sums, ends = (
        np.cumsum(values),
        np.arange(min(max(SIDE_ROWS_MIN, n - after_max), n - SIDE_ROWS_MIN), n - SIDE_ROWS_MIN + 1),
    )
    first, second = sums[ends - 1] / ends, (sums[-1] - sums[ends - 1]) / (n - ends)
    best = int(np.argmax((second - first) ** 2 * ends * (n - ends)))
    return int(ends[best]), float(first[best]), float(second[best])


def drifts_of(strengths: Iterable[tuple[int, float | None]], drifts: Drifts) -> Iterator[Drift]:
    """The drifts of a whole history of (time in µs, strength)."""
    for time_us, strength in strengths:
        if (found := drifts.step(time_us, strength)) is not None:
            yield found


def _clock(time_us: int) -> str:
    """Minutes, UTC; the bare number where a calendar has none."""
    try:
        return f"{datetime.fromtimestamp(time_us / 1e6, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return f"{time_us} µs"
