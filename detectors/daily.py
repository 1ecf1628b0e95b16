"""The same time of day on other days: distance from what this hour usually brings.

    d_k = least |x_t - y|,  y the rows k days ago and a quarter of an hour (one row at least) before and after that
    strangeness_t = median of d_1, d_2, d_3, d_4, d_7, as far as there are such rows

The median over days asks for most days to disagree, so one odd day is neither a reason to alarm nor to be silent; the
least distance within a quarter of an hour forgives a job that starts a little late. The seventh day lets a weekend
look like the last one.

Trade-off: a value that any hour of any day has is strange only if *this* hour has it not, and a growth of weeks is
always a little strange, which the tail of past readings then calls usual. Rows of less than a minute share a slot;
fewer than four rows a day have no time of day, and this detector abstains.

Seasonal naive forecast: Hyndman and Athanasopoulos, *Forecasting: Principles and Practice*, 3rd ed. 2021, section 5.2.

>>> HOUR_US = 3_600_000_000
>>> daily = Daily(DailyParams())
>>> for hour in range(24 * 9): daily.learn((hour * HOUR_US, float((hour % 24) * 10 + hour % 5)))
>>> at = 24 * 9 + 3
>>> daily.score((at * HOUR_US, 32.0)).anomalous, daily.score((at * HOUR_US, 150.0)).anomalous
(False, True)
"""

import msgspec

from detectors.calibrated import Calibrated, CalibratedState, TailParams
from detectors.season import Season, SeasonParams, SeasonState

DAYS_BACK = (1, 2, 3, 4, 7)
NEAR_OF_DAY = 96  # neighbouring slots lie within this fraction of a day, one slot at least
RING = SeasonParams(days=max(DAYS_BACK), neighbours=(-16, 0))  # a quarter of an hour is 15 slots at most


class DailyParams(msgspec.Struct, frozen=True):
    """`days_back` of which the median is taken; the ring must reach as far."""

    days_back: tuple[int, ...] = DAYS_BACK
    season: SeasonParams = RING
    tail: TailParams = TailParams()


class DailyState(CalibratedState):
    """Seven days of values in a ring."""

    season: SeasonState = msgspec.field(default_factory=SeasonState)


class Daily(Calibrated[DailyState]):
    """Distance of a value from the same time of other days. Scale and shift invariant up to rounding."""

    def __init__(self, params: DailyParams, state: DailyState | None = None) -> None:
        super().__init__(params.tail, state or DailyState())
        self.params = params
        self._season = Season(params.season, self.state.season)

    def _reading(self, time_us: int, value: float) -> float | None:
        per_day = self._season.per_day
        near = max(1, per_day // NEAR_OF_DAY)
        nearest = list[float]()
        for day in self.params.days_back if per_day else ():
            middle = day * per_day
            remembered = self._season.recall(time_us, (middle - near, middle, middle + near))
            if remembered:
                nearest.append(min(abs(value - v) for v in remembered))
        return sorted(nearest)[len(nearest) // 2] if nearest else None

    def _take(self, time_us: int, value: float) -> None:
        self._season.learn(time_us, value)
