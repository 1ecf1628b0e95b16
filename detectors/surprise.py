"""Is this value beyond *everything* that would explain it, in units of the worst that is usual here?

    e_t = distance of x_t from the nearest of:  the median of the last 60 rows, or of the last day where that is fewer,
                                                an exponentially smoothed level, i.e. ARIMA(0,1,1) with θ = -0.9,
                                                the 10 %..90 % band of the same time of day on the last 4 days,
                                                and 0 when x_t lies between any two of these
    surprise_t = e_t / (σ_t + Q_t)              score_t = 1 - (1 + surprise_t)^-9

σ_t is the robust spread of the last 360 rows. Q_t is what such distances have come to in this very series: the
greatest e of each 20 rows is kept for the last 600 such blocks (12,000 rows), and Q is the value that 3 % of
the blocks, and five more, have exceeded. So the unit of surprise is "the worst that is usual here", and one
threshold fits a calm counter and a bursting latency alike. The five matter early: with few blocks Q is small rather
than poisoned by the first incident. The score is a tail probability as in `detectors/calibrated.py`, but with the tail
of a Pareto distribution beyond σ + Q: this distance has the heaviest tail of all; counting exceedances ranked worse.

Why not a fitted ARIMA here: with 12,000 rows of history the distance beyond several rough explanations, in units of
its own past, found more events at fewer false alarms than any one forecast's error (`docs/detection.md` has the
figures).

The level is that of a day at most: the median of 60 hourly rows would call a new state strange for 31 hours, that of
24 does for 13.

Values further than 5 units from their explanation are learnt as if they were there, so that neither one wild value nor
an incident that recurs (in hourly series some do, every other day) widens σ for the next 360 rows. The sixth such row
in a row is learnt as it is: a new state, to get used to, and not to be alarmed at for days.

Trade-off: an incident that recurs daily at the same hour becomes part of the band after a day, and one that lasts
30 rows becomes the median: both are still alarmed at their first onset, which is when it is of use.

Kept from: seasonal naive bands and robust control charts; block maxima as in extreme-value theory, de Haan and
Ferreira, *Extreme Value Theory*, Springer 2006, section 1.1; Brown, *Smoothing, Forecasting and Prediction*, 1963.

>>> surprise = Surprise(SurpriseParams())
>>> for i in range(300): surprise.learn((60_000_000 * i, 10.0 + i % 3))
>>> round(surprise.score((60_000_000 * 300, 13.0)).sigmas, 2), surprise.score((60_000_000 * 300, 20.0)).anomalous
(0.78, True)
"""

import math

import msgspec
import numpy as np

from detectors.base import ABSTAIN, Detector, Verdict, finite, sigmas_between
from detectors.robust import MAD_TO_SIGMA, SortedWindow
from detectors.season import Season, SeasonParams, SeasonState


class SurpriseParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts are of rows unless they say otherwise; see the file's head for each one's part in the formula."""

    threshold: float = 1.5
    tail_index: float = 9.0
    level_rows: int = 60
    level_rows_min: int = 12
    spread_rows: int = 360
    ready_after: int = 100
    smoothing: float = 0.1
    smoothing_clip: float = 4.0
    smoothing_free: int = 10
    winsor: float = 5.0
    wild_rows_max: int = 5
    block_rows: int = 20
    blocks_max: int = 600
    usual_fraction: float = 0.03
    usual_extra_blocks: int = 5
    season: SeasonParams = SeasonParams()


class SurpriseState(msgspec.Struct):
    """Bounded: 360 + 600 + four days of values; 150 kB as JSON for a one-minute series."""

    learned: int = 0
    recent: list[float] = []
    smoothed: float = 0.0
    blocks: list[float] = []
    block_worst: float = 0.0
    block_rows: int = 0
    wild_rows: int = 0
    season: SeasonState = msgspec.field(default_factory=SeasonState)


class Surprise(Detector[tuple[int, float | None], SurpriseState]):
    """The surprise of each row of one series. Scale and shift invariant up to rounding."""

    kind = "point"

    def __init__(self, params: SurpriseParams, state: SurpriseState | None = None) -> None:
        self.params = params
        self.state = state or SurpriseState()
        self._season = Season(params.season, self.state.season)
        self._recent = SortedWindow(params.spread_rows, self.state.recent)
        self._ring = np.zeros(params.spread_rows)  # the same values as an array: row n lies at n mod spread_rows
        for back, value in enumerate(reversed(self.state.recent), start=1):
            self._ring[(self.state.learned - back) % params.spread_rows] = value
        self._level = self._level_window()
        self._blocks = SortedWindow(params.blocks_max, self.state.blocks)
        self._sigma = self._spread()
        self._usual = self._usual_worst()
        self._explained_for: tuple[int, float, float] | None = None  # time and answer of `_explained`, until `learn`

    @property
    def known(self) -> float:
        """How much of what it can remember of usual distances it has seen, from 0 to 1: how good its unit is."""
        return len(self._blocks) / self.params.blocks_max

    def score(self, x: tuple[int, float | None]) -> Verdict:
        time_us, value = x[0], finite(x[1])
        if value is None or self.state.learned < self.params.ready_after:
            return ABSTAIN
        low, high = self._explained(time_us)
        beyond, unit = _beyond(value, low, high), self._sigma + self._usual
        surprise = sigmas_between(beyond, 0.0, unit)
        reach = self.params.threshold * unit
        return Verdict(
            score=1.0 - (1.0 + abs(surprise)) ** -self.params.tail_index,
            anomalous=abs(surprise) > self.params.threshold,
            expected=min(max(value, low), high),
            low=low - reach,
            high=high + reach,
            sigmas=surprise,
        )

    def learn(self, x: tuple[int, float | None]) -> None:
        time_us, value = x[0], finite(x[1])
        if value is not None and self.state.learned >= self.params.level_rows // 2:
            beyond = _beyond(value, *self._explained(time_us))
            value = self._winsorised(value, beyond)
            self._learn_distance(abs(beyond))
        if value is not None:
            self._learn_value(value)
        self._learn_time(time_us, value)
        self._explained_for = None

    def _learn_time(self, time_us: int, value: float | None) -> None:
        known = self.state.season.slot_us
        self._season.learn(time_us, value)
        if self.state.season.slot_us != known:  # once: from here on a day is so many rows
            self._level = self._level_window()

    def _level_window(self) -> SortedWindow:
        """The newest rows, of which the level is the median: `level_rows`, but not more than a day."""
        p, day = self.params, self._season.per_day
        size = min(max(day, p.level_rows_min), p.level_rows) if day else p.level_rows
        return SortedWindow(size, self.state.recent[-size:])

    def _learn_value(self, value: float) -> None:
        state = self.state
        state.smoothed = self._smoothed(value)
        self._recent.push(value)
        self._ring[state.learned % self.params.spread_rows] = value
        self._level.push(value)
        state.learned += 1
        self._sigma = self._spread()

    def _winsorised(self, value: float, beyond: float) -> float:
        """`value` moved to within `winsor` units of its explanation, unless it is the way things have come to be."""
        reach = self.params.winsor * (self._sigma + self._usual)
        self.state.wild_rows = self.state.wild_rows + 1 if abs(beyond) > reach else 0
        if reach == 0.0 or self.state.wild_rows > self.params.wild_rows_max:
            return value
        return value - beyond + min(max(beyond, -reach), reach)

    def _smoothed(self, value: float) -> float:
        """The smoothed level after `value`, of which a few σ count at most once σ is known."""
        if self.state.learned < self.params.smoothing_free:
            return value if self.state.learned == 0 else self._towards(value, math.inf)
        return self._towards(value, self.params.smoothing_clip * self._sigma)

    def _towards(self, value: float, reach: float) -> float:
        step = min(max(value - self.state.smoothed, -reach), reach)
        return self.state.smoothed + self.params.smoothing * step

    def _learn_distance(self, distance: float) -> None:
        state = self.state
        state.block_worst = max(state.block_worst, distance)
        state.block_rows += 1
        if state.block_rows == self.params.block_rows:
            self._blocks.push(state.block_worst)
            state.block_worst, state.block_rows = 0.0, 0
            self._usual = self._usual_worst()

    def _explained(self, time_us: int) -> tuple[float, float]:
        if self._explained_for is None or self._explained_for[0] != time_us:
            level, smoothed = self._level.median(), self.state.smoothed
            low, high = self._season.band(time_us) or (level, level)
            self._explained_for = (time_us, min(low, level, smoothed), max(high, level, smoothed))
        return self._explained_for[1], self._explained_for[2]

    def _spread(self) -> float:
        """The larger of 1.4826 · MAD and half a standard deviation of the recent rows."""
        if not self.state.recent:
            return 0.0
        middle = self._recent.median()
        distances = self._ring[: len(self._recent)] - middle
        deviation = math.sqrt(max(float(distances.dot(distances)) / len(distances) - float(distances.mean()) ** 2, 0.0))
        return max(MAD_TO_SIGMA * self._recent.mad(), 0.5 * deviation)

    def _usual_worst(self) -> float:
        """Q: the block maximum that `usual_fraction` of the blocks, and `usual_extra_blocks` more, exceed."""
        blocks = len(self._blocks)
        above = int(self.params.usual_fraction * blocks) + self.params.usual_extra_blocks
        return self._blocks.kth_largest(min(above + 1, blocks)) if blocks else 0.0


def _beyond(value: float, low: float, high: float) -> float:
    """Signed distance from the range `low`..`high`, 0.0 inside."""
    return value - high if value > high else min(value - low, 0.0)
