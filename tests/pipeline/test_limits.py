"""Errors that are too few for one window, and limits that a thin model's p99 says nothing about."""

import numpy as np

from detectors.counts import Rate, RateParams
from pipeline.judging.limits import Limits, Piled, of_errors, of_latency
from tests.pipeline.test_parts import window
from topics.records import Part

LIMITS, EFFECT = Limits(), 0.02


def found(rates: list[float], n: int = 300, seed: int = 1) -> list[set[str]]:
    """The detectors that speak in each window, of which one in `rates` fails."""
    rng, rate, piled = np.random.default_rng(seed), Rate(RateParams()), Piled()
    spoken = []
    for share in rates:
        minute = window([Part("region", "us", completions=n, errors=int(rng.binomial(n, share)))])
        errors = of_errors(rate, piled, minute, EFFECT, LIMITS, with_band=False)
        assert errors is not None
        piled = errors.piled
        spoken.append({finding.detector for finding in errors.findings})
        rate.learn((minute.errors, n))
    return spoken


def test_a_few_errors_more_add_up_within_minutes_and_end_soon() -> None:
    for seed in range(1, 9):
        spoken = found([0.006] * 120 + [0.031] * 30 + [0.006] * 30, seed=seed)
        assert not any(spoken[:120])
        first = next(minute for minute, names in enumerate(spoken[120:]) if "accumulated" in names)
        assert first <= 7
        assert not any(spoken[165:])


def test_what_an_incident_added_up_does_not_speak_on_at_single_errors() -> None:
    """A thin model: 40 answers a minute, of which 1.6 % fail; three minutes of one in four."""
    rates = [0.016] * 120 + [0.25] * 3 + [0.016] * 60
    for seed in range(1, 9):
        spoken = found(rates, n=40, seed=seed)
        assert any("accumulated" in names for names in spoken[120:123])
        assert not any("accumulated" in names for names in spoken[133:])


def test_nothing_adds_up_at_the_usual_rate_or_half_as_much_again() -> None:
    assert not any("accumulated" in names for names in found([0.006] * 5_000, seed=11))
    assert not any("accumulated" in names for names in found([0.006, 0.009] * 2_500, seed=12))


def test_one_slow_request_of_a_thin_model_breaks_no_limit() -> None:
    assert of_latency("first_token_us_p99", 60e6, 1e6, 60, LIMITS) is None
    assert of_latency("first_token_us_p99", 60e6, 1e6, 200, LIMITS) is not None
    assert of_latency("duration_us_p50", 60e6, 4e6, 60, LIMITS) is not None
