"""Isolation Forest, PELT, counts, threshold and consensus: what each claims in its own file."""

import random

import numpy as np
import pytest
import ruptures
from scipy.stats import binom
from sklearn.ensemble import IsolationForest as Reference

from detectors.arima import Arima, ArimaParams
from detectors.consensus import ConsensusParams, ConsensusState, Vote, step, weigh
from detectors.counts import Rate, RateParams, binomial_tail, critical_rate
from detectors.isolation_forest import ForestParams, IsolationForest
from detectors.isolation_trees import grow
from detectors.level import Level, LevelParams
from detectors.pelt import Pelt, PeltParams, find_breaks, spread_of_neighbours
from detectors.robust import SortedWindow, mad, median
from detectors.threshold import ThresholdParams, judge_many, start


@pytest.mark.parametrize("sample_max", [256, 64], ids=["all rows", "a sample"])
def test_forest_scores_agree_with_scikit_learns_as_its_own_do_with_each_other(sample_max: int) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.lognormal(size=(120, 3))
    probes = np.vstack([vectors[:40], rng.lognormal(sigma=2.0, size=(40, 3)), [[1e9, -1e9, 0.0], [50.0, 1.0, 1.0]]])

    def theirs(seed: int) -> np.ndarray:
        forest = Reference(n_estimators=100, max_samples=min(sample_max, 120), random_state=seed)
        return -forest.fit(vectors).score_samples(probes)

    ours = np.mean([grow(vectors, 100, sample_max, seed).score(probes) for seed in range(6)], axis=0)
    half, other = (np.mean([theirs(seed) for seed in seeds], axis=0) for seeds in (range(6), range(6, 12)))
    assert np.abs(ours - half).max() < 1.5 * np.abs(other - half).max() + 0.005
    assert abs(float(np.mean(ours - half))) < 0.004


def test_equal_rows_and_single_ones_are_leaves() -> None:
    assert grow(np.full((20, 3), 7.0), 10, 256, 0).score(np.full((1, 3), 7.0)) == pytest.approx(0.5)
    assert np.isfinite(grow(np.ones((1, 2)), 5, 256, 0).score(np.zeros((1, 2)))).all()


def test_forest_sees_an_odd_combination_of_ordinary_values() -> None:
    rng, forest = random.Random(1), IsolationForest(ForestParams())
    for _ in range(240):
        load = rng.uniform(0.0, 100.0)
        forest.learn([load, 10.0 * load + rng.gauss(0.0, 5.0), 0.5 * load + rng.gauss(0.0, 0.5)])
    assert forest.score([95.0, 30.0, 2.0]).score > forest.score([95.0, 950.0, 47.0]).score + 0.03


def test_forest_refuses_a_vector_of_another_length() -> None:
    forest = IsolationForest(ForestParams())
    forest.learn([1.0, 2.0])
    with pytest.raises(ValueError, match="2 metrics was learnt before, this one has 3"):
        forest.score([1.0, 2.0, 3.0])


def test_pelt_breaks_equal_those_of_the_pure_python_search() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(0, 1, 40), rng.normal(4, 1, 30), rng.normal(1, 1, 50)])
    params = PeltParams()
    sigma = spread_of_neighbours(values.tolist())
    units = ((values - median(values.tolist())) / sigma).reshape(-1, 1)
    penalty = params.penalty * np.log(len(values))
    slow = ruptures.Pelt(model="l2", min_size=params.size_min, jump=1).fit(units).predict(pen=penalty)
    assert find_breaks(values.tolist(), sigma, params) == slow[:-1]
    assert len(slow) == 3


def test_pelt_dates_the_break_and_forgets_it() -> None:
    rng, pelt = random.Random(2), Pelt(PeltParams())
    for i in range(90):
        pelt.step(rng.gauss(10.0 if i < 60 else 16.0, 1.0))
        if i == 69:
            assert pelt.newest is not None
            assert pelt.newest.age_windows == 10
    assert not pelt.score(16.0).anomalous


def test_pelt_between_searches_lets_the_break_age() -> None:
    rng, pelt = random.Random(2), Pelt(PeltParams(every=5))
    ages = []
    for i in range(75):
        pelt.step(rng.gauss(10.0 if i < 60 else 20.0, 1.0))
        ages.append(pelt.newest.age_windows if pelt.newest else 0)
    assert ages[70:75] == [11, 12, 13, 14, 15]


@pytest.mark.parametrize("spike", [60.0, 1e9, -1e9])
def test_one_spike_is_no_break(spike: float) -> None:
    rng, pelt = random.Random(2), Pelt(PeltParams())
    verdicts = [pelt.step(spike if i == 60 else rng.gauss(10.0, 1.0)) for i in range(75)]
    assert not any(v.anomalous for v in verdicts)


@pytest.mark.parametrize(
    ("k", "n", "p"), [(1, 10, 0.1), (30, 1000, 0.01), (7, 7, 0.5), (0, 5, 0.2), (900, 100_000, 0.008)]
)
def test_binomial_tail_equals_scipys(k: int, n: int, p: float) -> None:
    assert binomial_tail(k, n, p) == pytest.approx(float(binom.sf(k - 1, n, p)), rel=1e-9)


@pytest.mark.parametrize("n", [1, 7, 250, 40_000])
def test_critical_rate_is_the_last_that_is_tolerated(n: int) -> None:
    k = round(critical_rate(n, 0.01, 1e-4) * n)
    assert binomial_tail(k, n, 0.01) >= 1e-4
    assert k == n or binomial_tail(k + 1, n, 0.01) < 1e-4


