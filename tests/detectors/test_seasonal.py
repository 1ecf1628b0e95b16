"""Profiles of days and weeks: what may happen to a series without bending its shape, and how far it is believed."""

import numpy as np
import pytest

from detectors.seasonal import (
    HOURS,
    NOISE_MAX,
    SLOT_US,
    SLOTS,
    WEEKEND,
    WORKING,
    Trust,
    is_weekend,
    learnt,
    noise_learnt,
    profile_at,
)

THURSDAY, MONDAY = 0, 4  # days of the epoch
DAY = np.sin(2 * np.pi * np.arange(SLOTS) / SLOTS)


def days(number: int, first: int = MONDAY, noise: float = 0.03, seed: int = 1) -> np.ndarray:
    """Rows of days: the sine on working days, flat and half a unit lower at weekends."""
    rng = np.random.default_rng(seed)
    shapes = [-0.5 + 0.0 * DAY if is_weekend(first + day) else DAY for day in range(number)]
    return np.array(shapes) + rng.normal(0, noise, (number, SLOTS)) + 7.0


def learnt_of(rows: np.ndarray, first: int = MONDAY) -> np.ndarray:
    found = learnt(rows.reshape(-1), first * SLOTS + rows.size)
    assert found is not None
    return found


def error(shape: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference that is not a constant."""
    difference = shape - expected
    return float(np.abs(difference - np.median(difference)).max())


def test_nothing_is_claimed_before_a_day() -> None:
    timeline = days(1).reshape(-1)
    assert learnt(timeline[: SLOTS - 1], SLOTS - 1) is None
    assert learnt(timeline, SLOTS) is not None
    assert learnt(np.full(3 * SLOTS, np.nan), 3 * SLOTS) is None


@pytest.mark.parametrize("end", [0, 100, 287])
def test_a_day_up_to_now_is_laid_on_the_clock(end: int) -> None:
    timeline = np.concatenate([DAY, DAY])[end : end + SLOTS]
    found = learnt(timeline, end + SLOTS)
    assert found is not None
    assert error(found[WORKING], DAY) < 0.01
    assert np.array_equal(found[WORKING], found[WEEKEND])


def test_growth_bad_days_and_a_new_level_leave_the_shape_alone() -> None:
    rows = days(5)
    grown = rows + 0.2 * np.arange(5)[:, None]
    shifted = rows + np.array([0.0, 0.0, 3.0, 3.0, 3.0])[:, None]
    bad = rows.copy()
    bad[3, 100:200] = 0.0
    for changed in (grown, shifted, bad):
        assert error(learnt_of(changed)[WORKING], DAY) < 0.1


def test_a_level_that_shifts_within_a_day_bends_little() -> None:
    timeline = days(5).reshape(-1)
    timeline[2 * SLOTS + 150 :] += 2.0
    assert error(learnt_of(timeline.reshape(5, SLOTS))[WORKING], DAY) < 0.15


def test_weekends_are_told_apart_after_a_week_and_meet_working_days_at_midnight() -> None:
    found = learnt_of(days(14))
    assert error(found[WORKING], DAY) < 0.1
    assert error(found[WEEKEND], np.zeros(SLOTS)) < 0.1
    assert found[WEEKEND][0] == pytest.approx(found[WORKING][-1], abs=0.1)
    assert np.array_equal(learnt_of(days(6))[WORKING], learnt_of(days(6))[WEEKEND])


def test_missing_slots_are_bridged_and_a_day_with_many_is_none() -> None:
    rows = days(1, noise=0.0)
    rows[0, 40:60] = np.nan
    assert error(learnt_of(rows)[WORKING], DAY) < 0.15
    rows[0, 60:140] = np.nan
    assert learnt(rows.reshape(-1), (MONDAY + 1) * SLOTS) is None


def test_between_slots_the_profile_is_a_straight_line() -> None:
    profile = np.stack([np.arange(SLOTS, dtype=float), np.zeros(SLOTS)])
    middle = MONDAY * SLOTS * SLOT_US + 10 * SLOT_US + SLOT_US // 2
    assert float(profile_at(profile, middle)) == pytest.approx(10.0)
    assert float(profile_at(profile, middle + SLOT_US // 4)) == pytest.approx(10.25)
    saturday = middle + 5 * SLOTS * SLOT_US
    assert float(profile_at(profile, saturday)) == 0.0


def test_a_profile_is_believed_as_far_as_it_foretells() -> None:
    rng = np.random.default_rng(1)
    right, wrong, half = Trust(), Trust(), Trust()
    assert right.weight == 0.0
    for slot in range(SLOTS):
        predicted = 0.1 * float(DAY[slot])
        right.learn(predicted + rng.normal(0, 0.02), predicted)
        wrong.learn(rng.normal(0, 0.05), predicted)
        half.learn(0.5 * predicted, predicted)
    assert right.weight > 0.9
    assert wrong.weight < 0.25
    assert half.weight == pytest.approx(0.5, abs=0.05)


def test_an_incident_hardly_moves_the_trust() -> None:
    trust = Trust()
    for slot in range(SLOTS):
        trust.learn(-9.0 if 100 <= slot < 112 else 0.1 * float(DAY[slot]), 0.1 * float(DAY[slot]))
    assert trust.weight > 0.6


def test_noisy_hours_widen_the_band() -> None:
    errors = np.full((5, HOURS), 0.05)
    errors[:, 9:13] = 0.15
    noise = noise_learnt(errors)
    assert noise[10] == NOISE_MAX
    assert noise[3] == pytest.approx(1.0)
    assert noise_learnt(errors[:1])[10] < noise[10]
    assert noise_learnt(np.full((3, HOURS), np.nan)).tolist() == [1.0] * HOURS
