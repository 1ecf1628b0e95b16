"""Sequential tests: what they find and when, what they forgive, and what they cost in false alarms."""

import math

import numpy as np
import pytest

from detectors.sequential import Failures, Level, Sequential, SequentialParams, Sum

TESTS = Sequential(SequentialParams())
PARAMS = TESTS.params


def learnt(counts: list[int]) -> Level:
    level = Level()
    for count in counts:
        TESTS.learn(level, count)
    return level


def steps_to_ring(level: Level, counts: list[tuple[int, float]]) -> int | None:
    alarm = Sum()
    for index, (count, since) in enumerate(counts):
        TESTS.silence(alarm, level, count, since)
        if alarm.ringing:
            return index
    return None


def test_the_threshold_is_lordens_bound() -> None:
    assert TESTS.h == pytest.approx(math.log(4 * 259_200))
    rare = Sequential(SequentialParams(false_alarms_per_month=0.1))
    assert rare.h == pytest.approx(TESTS.h + math.log(10))


@pytest.mark.parametrize(("rate", "steps"), [(50, 1), (14, 2), (7, 3), (5, 3), (2, None)])
def test_silence_is_told_as_soon_as_enough_events_have_stayed_away(rate: int, steps: int | None) -> None:
    """13.6 at least; and not at all where that takes longer than `steps_max`."""
    level = learnt([rate] * 200)
    found = steps_to_ring(level, [(0, 1.0)] * 20)
    assert found == (None if steps is None else steps - 1)


def test_silence_within_a_step_is_told_at_its_end() -> None:
    level = learnt([50] * 200)
    assert steps_to_ring(level, [(50, 0.0), (30, 0.4)]) == 1
    assert steps_to_ring(level, [(50, 0.0), (45, 0.1)]) is None


def test_a_step_that_is_only_thin_is_no_silence() -> None:
    assert steps_to_ring(learnt([50] * 200), [(20, 0.05)] * 50) is None


def test_a_return_from_a_surge_is_no_silence() -> None:
    level = learnt([50] * 1_000 + [500] * 60)
    assert level.usual < 100
    assert steps_to_ring(level, [(50, 0.02)] * 10) is None


def test_bursts_make_silence_less_telling() -> None:
    rng = np.random.default_rng(3)
    even, bursty = learnt(list(rng.poisson(30, 2_000))), learnt(list(rng.negative_binomial(3, 3 / 33, 2_000)))
    assert even.dispersion == pytest.approx(1.0, abs=0.2)
    assert bursty.dispersion > 6
    assert steps_to_ring(even, [(0, 1.0)] * 9) == 0
    assert steps_to_ring(bursty, [(0, 1.0)] * 9) == 4


def test_a_lull_that_rang_and_passed_raises_the_threshold_for_days() -> None:
    level, alarm = learnt([20] * 200), Sum()
    for count in (0, 0, 20, 20, 20):
        TESTS.silence(alarm, level, count, 1.0 if count == 0 else 0.0)
    assert not alarm.ringing
    assert TESTS.threshold(alarm) == pytest.approx(1.25 * 2 * 0.95 * 20, abs=0.01)
    for _ in range(3 * 60_480):
        TESTS.silence(alarm, level, 20, 0.0)
    assert TESTS.threshold(alarm) == TESTS.h


def test_an_outage_does_not_raise_the_threshold() -> None:
    level, alarm = learnt([20] * 200), Sum()
    for count in [0] * 40 + [20] * 5:
        TESTS.silence(alarm, level, count, 1.0 if count == 0 else 0.0)
    assert TESTS.threshold(alarm) == TESTS.h


def test_ringing_ends_when_events_come_as_usual_and_may_begin_again() -> None:
    level, alarm = learnt([50] * 200), Sum()
    rang = []
    for count, since in ((50, 0.02), (0, 1.0), (0, 1.0), (0, 1.0), (50, 0.02), (50, 0.02), (20, 0.6), (0, 1.0)):
        TESTS.silence(alarm, level, count, since)
        rang.append(alarm.ringing)
    assert rang == [False, True, True, True, False, False, False, True]


def test_warm_up_never_rings() -> None:
    assert steps_to_ring(learnt([50] * (PARAMS.ready_steps - 1)), [(0, 1.0)] * 6) is None


