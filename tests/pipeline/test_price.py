"""What a token costs: found whatever the volume, and nothing found in volume alone."""

import numpy as np

from pipeline.judging.price import Price, PriceParams, learn, score

PARAMS = PriceParams()


def minutes(seed: int, requests: float, prices: list[float]) -> list[bool]:
    """Whether each minute is found dear; tokens are log-normal, an output token costs five times an input token."""
    rng, state, found = np.random.default_rng(seed), Price(), []
    for price in prices:
        n = int(rng.poisson(requests))
        inputs, outputs = (float(np.exp(mean + rng.standard_normal(n)).sum()) for mean in (6.6, 5.0))
        cost, tokens = int((3 * inputs + 15 * outputs) * price), int(inputs + outputs)
        found.append(score(state, cost, tokens, PARAMS) is not None)
        learn(state, cost, tokens, PARAMS)
    return found


def test_a_price_that_rises_by_half_is_found_at_once() -> None:
    for seed in range(5):
        found = minutes(seed, 300.0, [1.0] * 200 + [1.5] * 10)
        assert sum(found[:200]) == 0
        assert all(found[200:203])


def test_neither_volume_nor_chance_is_a_price() -> None:
    assert sum(minutes(7, 30.0, [1.0] * 5_000)) <= 15
    assert sum(minutes(8, 300.0, [1.0] * 5_000)) == 0


def test_a_new_price_is_accepted() -> None:
    found = minutes(9, 300.0, [1.0] * 200 + [1.6] * 600)
    assert not any(found[-100:])


def test_too_little_to_judge() -> None:
    state = Price()
    for _ in range(50):
        learn(state, 40_000, 10_000, PARAMS)
    assert score(state, 40_000, PARAMS.tokens_min - 1, PARAMS) is None
    assert score(state, 0, 10_000, PARAMS) is None
    assert score(Price(), 90_000, 10_000, PARAMS) is None
