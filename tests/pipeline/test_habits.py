"""Organisations that come and go: what is learnt of them, and that it excuses nothing else."""

import numpy as np
import pytest

from pipeline.judging.habits import HabitParams, Habits, take_in, usual_end, usual_surge
from topics.records import OrganisationTokens

PARAMS = HabitParams()
OTHERS = 9_000
BETWEEN, RUN = 60, 60


def minute(job: float, others: float = OTHERS) -> list[OrganisationTokens]:
    return [OrganisationTokens("others", round(others)), OrganisationTokens("job", round(job))]


def lived(course: list[list[OrganisationTokens]]) -> Habits:
    habits = Habits()
    for named in course:
        take_in(habits, named, PARAMS)
    return habits


def surges(habits: Habits, job: float, for_minutes: int = 6) -> bool:
    """Whether it is usual that the job now sends so much."""
    for _ in range(for_minutes):
        take_in(habits, minute(job), PARAMS)
    return usual_surge(habits, "job", PARAMS)


def runs(count: int, level: float = 6_000) -> list[list[OrganisationTokens]]:
    return ([minute(50)] * BETWEEN + [minute(level)] * RUN) * count + [minute(50)] * BETWEEN


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_twice_is_a_habit(count: int) -> None:
    habits = lived(runs(count))
    assert len(habits.known["job"].runs) == count
    assert usual_end(habits, "job", minute(50), PARAMS) == (count >= 2)
    assert surges(habits, 6_000) == (count >= 2)


def test_more_than_ever_and_an_organisation_that_still_sends_are_no_habit() -> None:
    habits = lived(runs(3))
    assert [run.mean for run in habits.known["job"].runs] == pytest.approx([6_000] * 3, rel=0.1)
    assert not usual_end(habits, "job", minute(4_000), PARAMS)
    assert not usual_surge(habits, "unknown", PARAMS)
    assert not surges(habits, 20_000)


def test_one_minute_of_much_is_no_more_than_ever() -> None:
    assert surges(lived(runs(3)), 15_000, for_minutes=1)


def test_a_bursty_job_may_come_with_as_much_as_in_its_bursts() -> None:
    """Every tenth minute of its runs has six times the others', so means of a few minutes are twice that of the run."""
    burst = ([minute(3_000)] * 9 + [minute(18_000)]) * 6
    habits = lived(([minute(50)] * BETWEEN + burst) * 3 + [minute(50)] * BETWEEN)
    assert max(run.mean for run in habits.known["job"].runs) < 5_000
    assert surges(habits, 9_000, for_minutes=12)
    assert not surges(habits, 25_000, for_minutes=12)


def test_one_large_run_among_small_ones_makes_no_habit_of_its_size() -> None:
    assert not surges(lived(runs(3) + runs(1, 40_000)), 30_000)


def test_nights_outages_and_bursts_are_no_runs() -> None:
    rng = np.random.default_rng(5)
    shape = 1.0 + 0.8 * np.sin(np.arange(3 * 1_440) / 1_440 * 2 * np.pi)
    shape[2_000:2_060] = 0.02
    course = [minute(job * rng.lognormal(0.0, 0.5), OTHERS * day) for day in shape for job in (2_000 * day,)]
    assert lived(course).known["job"].runs == []


def test_who_is_not_named_any_more_has_gone() -> None:
    """Eight others are named, so the job used at most what the least of them did."""
    others = [OrganisationTokens(f"o{i}", 1_000) for i in range(8)]
    job = OrganisationTokens("job", 12_000)
    habits = lived(([others] * BETWEEN + [[job, *others[:7]]] * RUN) * 3 + [others] * BETWEEN)
    assert len(habits.known["job"].runs) == 3
    assert usual_end(habits, "job", others, PARAMS)


def test_what_is_known_is_bounded() -> None:
    course = [[OrganisationTokens(f"o{i}", 100), OrganisationTokens("others", 900)] for i in range(500)]
    assert len(lived(course).known) == 64
    assert len(lived(runs(20)).known["job"].runs) == 8
