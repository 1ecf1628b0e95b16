"""Which part of a model's traffic fails: tables of regions, what is found in them and what is not."""

import msgspec
import numpy as np
import pytest

from pipeline.judging.parts import DIMENSIONS, Failing, PartParams, Parts, failing, learn
from topics.fields import MINUTE_US
from topics.records import MetricWindow, Part

PARAMS = PartParams()
SIZES = {"us": 120, "eu": 90, "ap": 50, "sa": 25}


def window(parts: list[Part]) -> MetricWindow:
    completions, errors = sum(part.completions for part in parts), sum(part.errors for part in parts)
    return MetricWindow(
        id="w",
        time_us=MINUTE_US,
        model="m",
        start_us=0,
        end_us=MINUTE_US,
        revision=0,
        requests=completions,
        completions=completions,
        errors=errors,
        error_rate=errors / max(completions, 1),
        input_tokens=0,
        output_tokens=0,
        tokens_per_s=0.0,
        cost_microusd=0,
        parts=parts,
    )


def drawn(rng: np.random.Generator, rates: dict[str, float], dimension: str = "region") -> MetricWindow:
    return window(
        [
            Part(dimension, name, requests=n, completions=n, errors=int(rng.binomial(n, rates.get(name, 0.005))))
            for name, n in SIZES.items()
        ]
    )


def learnt(windows: int = 60) -> Parts:
    rng, state = np.random.default_rng(1), Parts()
    for _ in range(windows):
        learn(state, drawn(rng, {}), PARAMS)
    return state


@pytest.mark.parametrize("name", SIZES)
def test_a_region_that_fails_alone_is_named(name: str) -> None:
    rng, state = np.random.default_rng(2), learnt()
    found = [failing(state, drawn(rng, {name: 0.4}), PARAMS) for _ in range(20)]
    assert all([one.value for one in ones] == [name] for ones in found)
    one = found[0][0]
    assert one.dimension == "region"
    assert one.actual > 0.2 > 5 * one.expected
    assert 0.5 < one.score < 1.0
    assert 0.5 < one.score_elsewhere < 1.0


def test_when_all_fail_alike_none_is_to_blame() -> None:
    rng, state = np.random.default_rng(3), learnt()
    found = [failing(state, drawn(rng, dict.fromkeys(SIZES, 0.3)), PARAMS) for _ in range(50)]
    assert sum(map(len, found)) == 0


def test_a_region_that_always_fails_more_is_usual() -> None:
    rng, state = np.random.default_rng(4), Parts()
    for _ in range(300):
        learn(state, drawn(rng, {"sa": 0.12}), PARAMS)
    assert sum(len(failing(state, drawn(rng, {"sa": 0.12}), PARAMS)) for _ in range(200)) == 0


def test_chance_rings_nobody() -> None:
    rng, state, found = np.random.default_rng(5), learnt(), 0
    for _ in range(5_000):
        minute = drawn(rng, {})
        found += len(failing(state, minute, PARAMS))
        learn(state, minute, PARAMS)
    assert found <= 1


def test_nothing_is_claimed_of_few_of_strangers_or_of_a_lone_part() -> None:
    state = learnt()
    few = window([Part("region", "us", completions=200), Part("region", "sa", completions=2, errors=2)])
    stranger = window([Part("region", "us", completions=200), Part("region", "mars", completions=50, errors=25)])
    alone = window([Part("region", "us", completions=200, errors=100)])
    organisation = window(
        [Part("organisation", "a", completions=50, errors=40), Part("organisation", "b", completions=50)]
    )
    for minute in (few, stranger, alone, organisation, window([])):
        assert failing(state, minute, PARAMS) == []
    assert "organisation" not in DIMENSIONS


def test_what_is_remembered_is_bounded_and_travels() -> None:
    state, params = Parts(), PartParams(parts_max=3)
    for number in range(10):
        learn(state, window([Part("client", f"v{number}", completions=10)]), params)
    assert list(state.rates) == ["client=v7", "client=v8", "client=v9"]
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Parts)
    assert copy == state
    assert isinstance(failing(learnt(), drawn(np.random.default_rng(6), {"eu": 0.5}), PARAMS)[0], Failing)