@pytest.mark.parametrize(
    ("window", "anomalous"),
    [((0, 1000), False), ((1, 3), False), ((2, 3), False), ((4, 5), True), ((8, 1000), False), ((25, 1000), True)],
)
def test_rate_weighs_events_by_trials(window: tuple[int, int], anomalous: bool) -> None:
    rate = Rate(RateParams())
    for _ in range(40):
        rate.learn((2, 1000))
    assert rate.score(window).anomalous is anomalous


def test_rate_does_not_make_an_incident_its_baseline() -> None:
    rate = Rate(RateParams())
    for _ in range(60):
        rate.learn((2, 1000))
    assert all(rate.step((80, 1000)).anomalous for _ in range(30))
    assert rate.baseline < 0.01


def test_rate_refuses_more_events_than_trials() -> None:
    with pytest.raises(ValueError, match=r"events must be in 0\.\.trials: 3 of 2"):
        Rate(RateParams(ready_after=0)).score((3, 2))


@pytest.mark.parametrize(
    ("judged", "false_alarms", "k"),
    [
        (199, 199, 4.5),  # too few judged windows to say anything
        (200, 11, 4.5 * 1.15),  # 5.5 %: stricter
        (200, 10, 4.5),  # exactly 5 % and exactly 1 % stay
        (200, 2, 4.5),
        (200, 1, 4.5 / 1.05),  # 0.5 %: more sensitive
    ],
)
def test_threshold_moves_by_one_step(judged: int, false_alarms: int, k: float) -> None:
    params = ThresholdParams()
    assert judge_many(start(params), params, judged, false_alarms).k == pytest.approx(k)


def test_threshold_stays_within_its_bounds_and_counts_in_parts() -> None:
    params = ThresholdParams()
    high = low = start(params)
    for _ in range(50):
        high = judge_many(high, params, 200, 100)
        low = judge_many(low, params, 200, 0)
    assert (high.k, low.k) == (params.k_max, params.k_min)
    parts = judge_many(judge_many(start(params), params, 150, 9), params, 50, 2)
    assert parts == judge_many(start(params), params, 200, 11)


ERRORS, LATENCY = Vote("error_rate", "counts"), Vote("latency_p99", "arima")
FOREST, BREAK = Vote("all", "isolation_forest"), Vote("latency_p99", "pelt")


@pytest.mark.parametrize(
    ("votes", "weight"),
    [
        ((), 0),
        ((ERRORS,), 1),
        ((ERRORS, ERRORS), 1),
        ((ERRORS, LATENCY), 2),
        ((FOREST,), 2),
        ((BREAK,), 0),
        ((BREAK, LATENCY), 2),
        ((BREAK, LATENCY, Vote("latency_p99", "robust")), 2),
        ((FOREST, ERRORS, LATENCY), 4),
    ],
)
def test_votes_weigh_by_what_they_know(votes: tuple[Vote, ...], weight: int) -> None:
    assert weigh(ConsensusParams(), votes) == weight


@pytest.mark.parametrize(
    ("needs", "windows", "confirmed"),
    [
        ((3, 3), "xxx", "..C"),
        ((3, 3), "xx.xx.xxx", "........C"),
        ((3, 5), "x.x.x", "....C"),
        ((3, 5), "xx..x..x", "....C..."),
        ((3, 5), "xxx...x", "..C...."),
        ((1, 1), ".x.x", ".C.C"),
    ],
)
def test_confirmation_counts_recent_windows(needs: tuple[int, int], windows: str, confirmed: str) -> None:
    params, state, seen = ConsensusParams(windows_min=needs[0], windows_of=needs[1]), ConsensusState(), ""
    for window in windows:
        state, outcome = step(state, params, (ERRORS, LATENCY) if window == "x" else ())
        seen += "C" if outcome.confirmed else "."
    assert seen == confirmed


def test_sorted_window_agrees_with_sorting() -> None:
    rng, window, kept = random.Random(1), SortedWindow(25, []), []
    for i in range(300):
        value = rng.choice([0.0, 1.0, rng.gauss(0.0, 1.0), rng.gauss(0.0, 1e6)])
        window.push(value)
        kept = [*kept, value][-25:]
        assert window.median() == median(kept)
        deviations = sorted(abs(v - median(kept)) for v in kept)
        assert window.mad() == pytest.approx(deviations[len(kept) // 2]), i
        assert mad(kept) == window.mad()


@pytest.mark.parametrize("seed", [1, 6])
def test_a_slow_leak_is_found_that_one_step_forecasts_forgive(seed: int) -> None:
    rng, level, arima = random.Random(seed), Level(LevelParams()), Arima(ArimaParams())
    found: dict[str, list[int]] = {"level": [], "arima": []}
    for i in range(130):
        value = rng.gauss(100.0 + 0.45 * max(0, i - 60), 1.5)  # 0.3 standard deviations a window
        for name, verdict in (("level", level.step(value)), ("arima", arima.step(value))):
            found[name] += [i] if verdict.anomalous else []
    assert 62 <= found["level"][0] <= 78
    assert len(found["level"]) >= 40
    assert len(found["arima"]) <= 20


def test_level_ignores_a_single_spike() -> None:
    rng, level = random.Random(6), Level(LevelParams())
    assert not any(level.step(1e9 if i == 80 else rng.gauss(100.0, 2.0)).anomalous for i in range(110))
