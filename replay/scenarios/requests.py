"""The requests of one model on one day, as columns: who sent each, how long it took, what it used, whether it failed.

Counts in ten seconds: a Poisson number an organisation, whose mean is a gamma variable where the organisation's
arrivals are bursty, so that the variance is cv² times the mean, as for a renewal process with ServeGen's coefficients
of variation. Tokens: the lognormal fits of the Azure traces (replay.synthesis). Latency: first token and inter-token
time of LLMPerf (replay.latency) at the level of the course. One vectorised draw a day and model.
"""

from dataclasses import dataclass

import numpy as np

from replay import latency
from replay.arrivals import Booleans, Floats, Integers
from replay.scenarios.course import CLIENT_SHARES, DAY_MINUTES, Course, medians_s
from replay.scenarios.disturb import SLICE_S, SLICES_A_MINUTE, Disturbance, grown
from replay.synthesis import (
    CHAT_LOG_INPUT,
    CHAT_LOG_OUTPUT,
    CODE_LOG_INPUT,
    CODE_LOG_OUTPUT,
    INPUT_TOKENS_MAX,
    OUTPUT_TOKENS_MAX,
)
from topics.fields import SECOND_US

DAY_SLICES = DAY_MINUTES * SLICES_A_MINUTE
INPUT_MICROUSD, OUTPUT_MICROUSD = 3, 15  # a token, as pipeline.prices has it by default
SURGE_INPUT_MAX = 16 * INPUT_TOKENS_MAX
"""The longest prompt of an organisation that floods a model."""


@dataclass(frozen=True)
class Requests:
    """Equally long columns. `arrived` and `ended` are slices since the scenario's start, `arrived_us` and `ended_us`
    where in these slices."""

    arrived: Integers
    ended: Integers
    arrived_us: Integers
    ended_us: Integers
    organisation: Integers
    region: Integers
    client: Integers
    input_tokens: Integers
    output_tokens: Integers
    cost_microusd: Integers
    first_us: Integers
    duration_us: Integers
    failed: Booleans

    def __len__(self) -> int:
        return len(self.arrived)


def draw(rng: np.random.Generator, course: Course, day: int, disturbances: tuple[Disturbance, ...]) -> Requests:
    """All requests that arrive on day number `day` (0 is the first)."""
    active = [one for one in disturbances if one.start < (day + 1) * DAY_SLICES and one.end > day * DAY_SLICES]
    arrived, organisation = _arrivals(rng, course, day, active)
    rows, customers, minute = len(arrived), course.customers, arrived // SLICES_A_MINUTE
    region = (rng.random(rows)[:, None] > customers.regions[organisation]).sum(axis=1)
    client = np.searchsorted(np.cumsum(CLIENT_SHARES)[:-1], rng.random(rows))
    code = rng.random(rows) < customers.codes[organisation]
    inputs = _lognormal(rng, code, CODE_LOG_INPUT, CHAT_LOG_INPUT) * customers.prompts[organisation]
    outputs = _lognormal(rng, code, CODE_LOG_OUTPUT, CHAT_LOG_OUTPUT) * course.answers[minute]
    slower, errors, price = np.ones(rows), course.errors[minute], np.ones(rows)
    inputs, outputs = np.clip(inputs, 1, INPUT_TOKENS_MAX), np.clip(outputs, 1, OUTPUT_TOKENS_MAX)
    tails = rng.random(rows)
    for one in active:
        depth = one.at(arrived) * one.hits(region, organisation)
        inputs, outputs = inputs * grown(one.inputs, depth), outputs * grown(one.outputs, depth)
        slower = slower * grown(one.latency, depth) * np.where(tails < one.slow * depth, one.slow_times, 1.0)
        errors, price = errors + (1.0 - errors) * one.errors * depth, price * grown(one.price, depth)
    inputs_n, outputs_n = _whole(inputs, SURGE_INPUT_MAX), _whole(outputs, 4 * OUTPUT_TOKENS_MAX)
    failed = rng.random(rows) < errors
    first_us, duration_us = _latencies(rng, course, minute, outputs_n, slower)
    duration_us = np.where(failed, first_us, duration_us)
    outputs_n = np.where(failed, 0, outputs_n)
    began_us = (rng.random(rows) * SLICE_S * SECOND_US).astype(np.int64)
    cost = np.rint((INPUT_MICROUSD * inputs_n + OUTPUT_MICROUSD * outputs_n) * price).astype(np.int64)
    return Requests(
        arrived=arrived,
        ended=arrived + (began_us + duration_us) // (SLICE_S * SECOND_US),
        arrived_us=began_us,
        ended_us=(began_us + duration_us) % (SLICE_S * SECOND_US),
        organisation=organisation,
        region=region,
        client=client,
        input_tokens=inputs_n,
        output_tokens=outputs_n,
        cost_microusd=cost,
        first_us=first_us,
        duration_us=duration_us,
        failed=failed,
    )


def _arrivals(
    rng: np.random.Generator, course: Course, day: int, active: list[Disturbance]
) -> tuple[Integers, Integers]:
    """Each request's slice and organisation, by slice."""
    minutes = course.rates[day * DAY_MINUTES : (day + 1) * DAY_MINUTES]
    means = np.repeat(minutes / SLICES_A_MINUTE, SLICES_A_MINUTE, axis=0)
    slices = np.arange(day * DAY_SLICES, (day + 1) * DAY_SLICES)
    for one in active:
        factor = grown(one.requests, one.at(slices))
        if one.organisation < 0:
            means = means * factor[:, None]
        else:
            means[:, one.organisation] *= factor
    spread = np.maximum(course.customers.cvs**2 - 1.0, 0.0)
    bursty = spread > 0
    means[:, bursty] = rng.gamma(means[:, bursty] / spread[bursty]) * spread[bursty]
    counts = rng.poisson(means)
    places = np.repeat(np.arange(counts.size), counts.ravel())
    return slices[places // counts.shape[1]], places % counts.shape[1]


def _latencies(
    rng: np.random.Generator, course: Course, minute: Integers, output_tokens: Integers, slower: Floats
) -> tuple[Integers, Integers]:
    """The formula of replay.latency, at the level of the course and with its jitter."""
    rows, level = len(minute), course.latency[minute] * slower
    first_median, inter_median = medians_s(course.profile)
    jitter = course.jitter[minute]
    first_s = first_median * level * np.exp(latency.SIGMA_FIRST * jitter * rng.standard_normal(rows))
    waits = rng.random(rows) < latency.SLOW_SHARE * jitter
    first_s[waits] *= np.exp(latency.SLOW_LOG_MEAN + latency.SLOW_LOG_SIGMA * rng.standard_normal(int(waits.sum())))
    inter_s = inter_median * level * np.exp(latency.SIGMA_INTER * jitter * rng.standard_normal(rows))
    first_s = np.minimum(first_s, latency.DURATION_S_MAX)
    duration_s = np.minimum(first_s + np.maximum(output_tokens - 1, 0) * inter_s, latency.DURATION_S_MAX)
    return latency.whole_us(first_s), latency.whole_us(duration_s)


def _lognormal(
    rng: np.random.Generator, code: Booleans, code_log: tuple[float, float], chat_log: tuple[float, float]
) -> Floats:
    mean, sigma = np.where(code, code_log[0], chat_log[0]), np.where(code, code_log[1], chat_log[1])
    return np.exp(mean + sigma * rng.standard_normal(len(code)))


def _whole(tokens: Floats, highest: int) -> Integers:
    return np.clip(np.rint(tokens), 1, highest).astype(np.int64)
