"""Drift: a prefix tells what the whole tells of it, nothing is told of steady series, and changes are found."""

import math
import random

import pytest

from detectors.drift import Drift, DriftParams, Drifts, best_cut, drifts_of
from detectors.drift_evaluate import CHANGED_AT, PER_DAY, feeds_of, made_up
from detectors.season import DAY_US
from detectors.series import SeriesDetector

MINUTE_US = 60_000_000
QUICK = DriftParams(delta=1e-4, warm_up_us=0, cycle_days=1)


def strengths(
    rows: int = 3_000, changed_at: int = 1_500, by: float = 0.15, seed: int = 1
) -> list[tuple[int, float | None]]:
    rng = random.Random(seed)
    return [(row * MINUTE_US, rng.random() / 2 + by * (row >= changed_at)) for row in range(rows)]


def found(rows: list[tuple[int, float | None]], params: DriftParams = QUICK) -> list[Drift]:
    return list(drifts_of(rows, Drifts(params)))


SENSITIVE = DriftParams(1e-4, DAY_US // 4, cycle_days=1)


def judged(
    values: list[float | None], params: DriftParams = SENSITIVE, scale: float = 1.0, shift: float = 0.0
) -> list[Drift]:
    """Through the ensemble, with five-minute rows."""
    detector, drifts, told = SeriesDetector(), Drifts(params), []
    for row, value in enumerate(values):
        time_us = row * 5 * MINUTE_US
        detector.step(time_us, None if value is None else scale * value + shift)
        assert detector.loudest is None or (math.isfinite(detector.loudest) and detector.loudest >= 0.0)
        told.append(drifts.step(time_us, detector.loudest))
    return [one for one in told if one is not None]


@pytest.mark.parametrize("cycle_days", [1, 7])
def test_the_drifts_of_a_prefix_are_the_prefix_of_the_drifts(cycle_days: int) -> None:
    params = DriftParams(delta=1e-4, warm_up_us=0, cycle_days=cycle_days)
    rows = strengths(changed_at=1_200) + [(t + 3_000 * MINUTE_US, s) for t, s in strengths(by=0.3, changed_at=700)]
    whole = found(rows, params)
    assert len(whole) >= 2
    for end in [whole[0].row, whole[0].row + 1, 2_000, whole[-1].row, whole[-1].row + 1]:
        assert found(rows[:end], params) == [one for one in whole if one.row < end]


def test_a_drift_says_when_and_how_much() -> None:
    (one,) = found(strengths())
    assert 1_500 < one.row < 1_700
    assert one.time_us == one.row * MINUTE_US
    assert abs(one.since_row - 1_500) < 60
    assert one.since_us == one.since_row * MINUTE_US
    assert (one.before, one.after) == (pytest.approx(0.25, abs=0.02), pytest.approx(0.4, abs=0.05))
    assert one.sentence.startswith("Not what it was, since 1970-01-0")
    assert "as unusual as before" in one.sentence


def test_getting_used_to_a_change_is_no_drift_of_its_own() -> None:
    """Three days of strangeness that a change brings, and then as before: told once, for the warm-up begins anew."""
    rng = random.Random(4)
    rows = [(r * MINUTE_US, rng.random() / 2 + 0.2 * (9_000 <= r < 9_000 + 3 * PER_DAY)) for r in range(18_000)]
    assert len(found(rows, DriftParams(delta=1e-4, warm_up_us=5 * DAY_US, cycle_days=1))) == 1
    assert len(found(rows, QUICK)) == 2


def test_a_weekly_rhythm_is_told_by_one_window_and_not_by_one_a_weekday() -> None:
    rng = random.Random(2)
    rows = [(r * MINUTE_US, rng.random() / 2 + 0.2 * (r // PER_DAY % 7 >= 5)) for r in range(28 * PER_DAY)]
    assert found(rows, DriftParams(cycle_days=7)) == []
    assert len(found(rows, DriftParams(cycle_days=1))) >= 2


def test_nothing_is_told_in_the_first_week() -> None:
    rows = strengths(rows=7 * PER_DAY, changed_at=4_000, by=0.4)
    assert found(rows, DriftParams(delta=0.5)) == []


@pytest.mark.parametrize("odd", [None, math.nan, math.inf])
def test_rows_without_a_value_are_counted_and_not_fed(odd: float | None) -> None:
    plain = strengths()
    holed = [row for pair in zip(plain, [(t, odd) for t, _ in plain], strict=True) for row in pair]
    (one,), (other,) = found(plain), found(holed)
    assert (other.row, other.time_us, other.before, other.after) == (2 * one.row, one.time_us, one.before, one.after)


@pytest.mark.parametrize(
    "values",
    [
        [7.0] * 5_000,
        [0.0] * 5_000,
        [None] * 5_000,
        [None if 3_300 < row < 3_900 else 5.0 + row % 3 for row in range(5_000)],
        [-1e9 if row % 700 == 350 else -50.0 + row % 7 for row in range(5_000)],
        [1e9 if row == 4_500 else 50.0 + row % 7 for row in range(5_000)],
    ],
    ids=["constant", "zero", "empty", "gap", "negative", "spike"],
)
def test_series_that_stay_what_they_are(values: list[float | None]) -> None:
    """17 days as shipped."""
    assert judged(values, DriftParams()) == []


def test_scale_and_shift_leave_the_drifts_where_they_are() -> None:
    rng = random.Random(3)
    values: list[float | None] = [rng.gauss(0.0, 1.0) * (3.0 if row >= 2_000 else 1.0) for row in range(3_000)]
    plain = judged(values)
    assert any(one.row >= 2_000 for one in plain)
    for scale, shift in ((1_000.0, 0.0), (2.0**-10, 0.0), (1.0, 50.0)):
        assert [one.row for one in judged(values, SENSITIVE, scale, shift)] == [one.row for one in plain]


def test_a_wider_spread_is_found_as_shipped_and_no_change_is_not() -> None:
    """The made-up series of docs/detection.md, up to a day after the change."""
    end = CHANGED_AT + PER_DAY
    told = {}
    for change in ("none", "spread × 1.5"):
        feed = feeds_of(made_up(change, "white", 1)[:end])["loudest voice"]
        told[change] = found([(row * MINUTE_US, one) for row, one in enumerate(feed.tolist())], DriftParams())
    assert told["none"] == []
    (one,) = told["spread × 1.5"]
    assert CHANGED_AT < one.row < CHANGED_AT + 400


def test_the_cut_is_where_the_means_differ_most() -> None:
    import numpy as np

    at, before, after = best_cut(np.array([0.1] * 40 + [0.3] * 10), 50)
    assert (at, before, after) == (40, pytest.approx(0.1), pytest.approx(0.3))
    assert best_cut(np.array([0.1] * 40 + [0.3] * 10), 8)[0] == 42
    assert best_cut(np.array([0.1] * 40 + [0.3] * 10), 1)[0] == 45
