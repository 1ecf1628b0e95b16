"""Who is measured by `detectors/evaluate.py`: every detector alone, the ensemble, and the ensemble without each.

All see a series once, row by row, and go through the same alarm (`detectors.series.Alarm`), so that only the evidence
differs. Thresholds are applied afterwards: an alarm's bar does not depend on them.
"""

import time
from collections.abc import Mapping, Sequence
from statistics import median

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.base import Detector
from detectors.calibrated import evidence_of
from detectors.labelled import Labelled
from detectors.naive import Naive, NaiveParams
from detectors.series import (
    Alarm,
    AlarmParams,
    AlarmState,
    SeriesDetector,
    SeriesParams,
    SeriesState,
    decades_a_week,
    members,
)

ENSEMBLE, NAIVE = "ensemble", "naive recipe"
COST_ROWS, COST_CHUNK_ROWS = 14_400, 480  # ten days of minutes

Spoken = list[tuple[int, float]]
"""Rows that said something new, ascending, and their strength."""


class Cost(msgspec.Struct, frozen=True):
    """Of one detector on a one-minute series with ten days of past: µs a row, bytes of its state as JSON."""

    us_per_row: float
    state_bytes: int


def strengths(series: Labelled, params: SeriesParams) -> tuple[list[str], NDArray[np.float64]]:
    """Names of the detectors, and strength[row, detector]; NaN in the rows without a value."""
    state = SeriesState()
    each = members(params, state)
    found = np.full((len(series.values), len(each)), np.nan)
    for row, x in enumerate(zip(series.times_us, series.values, strict=True)):
        scores = [member.step(x).score for member in each.values()]
        if x[1] is not None:
            found[row] = [evidence_of(score) for score in scores]
    return list(each), found / decades_a_week(state.surprise.season.slot_us)


def run(series: Labelled, params: SeriesParams) -> dict[str, Spoken]:
    """What every contender says of a series."""
    names, each = strengths(series, params)
    mixed = {name: each[:, [at]] for at, name in enumerate(names)}
    mixed[ENSEMBLE] = each
    mixed |= {without(name): np.delete(each, at, axis=1) for at, name in enumerate(names)}
    return {name: spoken(series.times_us, one.mean(axis=1), params.alarm) for name, one in mixed.items()}


def without(name: str) -> str:
    return f"without {name}"


def spoken(times_us: Sequence[int], strength: NDArray[np.float64], params: AlarmParams) -> Spoken:
    """The rows of a strength that get over the alarm's bar; NaN is a row without a value."""
    alarm, found = Alarm(params, AlarmState()), []
    for row, one in enumerate(strength.tolist()):
        if one == one and alarm.step(times_us[row], one) > 0.0:
            found.append((row, one))
    return found


def naive(series: Labelled) -> list[int]:
    """Rows that the naive recipe flags."""
    detector = Naive(NaiveParams())
    return [row for row, value in enumerate(series.values) if detector.step(value).anomalous]


def costs(params: SeriesParams) -> dict[str, Cost]:
    """Measured in turns, so that another load on the machine meets all alike; the median of the turns counts."""
    rows = _minutes()
    whole = SeriesDetector(params)
    each: dict[str, Detector[object, msgspec.Struct]] = {**members(params, SeriesState())}  # type: ignore[dict-item] # fed what they observe
    textbook, taken = Naive(NaiveParams()), dict[str, list[float]]()
    for start in range(0, COST_ROWS, COST_CHUNK_ROWS):
        chunk = rows[start : start + COST_CHUNK_ROWS]
        for name, detector in each.items():
            began = time.perf_counter()
            for row in chunk:
                detector.step(row)
            taken.setdefault(name, []).append(time.perf_counter() - began)
        began = time.perf_counter()
        for row in chunk:
            whole.step(*row)
        taken.setdefault(ENSEMBLE, []).append(time.perf_counter() - began)
        began = time.perf_counter()
        for row in chunk:
            textbook.step(row[1])
        taken.setdefault(NAIVE, []).append(time.perf_counter() - began)
    states: Mapping[str, object] = {n: d.state for n, d in each.items()} | {
        ENSEMBLE: whole.state,
        NAIVE: textbook.state,
    }
    return {
        name: Cost(1e6 * median(turns[len(turns) // 2 :]) / COST_CHUNK_ROWS, len(msgspec.json.encode(states[name])))
        for name, turns in taken.items()
    }


def _minutes() -> list[tuple[int, float]]:
    """A daily wave with noise, the same on every machine."""
    rng = np.random.default_rng(1)
    at = np.arange(COST_ROWS)
    values = 200.0 + 100.0 * np.sin(2.0 * np.pi * at / 1440.0) + rng.standard_normal(COST_ROWS) * 5.0
    return [(60_000_000 * row, value) for row, value in enumerate(values.tolist())]
