"""Seeded weeks of a model's windows with a daily and a weekly shape, made window by window, so that days take seconds.

    log load = amplitude · wave(time of day) + weekend + growth · days + AR(1) noise         minutes are UTC

A wave that is low at 3:00, steep in the morning and high from 9:00 to 17:00. Latency follows the load, tokens the
requests, half a percent of the requests fails. Nothing here is measured; replay/scenarios has what is fitted to traces.
"""

from collections.abc import Callable

import numpy as np

from topics.fields import MINUTE_US
from topics.records import MetricWindow

DAY_MINUTES = 1440
MONDAY_US = 1_699_833_600_000_000  # 2023-11-13T00:00Z
WEEKEND = -0.6

Effect = Callable[[int], tuple[float, float]]
"""Minute -> factors of requests and of latency."""


def steady(minute: int) -> tuple[float, float]:
    return 1.0, 1.0


def wave(minute: np.ndarray) -> np.ndarray:
    """-1 at night, 1 in working hours."""
    hour = minute % DAY_MINUTES / 60
    rise, fall = 1 / (1 + np.exp(-2.5 * (hour - 7.5))), 1 / (1 + np.exp(1.2 * (hour - 19.0)))
    return np.asarray(2 * rise * fall - 1)


def windows(
    seed: int,
    minutes: int,
    effect: Effect = steady,
    amplitude: float = 0.8,
    rate: float = 600.0,
    growth: float = 0.0,
    noise: float = 0.05,
    model: str = "m-large",
) -> list[MetricWindow]:
    """`minutes` windows from a Monday's midnight on; `growth` of log load a day."""
    rng = np.random.default_rng(seed)
    at = np.arange(minutes)
    weekend = (at // DAY_MINUTES % 7 >= 5) * WEEKEND
    shocks = rng.normal(0, noise, minutes)
    for i in range(1, minutes):
        shocks[i] += 0.6 * shocks[i - 1]
    load = amplitude * wave(at) + weekend + growth * at / DAY_MINUTES + shocks
    tokens, slow, tail = (rng.normal(0, s, minutes) for s in (0.06, 0.04, 0.15))
    found = []
    for minute in range(minutes):
        traffic, latency = effect(minute)
        requests = int(rng.poisson(rate * np.exp(load[minute]) * traffic))
        p50 = 3e6 * latency * np.exp(0.35 * load[minute] + slow[minute])
        used = 700 * requests * np.exp(tokens[minute])
        found.append(_window(minute, model, requests, int(rng.binomial(requests, 0.005)), p50, tail[minute], used))
    return found


def _window(
    minute: int, model: str, requests: int, errors: int, p50: float, tail: float, tokens: float
) -> MetricWindow:
    start_us = MONDAY_US + minute * MINUTE_US
    measured = {}
    if requests:
        measured = {
            "first_token_us_p50": int(p50 / 6),
            "first_token_us_p99": int(p50 / 2 * np.exp(tail)),
            "duration_us_p50": int(p50),
            "duration_us_p99": int(3.5 * p50 * np.exp(0.7 * tail)),
        }
    return MetricWindow(
        id=f"0-{minute}-0",
        time_us=start_us + MINUTE_US,
        model=model,
        start_us=start_us,
        end_us=start_us + MINUTE_US,
        revision=0,
        requests=requests,
        completions=requests,
        errors=errors,
        error_rate=errors / requests if requests else 0.0,
        input_tokens=int(0.7 * tokens),
        output_tokens=int(0.3 * tokens),
        tokens_per_s=tokens / 60,
        cost_microusd=int(6 * tokens),
        **measured,
    )
