"""Who is measured by `detectors/evaluate.py`: every detector alone, the ensemble, and the ensemble without each.

All see a series once, row by row, and go through the same alarm (`detectors.series.Alarm`), so that only the evidence
differs. Thresholds are applied afterwards: an alarm's bar does not depend on them.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median

import msgspec
import numpy as np
from numpy.typing import NDArray

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
    weights_of,
)

ENSEMBLE, NAIVE = "ensemble", "naive recipe"
COST_TURNS, COST_CHUNK_ROWS = 30, 480  # ten days of minutes
NAIVE_TURNS = 4

Spoken = list[tuple[int, float]]
"""Rows that said something new, ascending, and their strength."""


class Cost(msgspec.Struct, frozen=True):
    """Of one detector on a one-minute series with ten days of past: µs a row, bytes of its state as JSON."""

    us_per_row: float
    state_bytes: int


def strengths(series: Labelled, params: SeriesParams) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Names of the detectors, strength[row, detector] (NaN in the rows without a value) and weight[row, detector]."""
    state = SeriesState()
    each = members(params, state)
    found = np.full((len(series.values), len(each)), np.nan)
    weights = np.ones_like(found)
    for row, x in enumerate(zip(series.times_us, series.values, strict=True)):
        scores = [member.step(x).score for member in each.values()]
        if x[1] is not None:
            found[row] = [evidence_of(score) for score in scores]
        weights[row] = weights_of(each)
    return list(each), found / decades_a_week(state.surprise.season.slot_us), weights


def run(series: Labelled, params: SeriesParams) -> dict[str, Spoken]:
    """What every contender says of a series."""
    names, each, weights = strengths(series, params)
    mixed = {name: each[:, at] for at, name in enumerate(names)}
    mixed[ENSEMBLE] = np.average(each, axis=1, weights=weights)
    for at, name in enumerate(names):
        mixed[without(name)] = np.average(np.delete(each, at, axis=1), axis=1, weights=np.delete(weights, at, axis=1))
    return {name: spoken(series.times_us, one, params.alarm) for name, one in mixed.items()}


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
    """Processor time, measured in turns; the median of the later turns counts.

    The naive recipe takes part in the first turns only: it remembers half a turn, and is slow.
    """
    rows, taken = _minutes(), dict[str, list[float]]()
    each, whole, textbook = members(params, SeriesState()), SeriesDetector(params), Naive(NaiveParams())
    steps: dict[str, Callable[[tuple[int, float]], object]] = {name: one.step for name, one in each.items()}
    steps |= {ENSEMBLE: lambda row: whole.step(*row), NAIVE: lambda row: textbook.step(row[1])}
    for turn in range(COST_TURNS):
        chunk = rows[turn * COST_CHUNK_ROWS : (turn + 1) * COST_CHUNK_ROWS]
        for name, step in steps.items():
            if name != NAIVE or turn < NAIVE_TURNS:
                taken.setdefault(name, []).append(_us_per_row(step, chunk))
    states = {name: one.state for name, one in each.items()} | {ENSEMBLE: whole.state, NAIVE: textbook.state}
    return {
        name: Cost(median(turns[len(turns) // 2 :]), len(msgspec.json.encode(states[name])))
        for name, turns in taken.items()
    }


def _us_per_row(step: Callable[[tuple[int, float]], object], chunk: Sequence[tuple[int, float]]) -> float:
    began = time.process_time()
    for row in chunk:
        step(row)
    return 1e6 * (time.process_time() - began) / len(chunk)


def _minutes() -> list[tuple[int, float]]:
    """A daily wave with noise, the same on every machine."""
    rng = np.random.default_rng(1)
    at = np.arange(COST_TURNS * COST_CHUNK_ROWS)
    values = 200.0 + 100.0 * np.sin(2.0 * np.pi * at / 1440.0) + rng.standard_normal(len(at)) * 5.0
    return [(60_000_000 * row, value) for row, value in enumerate(values.tolist())]
