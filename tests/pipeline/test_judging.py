"""The parts of detection and alerting, one by one."""

import doctest
import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

import pipeline.judging
from detectors.consensus import Vote
from pipeline.judging import history, organisations, track
from pipeline.judging.baseline import Baseline, DriftParams, baseline, drifted
from pipeline.judging.context import MAINTENANCES_MAX, Context, heard, maintained, observed
from pipeline.judging.coordinates import next_id
from pipeline.judging.families import FAMILIES, witnesses
from pipeline.judging.metrics import BY_METRIC, MEASURES, scaled, unscaled
from pipeline.judging.organisations import Organisations, SurgeParams
from pipeline.judging.shape import is_gradual
from pipeline.judging.track import TrackParams
from pipeline.stage import State
from tests.streams.alerting import judged
from tests.streams.minutes import windows
from topics.control import Deployment, Maintenance, Relayed

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
    values: list[float | None] = [9.0, 1.0, None, 1.0, 50.0, 1.0, 1.0, 7.0, 7.0]
    flags = [value == 50.0 for value in values]
    found = baseline(values, flags, params)
    assert found == Baseline(level=1.0, sigma=params.sigma_min)
    assert baseline(values[:5], flags[:5], params) is None


@pytest.mark.parametrize(
    ("rise", "windows_needed"), [(100.0, 3), (4.0, 3), (2.0, 9), (1.0, None), (-5.0, None)], ids=str
)
def test_cusum_needs_several_windows_of_any_rise(rise: float, windows_needed: int | None) -> None:
    params, base, total = DriftParams(), Baseline(level=0.0, sigma=1.0), 0.0
    over = []
    for _ in range(60):
        total = drifted(total, rise, base, params)
        over.append(total > params.limit)
    assert (over.index(True) + 1 if any(over) else None) == windows_needed


def test_cusum_waits_when_there_is_nothing_to_compare() -> None:
    assert drifted(3.0, None, Baseline(0.0, 1.0), DriftParams()) == 3.0
    assert drifted(3.0, 9.0, None, DriftParams()) == 3.0


def test_history_gives_back_what_was_kept_across_hours() -> None:
    state: State[Any] = State()
    hours: list[int] = []
    for window in range(150):
        values: list[float | None] = [float(window)] * (len(MEASURES) - 1) + [None]
        hours = history.append(state, "m", hours, window // 60, values, window % 2)
    past = history.recent(state, "m", hours, 150, 100)
    assert past.first == 50
    assert past.columns[0] == [float(window) for window in range(50, 150)]
    assert past.columns[-1] == [None] * 100
    assert past.flags == [window % 2 for window in range(50, 150)]
    history.forget(state, "m", hours)
    assert state.values == {}


def test_ids_count_on_within_an_offset_only() -> None:
    state: State[Any] = State()
    assert [next_id(state, 3, offset, "a") for offset in (5, 5, 6)] == ["a3-5-0", "a3-5-1", "a3-6-0"]


def test_growth_of_all_is_no_organisations_surge() -> None:
    state, params = Organisations(), SurgeParams()
    usual, grown = windows(31, 60, (), 300.0), windows(32, 20, (), 900.0)
    for window in usual:
        organisations.learn(state, window, params)
    assert not any(organisations.surging(state, window, params) for window in grown)


def test_organisations_are_bounded_and_the_last_named_stay() -> None:
    state, params = Organisations(), SurgeParams(organisations_max=5)
    for window in windows(33, 30, (), 300.0):
        organisations.learn(state, window, params)
    assert len(state.known) == 5
    assert set(state.known) <= {top.organisation for top in window.top_organisations}


def test_threshold_rises_where_lone_alarms_are_common_and_falls_where_there_are_none() -> None:
    params, measure = TrackParams(), BY_METRIC["first_token_us_p99"]
    after = {}
    for name, jumps in (("wild", 0.08), ("calm", 0.0)):
        rng = np.random.default_rng(5)
        one = track.fresh(params)
        for _ in range(450):
            actual = 1e6 * float(np.exp(rng.normal(0, 0.05) + (rng.random() < jumps) * rng.normal(0, 2)))
            seen = track.look(one, "m", measure, actual, [], [], params, 0.5)
            track.learn(one, "m", measure, seen, lone=True, params=params)
        after[name] = one.k.k
    assert after["wild"] > params.threshold.k_start > after["calm"] >= params.threshold.k_min


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
