r"""What a metric usually does over the day and the week: a profile, learnt from two weeks; forecasts are made above it.

    x_t = w · p(t) + u_t         p  the profile: time of day, for working days and weekends apart
                                 u  what remains: a level that wanders and ARMA noise (`detectors/arima.py`)
                                 w  in [0, 1], how far the profile is believed

Values are means of five minutes (288 slots a day) on a logarithmic scale, kept for 14 days. The profile is the median
polish of days × slots,

    p ← median over days of (x - level of the day) ,   level of the day ← median over slots of (x - p) ,   some rounds

so a bad day, growth from day to day and a level that has shifted for good leave its shape alone; then it is smoothed,
the more the fewer days there are, and has mean 0. With less than a day of values there is none. From one day on, days
are the 24 hours up to now, all of one kind. With seven days, each of which counts by the calendar, working days and
weekends (UTC) have their own, the weekend's moved so that both agree where they meet, at midnight.

Yesterday may be no guide at all: a level that wanders, a first Saturday, a holiday. So the profile is believed only as
far as it has lately predicted the changes of the last hour,

    w = Σ Δx Δp / (Σ Δp² + doubt) ,   Δ over an hour, sums fading with a half-life of 12 hours, w cut to [0, 1]

which is regression with a prior of w = 0: on the second day belief grows as the day goes on, and it is back within some
hours of a day that is like the others.

Noise has its hours, too. g(h), the usual size of one-step errors in the hour h against that of the whole day, widens
the band in noisy hours and narrows it in calm ones; it is cut to [0.6, 2.5] and moves away from 1 with the days seen.

Trade-off: five minutes blur what is sharper, and the profile of single weekdays is not told apart: two weeks have two
Mondays. What starts at 9:00 sharp is smeared over 10 minutes and left to the forecast.

Tukey, *Exploratory Data Analysis*, 1977, chapter 11 (median polish); Hyndman and Athanasopoulos, *Forecasting:
Principles and Practice*, 3rd ed. 2021, sections 3.6 and 5.7 (decompose, forecast the adjusted series, add back).

>>> day = np.sin(2 * np.pi * np.arange(SLOTS) / SLOTS)
>>> timeline = np.concatenate([day + 5.0, day + 5.2, day + 9.0])
>>> found = learnt(timeline, end_slot=3 * SLOTS)
>>> bool(np.abs(found[WORKING] - day).max() < 0.01), learnt(timeline[:200], end_slot=200) is None
(True, True)
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.rows import Array, median_of

DAY_US = 86_400_000_000
SLOT_US = 300_000_000
SLOTS = DAY_US // SLOT_US
HOURS = 24
DAYS_MAX = 14
WEEK, WORKING_DAYS = 7, 5
EPOCH_WEEKDAY = 3  # day 0 of the epoch was a Thursday; Monday is 0
WORKING, WEEKEND = 0, 1
ROUNDS = 4
COVERED_MIN = 0.8  # of a day's slots
SMOOTH_SLOTS = 6  # to either side with one day, a sixth of that with six
LAG = 12  # slots in an hour
NOISE_MIN, NOISE_MAX = 0.6, 2.5
DOUBT = 0.01
KEEP = 0.5 ** (1.0 / 144.0)
WILD = 0.5  # changes of an hour count up to twice the profile's and this much


class Trust(msgspec.Struct):
    """The fading sums of Δx Δp and Δp²."""

    agreed: float = 0.0
    moved: float = 0.0

    @property
    def weight(self) -> float:
        """w: 0 at first, near 1 where the profile has lately predicted what came."""
        return min(max(self.agreed / (self.moved + DOUBT), 0.0), 1.0)

    def learn(self, change: float, predicted: float) -> None:
        """Compare what an hour has changed with what the profile had it change."""
        reach = 2.0 * abs(predicted) + WILD
        self.agreed = KEEP * self.agreed + min(max(change, -reach), reach) * predicted
        self.moved = KEEP * self.moved + predicted * predicted


def slot_of(time_us: int) -> int:
    """Slots since the epoch."""
    return time_us // SLOT_US


def is_weekend(day: int) -> bool:
    """`day` counts from the epoch, in UTC.

    >>> [is_weekend(day) for day in range(7)]
    [False, False, True, True, False, False, False]
    """
    return (day + EPOCH_WEEKDAY) % WEEK >= WORKING_DAYS


def learnt(timeline: Array, end_slot: int) -> Array | None:
    """The profile, [kind, slot of the day], of the slots before `end_slot`, newest last, NaN where nothing is known.

    None with less than a day of values.
    """
    if len(timeline) < WEEK * SLOTS:
        rows, begin = _until(timeline, end_slot)
        shape = _shape(rows) if len(rows) else None
        return None if shape is None else np.tile(np.roll(shape, begin), (2, 1))
    rows, first_day = _by_calendar(timeline, end_slot)
    weekend = np.array([is_weekend(first_day + i) for i in range(len(rows))])
    working, leisure = _shape(rows[~weekend]), _shape(rows[weekend])
    if working is None or leisure is None:
        return _both(working if leisure is None else leisure)
    joined = 0.5 * (working[-1] - leisure[0] + working[0] - leisure[-1])
    return np.stack([working, leisure + joined])


def _both(shape: Array | None) -> Array | None:
    return None if shape is None else np.tile(shape, (2, 1))


def _until(timeline: Array, end_slot: int) -> tuple[Array, int]:
    """Whole days up to now, oldest first, and the slot of the day at which each begins."""
    days = len(timeline) // SLOTS
    return timeline[len(timeline) - days * SLOTS :].reshape(days, SLOTS), end_slot % SLOTS


def _by_calendar(timeline: Array, end_slot: int) -> tuple[Array, int]:
    """Calendar days, the first and the last filled up with NaN, and the number of the first."""
    before, after = (end_slot - len(timeline)) % SLOTS, -end_slot % SLOTS
    whole = np.concatenate([np.full(before, np.nan), timeline, np.full(after, np.nan)])
    return whole.reshape(-1, SLOTS), (end_slot - len(timeline)) // SLOTS


def _shape(rows: Array) -> Array | None:
    """Median polish of days × slots, smoothed, with mean 0; None where too little of the day is known."""
    rows = rows[(rows == rows).any(axis=1)] if len(rows) else rows
    if not len(rows) or np.mean((rows == rows).any(axis=0)) < COVERED_MIN:
        return None
    level = median_of(rows)
    for _ in range(ROUNDS):
        shape = median_of(np.ascontiguousarray((rows - level[:, None]).T))
        level = median_of(rows - shape)
    shape = _smoothed(_closed(shape), max(1, round(SMOOTH_SLOTS / len(rows))))
    return np.asarray(shape - shape.mean())


def _closed(shape: Array) -> Array:
    """Unknown slots filled along straight lines, around midnight too."""
    known = np.flatnonzero(shape == shape)
    return np.asarray(np.interp(np.arange(SLOTS), known, shape[known], period=SLOTS))


def _smoothed(shape: Array, reach: int) -> Array:
    """Mean over `reach` slots to either side with triangular weights, around midnight."""
    weights = {j: 1.0 - abs(j) / (reach + 1.0) for j in range(-reach, reach + 1)}
    total = sum(weights.values())
    smooth = np.zeros(SLOTS)
    for j, weight in weights.items():
        smooth += weight / total * np.roll(shape, j)
    return smooth


def profile_at(profile: NDArray[np.floating[Any]], times_us: int | NDArray[np.int64]) -> Array:
    """p at one moment or several, on the straight line between the middles of slots.

    profile  [..., kind, slot of the day]; the answer has the moments' shape in place of the last two dimensions
    """
    slot, within = divmod(times_us - SLOT_US // 2, SLOT_US)
    share = within / SLOT_US
    return np.asarray(_slot(profile, slot) * (1.0 - share) + _slot(profile, slot + 1) * share)


def _slot(profile: NDArray[np.floating[Any]], slot: int | NDArray[np.int64]) -> Array:
    day, of_day = divmod(slot, SLOTS)
    kind = WORKING + (WEEKEND - WORKING) * ((day + EPOCH_WEEKDAY) % WEEK >= WORKING_DAYS)
    return np.asarray(profile[..., kind, of_day], dtype=np.float64)


def noise_learnt(errors: Array) -> Array:
    """g of each hour of the day, from the mean size of one-step errors as days × hours, NaN where nothing is known.

    >>> calm = np.full((6, HOURS), 0.1); calm[:, 9:12] = 0.3
    >>> np.round(noise_learnt(calm)[[3, 10]], 2).tolist()
    [1.0, 2.5]
    """
    if not len(errors):
        return np.ones(HOURS)
    days = np.count_nonzero(errors == errors, axis=0)
    typical = median_of(np.ascontiguousarray(errors.T))
    usual = median_of(typical[None, :])[0]
    if not usual > 0.0:
        return np.ones(HOURS)
    ratio = np.where(typical == typical, typical / usual, 1.0)
    ratio = 0.25 * np.roll(ratio, 1) + 0.5 * ratio + 0.25 * np.roll(ratio, -1)
    return np.asarray(np.clip(1.0 + (ratio - 1.0) * days / (days + 1.0), NOISE_MIN, NOISE_MAX))
