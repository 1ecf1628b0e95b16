"""Restlessness: how much the last rows moved, against how much such stretches usually move.

    v_t = mean |x_s - x_{s-1}| over the last 12 rows
    strangeness_t = |v_t - m| / max(q90 - m, m - q10)      m, q10, q90: median and deciles of 300 past v, 6 rows apart

A metric that starts to flap, or stops moving at all (a stuck sensor, a dead client), may not show one odd value. One
huge spike moves the mean of 12 as well, so this detector is also a slow second to those that look at values.

Trade-off: late by up to 12 rows; a series whose load itself comes in bursts needs a past of bursts (300 stretches are
1,800 rows) before they are usual.

Control charts for the mean moving range: Montgomery, *Introduction to Statistical Quality Control*, 7th ed. 2012,
section 6.4.

>>> volatility = Volatility(VolatilityParams())
>>> for i in range(400): volatility.learn((i, 10.0 + i * i % 7))
>>> found = [volatility.step((400 + i, 10.0)).anomalous for i in range(12)]
>>> found.index(True)
2
"""

import math
from itertools import pairwise

import msgspec

from detectors.base import sigmas_between
from detectors.calibrated import Calibrated, CalibratedState, TailParams
from detectors.robust import SortedWindow


class VolatilityParams(msgspec.Struct, frozen=True):
    """Stretches of `length` rows, every `every`-th remembered, `past_max` of them, judged from `ready_after` on."""

    length: int = 12
    every: int = 6
    past_max: int = 300
    ready_after: int = 10
    tail: TailParams = TailParams()


class VolatilityState(CalibratedState):
    """The newest values, past stretches and the rows since the last one was remembered."""

    recent: list[float] = msgspec.field(default_factory=list)
    past: list[float] = msgspec.field(default_factory=list)
    rows: int = 0


class Volatility(Calibrated[VolatilityState]):
    """Mean absolute move of the newest rows. Scale and shift invariant up to rounding."""

    def __init__(self, params: VolatilityParams, state: VolatilityState | None = None) -> None:
        super().__init__(params.tail, state or VolatilityState())
        self.params = params
        self._past = SortedWindow(params.past_max, self.state.past)

    def _reading(self, time_us: int, value: float) -> float | None:
        count = len(self._past)
        if count < self.params.ready_after:
            return None
        middle = self._past.median()
        high, low = self._past.kth_largest(1 + count // 10), self._past.kth_largest(count - count // 10)
        return abs(sigmas_between(self._moved(value), middle, max(high - middle, middle - low)))

    def _moved(self, value: float) -> float:
        rows = [*self.state.recent[-self.params.length :], value]
        return math.fsum(abs(b - a) for a, b in pairwise(rows)) / self.params.length

    def _take(self, time_us: int, value: float) -> None:
        state, p = self.state, self.params
        state.rows += 1
        if len(state.recent) == p.length and state.rows >= p.every:
            self._past.push(self._moved(value))
            state.rows = 0
        state.recent.append(value)
        del state.recent[: -p.length]
