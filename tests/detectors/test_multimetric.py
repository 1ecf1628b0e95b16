"""A watch over many series: laws, and what counts as evidence."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.multimetric import Assessment, Metric, Series, Value, Watch, WatchParams, WatchState
from detectors.tails import PRIOR, Tail, TailParams, TailState, persistent, together

MINUTE_US = 60_000_000
METRICS = (
    Metric("cpu", "resource"),
    Metric("p99_s", "latency", floor=0.001),
    Metric("mean_s", "latency", floor=0.001, mean_over="requests"),
    Metric("requests", "load"),
    Metric("failed", "errors"),
    Metric("network_s", "network", floor=0.001),
)
PARAMS = WatchParams(metrics=METRICS)
Rows = list[tuple[int, dict[Series, Value]]]


def quiet(rows: int, seed: int = 1, start: int = 0) -> Rows:
    rng = random.Random(seed)
    found: Rows = []
    for i in range(start, start + rows):
        row: dict[Series, Value] = {}
        for name in ("a", "b", "c"):
            row[Series(name, "cpu")] = 20.0 + rng.gauss(0.0, 2.0)
            row[Series(name, "p99_s")] = rng.lognormvariate(-2.0, 0.3)
            row[Series(name, "mean_s")] = 0.1 + rng.gauss(0.0, 0.005)
            row[Series(name, "requests")] = 100.0
            row[Series(name, "failed")] = (int(rng.random() < 0.1), 100)
        row[Series("b", "network_s", "a")] = 0.002 + rng.gauss(0.0, 0.0002)
        found.append((i * MINUTE_US, row))
    return found


def run(watch: Watch, rows: Rows) -> list[Assessment]:
    return [watch.step(time_us, row) for time_us, row in rows]


def changed(rows: Rows, changes: dict[Series, Value]) -> Rows:
    return [(time_us, {**row, **changes}) for time_us, row in rows]


def test_scores_of_a_prefix_are_the_prefix_of_the_scores() -> None:
    rows = quiet(150)
    assert run(Watch(PARAMS), rows[:100]) == run(Watch(PARAMS), rows)[:100]


@pytest.mark.parametrize("cut", [0, 1, 60, 149])
def test_a_checkpoint_goes_on_as_if_nothing_had_happened(cut: int) -> None:
    rows = quiet(150)
    before = Watch(PARAMS)
    first = run(before, rows[:cut])
    stored = msgspec.json.decode(msgspec.json.encode(before.state), type=WatchState)
    assert first + run(Watch(PARAMS, stored), rows[cut:]) == run(Watch(PARAMS), rows)


def test_the_order_of_series_in_a_row_does_not_matter() -> None:
    rows = quiet(120)
    backwards = [(time_us, dict(reversed(row.items()))) for time_us, row in rows]
    assert run(Watch(PARAMS), backwards) == run(Watch(PARAMS), rows)


def test_quiet_rows_are_as_rare_as_they_say() -> None:
    seen = [a.system for seed in range(3) for a in run(Watch(PARAMS), quiet(700, seed=seed))[100:]]
    for evidence in (1.0, 2.0, 3.0):
        assert sum(s > evidence for s in seen) <= 3.0 * len(seen) * 10.0**-evidence


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({Series("b", "cpu"): 95.0}, "b"),
        ({Series("c", "failed"): (20, 100)}, "c"),
        ({Series("a", "requests"): 0.0}, "a"),
        ({Series("b", "network_s", "a"): 0.1}, "b"),
        ({Series("c", "p99_s"): 5.0, Series("c", "mean_s"): 0.4}, "c"),
    ],
)
def test_a_fault_of_three_rows_is_found_in_its_second(changes: dict[Series, Value], culprit: str) -> None:
    watch = Watch(PARAMS)
    run(watch, quiet(300))
    seen = run(watch, changed(quiet(3, seed=2, start=300), changes))
    assert [a.anomalous for a in seen] == [False, True, True]
    assert max(seen[1].entities, key=lambda name: seen[1].entities[name]) == culprit


def test_one_wild_row_is_no_evidence() -> None:
    watch = Watch(PARAMS)
    run(watch, quiet(300))
    wild = changed(quiet(1, seed=2, start=300), {Series("a", "cpu"): 100.0, Series("b", "failed"): (90, 100)})
    assert not any(a.anomalous for a in run(watch, wild + quiet(5, seed=3, start=301)))


def test_less_cpu_and_shorter_latency_are_no_evidence_and_less_load_is() -> None:
    watch = Watch(PARAMS)
    run(watch, quiet(300))
    less = {Series("a", "cpu"): 1.0, Series("a", "p99_s"): 0.001, Series("b", "requests"): 5.0}
    seen = run(watch, changed(quiet(3, seed=2, start=300), less))[-1]
    assert seen.entities["a"] < 1.0
    assert seen.entities["b"] > 3.0
    assert [e.strength < 0.0 for e in seen.evidence if e.series == Series("b", "requests")] == [True]


def test_two_sources_say_more_than_one_and_two_metrics_of_one_source_do_not() -> None:
    def strength(changes: dict[Series, Value]) -> float:
        watch = Watch(PARAMS)
        run(watch, quiet(300))
        return run(watch, changed(quiet(3, seed=2, start=300), changes))[-1].entities["a"]

    cpu, p99, mean = ({Series("a", n): v} for n, v in (("cpu", 35.0), ("p99_s", 1.0), ("mean_s", 0.15)))
    both = strength({**p99, **mean})
    assert both == max(strength({**p99}), strength({**mean}))
    assert strength({**cpu, **p99}) > max(strength({**cpu}), strength({**p99}))


def test_after_a_long_pause_levels_are_new_and_shapes_are_kept() -> None:
    watch = Watch(PARAMS)
    run(watch, quiet(300))
    elsewhere = changed(quiet(20, seed=2, start=300 + 3 * 1440), {Series("a", "requests"): 5000.0})
    assert not any(a.anomalous for a in run(watch, elsewhere))
    slow = changed(quiet(3, seed=3, start=320 + 3 * 1440), {Series("a", "mean_s"): 0.4})
    assert run(watch, slow)[-1].anomalous


def test_extents_are_failed_requests_and_lost_seconds() -> None:
    watch = Watch(PARAMS)
    run(watch, quiet(300))
    bad = changed(quiet(3, seed=2, start=300), {Series("a", "failed"): (20, 100), Series("a", "mean_s"): 0.4})
    extents = {e.series.metric: e.extent for e in run(watch, bad)[-1].evidence if e.series.entity == "a"}
    assert extents["failed"] == pytest.approx(19.9, abs=0.3)
    assert extents["mean_s"] == pytest.approx(30.0, abs=0.5)


values = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 1e300, -1e300, 7.0, 7.0, 7.0]))


@given(st.lists(st.tuples(values, st.tuples(st.integers(0, 5), st.integers(5, 9)), st.booleans()), max_size=60))
def test_whatever_comes_evidence_is_finite(rows: list[tuple[float | None, tuple[int, int], bool]]) -> None:
    watch = Watch(PARAMS)
    for i, (value, counts, present) in enumerate(rows):
        row: dict[Series, Value] = {Series("a", "cpu"): value, Series("a", "failed"): counts}
        seen = watch.step(i * MINUTE_US, row if present else {})
        assert math.isfinite(seen.system)
        assert seen.system >= 0.0
        assert all(math.isfinite(e.strength) for e in seen.evidence)


def test_metrics_that_are_not_listed_are_ignored_and_listed_twice_are_refused() -> None:
    assert run(Watch(PARAMS), [(0, {Series("a", "colour"): 1.0})])[0].evidence == ()
    with pytest.raises(ValueError, match="once"):
        WatchParams(metrics=(*METRICS, METRICS[0]))


@given(st.lists(st.floats(0.0, 1e6), max_size=80), st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_evidence_never_falls_as_the_value_grows(history: list[float], one: float, other: float) -> None:
    tail = Tail(TailParams(block_rows=2), TailState())
    for u in history:
        tail.learn(u)
    low, high = sorted((one, other))
    assert 0.0 <= tail.evidence(low) <= tail.evidence(high)


def test_incidents_do_not_become_usual_and_what_is_usual_does() -> None:
    rare, common = Tail(TailParams(), TailState()), Tail(TailParams(), TailState())
    rng = random.Random(4)
    for i in range(3000):
        u = abs(rng.gauss(0.0, 1.0))
        rare.learn(50.0 if i % 600 < 3 else u)
        common.learn(50.0 if i % 20 < 3 else u)
    assert rare.evidence(50.0) > 4.0
    assert common.evidence(50.0) < 2.5


@pytest.mark.parametrize(
    ("last", "u", "expected"),
    [([], 9.0, 0.0), ([3.0], 9.0, 3.0), ([9.0, 0.0], 5.0, 5.0), ([-4.0, 0.0], -7.0, -4.0), ([9.0, -9.0], 0.5, 0.5)],
)
def test_persistent_is_what_two_of_three_reached(last: list[float], u: float, expected: float) -> None:
    assert persistent(last, u) == expected


def test_together_is_uniform_for_independent_witnesses_with_nothing_to_say() -> None:
    rng = random.Random(5)
    seen = [together([-math.log10(1.0 - rng.random()) for _ in range(5)]) for _ in range(40_000)]
    for evidence in (2.0, 2.5, 3.0):
        expected = len(seen) * 10.0**-evidence
        assert abs(sum(s >= evidence for s in seen) - expected) <= 4.0 * math.sqrt(expected)


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=6), st.integers(0, 5), st.floats(0.0, 5.0))
def test_together_never_falls_when_a_witness_says_more(evidence: list[float], at: int, more: float) -> None:
    louder = list(evidence)
    louder[at % len(louder)] = min(louder[at % len(louder)] + more, 30.0)
    assert together(louder) >= together(evidence) - 1e-9


def test_the_prior_is_in_order() -> None:
    assert list(PRIOR) == sorted(PRIOR)
