"""The parts of detection and alerting, one by one."""

import doctest
import importlib
import pkgutil
from collections import Counter
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import pipeline.judging
from detectors.arima import Bank
from detectors.consensus import Vote
from detectors.pelt import Break
from pipeline.judging import history, organisations, track
from pipeline.judging.baseline import DriftParams, baselines, drifted
from pipeline.judging.context import MAINTENANCES_MAX, Context, heard, maintained, observed
from pipeline.judging.coordinates import next_id
from pipeline.judging.families import FAMILIES, witnesses
from pipeline.judging.metrics import MEASURES, scaled, unscaled
from pipeline.judging.organisations import Organisations, SurgeParams
from pipeline.judging.shape import is_gradual
from pipeline.judging.track import TrackParams
from pipeline.stage import State
from tests.streams.alerting import judged
from tests.streams.minutes import windows
from topics.control import Deployment, Maintenance, Relayed
from topics.fields import HOUR_US, MINUTE_US
from topics.records import MetricWindow, OrganisationTokens

MODULES = [name for _, name, _ in pkgutil.iter_modules(pipeline.judging.__path__, "pipeline.judging.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.metric)
def test_scales_go_there_and_back(measure: Any) -> None:
    for value in (0.0, 0.5, 1.0):
        judging = scaled(measure.metric, value)
        assert judging is not None
        assert unscaled(measure.metric, judging) == pytest.approx(value)
    assert scaled(measure.metric, None) is None


def test_baseline_leaves_out_what_was_anomalous_and_the_newest() -> None:
    params = DriftParams(ready_after=5, gap=2, windows=4)
    anomalous = missing = np.nan
    values = [[9.0, 1.0, missing, 1.0, anomalous, 1.0, 1.0, 7.0, 7.0]]
    level, sigma = baselines(np.array(values), params)
    assert (level.tolist(), sigma.tolist()) == ([1.0], [params.sigma_min])
    assert np.isnan(baselines(np.array(values)[:, :5], params)[0])


@pytest.mark.parametrize(
    ("rise", "windows_needed"), [(100.0, 3), (4.0, 3), (2.0, 9), (1.0, None), (-5.0, None)], ids=str
)
def test_cusum_needs_several_windows_of_any_rise(rise: float, windows_needed: int | None) -> None:
    params, total = DriftParams(), np.zeros(1)
    over = []
    for _ in range(60):
        total = drifted(total, np.array([rise]), np.zeros(1), np.ones(1), params)
        over.append(bool(total[0] > params.limit))
    assert (over.index(True) + 1 if any(over) else None) == windows_needed


def test_cusum_waits_when_there_is_nothing_to_compare() -> None:
    unknown, three = np.array([np.nan]), np.array([3.0])
    assert drifted(three, unknown, np.zeros(1), np.ones(1), DriftParams()) == three
    assert drifted(three, np.array([9.0]), unknown, unknown, DriftParams()) == three


def kept(state: State[Any], windows: int, profile: float = 0.0) -> list[int]:
    """Windows 0, 1, 2 … whose metrics have the window's number as value, but for the last, which is missing."""
    hours: list[int] = []
    for window in range(windows):
        values = np.array([float(window)] * (len(MEASURES) - 1) + [np.nan])
        at = divmod(window, 60)
        hours = history.append(state, "m", hours, at, values, np.full(len(MEASURES), profile), window % 2)
    return hours


def test_history_gives_back_what_was_kept_across_hours() -> None:
    state: State[Any] = State()
    hours = kept(state, 150)
    past = history.recent(state, "m", hours, 150, 100)
    assert past.first == 50
    assert past.values[:, 0].tolist() == [float(window) for window in range(50, 150)]
    assert np.isnan(past.values[:, -1]).all()
    assert past.flags.tolist() == [window % 2 for window in range(50, 150)]
    history.forget(state, "m", hours)
    assert state.values == {}


def test_history_keeps_as_many_hours_as_are_needed() -> None:
    state: State[Any] = State()
    hours = kept(state, 60 * 9 + 10)
    assert len(hours) == len(state.values) == history.ROWS_MAX // 60 + 1
    assert len(history.recent(state, "m", hours, 550, history.ROWS_MAX).flags) == history.ROWS_MAX


def test_another_profile_leaves_what_was_measured_as_it_was() -> None:
    state: State[Any] = State()
    hours = kept(state, 90, profile=2.0)
    history.reprofile(state, "m", hours, 1, lambda time_us: time_us / HOUR_US)
    past = history.recent(state, "m", hours, 90, 90)
    measured = past.values[:, 1] + np.arange(90) / 60
    assert measured == pytest.approx(np.arange(90) + 2.0, abs=1e-4)
    assert past.values[:, 2].tolist() == [float(window) for window in range(90)]


def test_ids_count_on_within_an_offset_only() -> None:
    state: State[Any] = State()
    assert [next_id(state, 3, offset, "a") for offset in (5, 5, 6)] == ["a3-5-0", "a3-5-1", "a3-6-0"]


def test_growth_of_all_is_no_organisations_surge() -> None:
    state, params = Organisations(), SurgeParams()
    usual, grown = windows(31, 60, (), 300.0), windows(32, 20, (), 900.0)
    for window in usual:
        organisations.learn(state, window, params)
    assert not any(organisations.surging(state, window, params) for window in grown)


def named(minute: int, tokens: dict[str, int], requests: int) -> MetricWindow:
    """A window of which only these organisations' tokens matter."""
    ranked = sorted(tokens.items(), key=lambda item: -item[1])
    return replace(
        windows(1, 1)[0],
        start_us=minute * MINUTE_US,
        end_us=(minute + 1) * MINUTE_US,
        requests=requests,
        input_tokens=sum(tokens.values()),
        output_tokens=0,
        top_organisations=[OrganisationTokens(name, count) for name, count in ranked],
    )


def test_the_surge_of_an_organisation_of_few_requests_is_chance() -> None:
    """Six thousand tokens are six usual prompts; twelve times that is a surge of 300 requests, not of a handful."""
    state, params = Organisations(), SurgeParams()
    rng = np.random.default_rng(1)

    def minute(number: int, one: int, requests: int) -> MetricWindow:
        others = {f"org-{i}": int(6_000 * rng.lognormal(0.0, 0.2)) for i in range(7)}
        return named(number, {"one": one, **others}, requests)

    for number in range(200):
        organisations.learn(state, minute(number, int(6_000 * rng.lognormal(0.0, 0.2)), 400), params)
    assert [surge.organisation for surge in organisations.surging(state, minute(200, 40_000, 400), params)] == ["one"]
    assert organisations.surging(state, minute(200, 40_000, 12), params) == []


def test_a_batch_job_that_comes_every_few_hours_rings_the_first_time_only() -> None:
    state, params = Organisations(), SurgeParams()
    rung = []
    for number in range(2_400):
        running = number % 600 >= 360  # four hours in ten
        others = {f"org-{i}": 50_000 for i in range(6)}
        window = named(number, {"batch": 100_000 if running else 8_000, **others}, 600)
        if organisations.surging(state, window, params):
            rung.append(number)
        organisations.learn(state, window, params)
    assert rung
    assert max(rung) < 600


def test_organisations_are_bounded_and_the_last_named_stay() -> None:
    state, params = Organisations(), SurgeParams(organisations_max=5)
    for window in windows(33, 30, (), 300.0):
        organisations.learn(state, window, params)
    assert len(state.known) == 5
    assert set(state.known) <= {top.organisation for top in window.top_organisations}


def test_threshold_rises_where_lone_alarms_are_common_and_falls_where_there_are_none() -> None:
    params = TrackParams()
    after = {}
    for name, jumps in (("wild", 0.08), ("calm", 0.0)):
        rng, one = np.random.default_rng(5), track.fresh(params, "m", 0)
        for _ in range(450):
            value = 14.0 + rng.normal(0, 0.05) + (rng.random() < jumps) * rng.normal(0, 2)
            bank = Bank([one.arima], params.arima, np.array([one.k.k]), np.ones(1))
            flagged = bool(bank.beyond(np.array([value]))[0])
            track.learn(one, found=flagged, flagged=flagged, lone=True, params=params)
            bank.learn(np.array([value]))
            bank.store()
        after[name] = one.k.k
    assert after["wild"] > params.threshold.k_start > after["calm"] >= params.threshold.k_min


@pytest.mark.parametrize(("after", "since"), [(4.5, 970), (6.5, 970), (1.0, 0)], ids=["lower", "higher", "silence"])
def test_a_lasting_level_is_accepted_but_not_silence(after: float, since: int) -> None:
    params, one = TrackParams(), track.fresh(TrackParams(), "m", 0)
    one.run = params.relearn_after
    track.start_over(one, Break(age_windows=30, before=5.5, after=after, sigma=0.1), 1000, params)
    assert one.since == since


def test_first_fits_and_daily_ones_fall_into_windows_of_their_own() -> None:
    params = TrackParams()
    due = Counter(track.fresh(params, f"model-{m}", i).arima.fit_due for m in range(143) for i in range(6))
    assert max(due.values()) <= 25
    assert min(due) >= params.arima.fit_after


def test_a_family_hears_its_own_and_independent_witnesses() -> None:
    by_name = {family.name: family for family in FAMILIES}
    both = judged("b", 0)
    assert set(witnesses(by_name["latency"], both)) == {
        Vote("duration", "arima"),
        Vote("first_token", "cusum"),
        Vote("errors", "counts"),  # another metric moved; its limit speaks for errors only
    }
    assert Vote("limit", "limit") in witnesses(by_name["errors"], both)
    assert witnesses(by_name["traffic"], both) == []
    assert witnesses(by_name["combined"], both) == []
    assert Vote("break", "pelt") in witnesses(by_name["latency"], judged("p", 0))


@pytest.mark.parametrize("seed", range(5))
def test_steps_and_ramps_are_told_apart(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.04, 16)
    step = noise + np.repeat([0.0, 1.1], [13, 3])
    ramp = noise + np.concatenate([np.zeros(4), 0.06 * np.arange(1, 13)])
    assert not is_gradual(step.tolist())
    assert is_gradual(ramp.tolist())


def test_context_is_bounded_and_knows_whom_it_concerns() -> None:
    context = Context()
    for number in range(MAINTENANCES_MAX + 3):
        event = Maintenance(id=str(number), time_us=0, start_us=number, end_us=number + 1, model="m")
        assert heard(context, Relayed(offset=number, event=event))
    assert len(context.maintenances) == MAINTENANCES_MAX
    assert maintained(context, "m", 100, 101) is not None
    assert maintained(context, "other", 100, 101) is None
    heard(context, Relayed(offset=999, event=Deployment(id="d", time_us=50, model="m", version="2")))
    assert observed(context, "m", 50, 10) is not None
    assert observed(context, "m", 60, 10) is None
    assert observed(context, "m", 49, 10) is None
