"""Two weeks of each model in slots of five minutes, and the profiles that are learnt from them (detectors.seasonal).

State keys: `days/<model>/<day>`, 14 of them, each with the means of the day's slots and the usual size of the one-step
errors of its hours (4 kB, written when a slot is over); `season/<model>`, the profiles and the hours' noise in force
(15 kB, written when a metric's are learnt anew, once a day).

What was found anomalous is not averaged in. Values are packed as integers of a thousandth: 0.1 % of the metric.
"""

from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.rows import Array
from detectors.seasonal import DAYS_MAX, HOURS, LAG, SLOT_US, SLOTS, Trust, learnt, noise_learnt, profile_at
from pipeline.judging.metrics import FORECAST
from pipeline.stage import State

UNIT = 1_000.0
MISSING = int(np.iinfo(np.int16).min)
WIDTH = SLOTS + HOURS
NOISE_UNIT = 10_000.0
KINDS = 2

Packed = NDArray[np.int16]
Single = NDArray[np.float32]


class Day(Struct, tag="day"):
    """int16 [forecast metrics, SLOTS + HOURS]: slots' means in thousandths, hours' errors in ten-thousandths."""

    packed: bytes


class Season(Struct, tag="season"):
    """float32: `profiles` [forecast metrics, kinds, SLOTS], `noise` [forecast metrics, HOURS].

    `known`: which metrics have a profile (bit i: metric i).
    """

    profiles: bytes
    noise: bytes
    known: int = 0


class Sums(Struct):
    """Of one metric: values of the slot and errors of the hour that are not over yet."""

    value: float = 0.0
    values: int = 0
    error: float = 0.0
    errors: int = 0

    def learn(self, value: float, error: float) -> None:
        """Take a window in; NaN where it has no forecast error."""
        self.value += value
        self.values += 1
        if error == error:
            self.error += abs(error)
            self.errors += 1


class Usual(NamedTuple):
    """Of each forecast metric at one moment: the profile before it is weighed, and how noisy the hour is."""

    profile: Array
    noise: Array


def usual(state: State[Any], model: str, time_us: int, hour: int) -> Usual | None:
    """None while nothing seasonal is known of the model."""
    season: Season | None = state.get(_season(model))
    if season is None:
        return None
    return Usual(profile_at(_profiles(season), time_us), _noise(season)[:, hour % HOURS].astype(np.float64))


def close_slot(
    state: State[Any], model: str, days: list[int], slot: int, following: int, sums: list[Sums]
) -> list[int]:
    """Keep `slot` (counted from the epoch), which is over now that `following` begins; returns the days kept."""
    day, of_day = divmod(slot, SLOTS)
    hour_over = slot // LAG != following // LAG
    packed = _packed(state, model, day)
    for row, one in zip(packed, sums, strict=True):
        if one.values:
            row[of_day] = _bounded(UNIT * one.value / one.values, MISSING + 1)
        if hour_over and one.errors:
            row[SLOTS + of_day // LAG] = _bounded(NOISE_UNIT * one.error / one.errors, 0)
            one.error, one.errors = 0.0, 0
        one.value, one.values = 0.0, 0
    state.put(_day(model, day), Day(packed.tobytes()))
    kept = days if days and days[-1] == day else [*days, day]
    for old in kept:
        if old < day - DAYS_MAX:
            state.drop(_day(model, old))
    return [known for known in kept if known >= day - DAYS_MAX]


def _bounded(value: float, least: int) -> int:
    """The nearest whole number that an int16 can hold and that does not mean missing."""
    return min(max(round(value), least), -MISSING - 1)


def believe(state: State[Any], model: str, slot: int, trusts: list[Trust]) -> None:
    """Compare the last hour's change, up to the slot that is over, with what the profiles had it be."""
    season: Season | None = state.get(_season(model))
    if season is None:
        return
    now, before = (_slot(state, model, s) for s in (slot, slot - LAG))
    profiles = _profiles(season)
    predicted = _middle(profiles, slot) - _middle(profiles, slot - LAG)
    for i, (trust, change) in enumerate(zip(trusts, now - before, strict=True)):
        if change == change:
            trust.learn(float(change), float(predicted[i]))


def relearn(state: State[Any], model: str, days: list[int], metric: int, end_slot: int) -> bool:
    """Learn one metric's profile and noise anew from the days kept; whether it has a profile now."""
    kept = [_packed(state, model, day) for day in range(days[0], days[-1] + 1)] if days else []
    if not kept:
        return False
    timeline = np.concatenate([_values(day)[metric, :SLOTS] for day in kept])
    timeline = timeline[: end_slot - days[0] * SLOTS]
    known = np.flatnonzero(timeline == timeline)
    profile = learnt(timeline[known[0] :][-DAYS_MAX * SLOTS :], end_slot) if len(known) else None
    if profile is None:
        return False
    season = state.get(_season(model)) or _nothing()
    profiles, noise = _profiles(season).copy(), _noise(season).copy()
    profiles[metric] = profile
    noise[metric] = noise_learnt(np.stack([_errors(day)[metric] for day in kept]))
    state.put(_season(model), Season(profiles.tobytes(), noise.tobytes(), season.known | 1 << metric))
    return True


def profile_of(state: State[Any], model: str, metric: int) -> Array:
    """One metric's profile, [kind, slot]; zeros while there is none."""
    season: Season = state.get(_season(model)) or _nothing()
    return np.asarray(_profiles(season)[metric], dtype=np.float64)


def forget(state: State[Any], model: str, days: list[int]) -> None:
    state.drop(_season(model))
    for day in days:
        state.drop(_day(model, day))


def _middle(profiles: Single, slot: int) -> Array:
    return profile_at(profiles, slot * SLOT_US + SLOT_US // 2)


def _nothing() -> Season:
    return Season(
        np.zeros((len(FORECAST), KINDS, SLOTS), np.float32).tobytes(),
        np.ones((len(FORECAST), HOURS), np.float32).tobytes(),
    )


def _profiles(season: Season) -> Single:
    return np.frombuffer(season.profiles, dtype=np.float32).reshape(len(FORECAST), KINDS, SLOTS)


def _noise(season: Season) -> Single:
    return np.frombuffer(season.noise, dtype=np.float32).reshape(len(FORECAST), HOURS)


def _packed(state: State[Any], model: str, day: int) -> Packed:
    """A copy that may be written to."""
    known: Day | None = state.get(_day(model, day))
    if known is None:
        return np.full((len(FORECAST), WIDTH), MISSING, dtype=np.int16)
    return np.frombuffer(known.packed, dtype=np.int16).reshape(len(FORECAST), WIDTH).copy()


def _slot(state: State[Any], model: str, slot: int) -> Array:
    """The metrics' means in one slot, NaN where missing."""
    known: Day | None = state.get(_day(model, slot // SLOTS))
    if known is None:
        return np.full(len(FORECAST), np.nan)
    packed = np.frombuffer(known.packed, dtype=np.int16).reshape(len(FORECAST), WIDTH)[:, slot % SLOTS]
    return np.where(packed == MISSING, np.nan, packed / UNIT)


def _values(packed: Packed) -> Array:
    return np.where(packed == MISSING, np.nan, packed / UNIT)[:, :SLOTS]


def _errors(packed: Packed) -> Array:
    return np.where(packed == MISSING, np.nan, packed / NOISE_UNIT)[:, SLOTS:]


def _season(model: str) -> str:
    return f"season/{model}"


def _day(model: str, day: int) -> str:
    return f"days/{model}/{day}"