@pytest.mark.parametrize(("errors", "trials", "rings"), [(4, 4, True), (2, 2, False), (8, 20, True), (3, 20, False)])
def test_a_storm_takes_errors_that_are_many_and_most(errors: int, trials: int, rings: bool) -> None:
    alarm = Sum()
    TESTS.storm(alarm, errors, trials, 0.0075, 1.0)
    assert alarm.ringing is rings


def test_a_storm_is_over_when_answers_come_again() -> None:
    alarm = Sum()
    for errors in (10, 10, 0, 0, 0, 0):
        TESTS.storm(alarm, errors, 10, 0.0075, 1.0)
    assert not alarm.ringing


@pytest.mark.parametrize(("percent", "steps"), [(20, 1), (8, 2), (4, 4), (3, 6), (1, None)])
def test_a_burst_of_few_errors_adds_up(percent: int, steps: int | None) -> None:
    """Of 100 answers in each step, half a percent of failures is usual."""
    alarm, rang = Sum(), None
    for step in range(60):
        TESTS.burst(alarm, percent, 100, 0.006, 1.0)
        rang = step + 1 if alarm.ringing and rang is None else rang
    assert rang == steps


def test_a_burst_is_looked_for_above_what_is_usual_and_below_one() -> None:
    assert [round(TESTS.raised(rate), 3) for rate in (0.01, 0.1, 0.9)] == [0.04, 0.2, 0.95]


def test_errors_at_the_usual_rate_are_no_burst_for_a_month() -> None:
    rng, alarm = np.random.default_rng(9), Sum()
    for errors in rng.binomial(50, 0.006, size=PARAMS.steps_per_month).tolist():
        TESTS.burst(alarm, errors, 50, 0.006, 1.0)
        assert not alarm.ringing


def test_runs_of_errors_make_a_storm_less_telling() -> None:
    rng = np.random.default_rng(4)
    alone, runs = Failures(), Failures()
    for _ in range(3_000):
        TESTS.learn_failures(alone, Sum(), int(rng.binomial(50, 0.02)), 50, 0.02)
        TESTS.learn_failures(runs, Sum(), 5 * int(rng.binomial(10, 0.02)), 50, 0.02)
    assert TESTS.dispersion(alone) == pytest.approx(1.0, abs=0.1)
    assert TESTS.dispersion(runs) == pytest.approx(5.0, abs=0.5)


def test_a_storm_does_not_teach_that_storms_are_usual() -> None:
    failures, alarm = Failures(), Sum()
    for errors in (0, 0, 4, 10, 10, 0, 0, 0, 0, 0, 1, 0, 0):
        TESTS.storm(alarm, errors, 10, 0.0075, TESTS.dispersion(failures))
        TESTS.learn_failures(failures, alarm, errors, 10, 0.005)
    assert TESTS.dispersion(failures) < 3.0
    calm, alarm = Failures(), Sum()
    for errors in (0, 0, 2, 0, 2, 0, 2, 0, 0):
        TESTS.storm(alarm, errors, 10, 0.0075, TESTS.dispersion(calm))
        TESTS.learn_failures(calm, alarm, errors, 10, 0.005)
    assert TESTS.dispersion(calm) > 3.5


@pytest.mark.parametrize(("rate", "shape"), [(20.0, 1e9), (50.0, 10.0)])
def test_false_alarms_stay_within_the_rate_asked_for(rate: float, shape: float) -> None:
    """At a rate of one in 100 steps a test, so that a few hundred steps tell: Poisson, and three times as dispersed."""
    often = Sequential(SequentialParams(false_alarms_per_month=7_776.0))
    rng, level, alarm, rang = np.random.default_rng(5), Level(), Sum(), 0
    for count in rng.poisson(rate * rng.gamma(shape, 1 / shape, 6_000)):
        before = alarm.ringing
        often.silence(alarm, level, int(count), min(float(rng.exponential(1 / rate)), 1.0))
        rang += alarm.ringing and not before
        often.learn(level, int(count))
        alarm.worst = 0.0  # what was false would teach the threshold
    assert rang <= 60


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="left"):
        SequentialParams(left=1.0)
    with pytest.raises(ValueError, match="half-lives"):
        SequentialParams(half_life=0.0)
