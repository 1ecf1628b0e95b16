"""Measures the fast path: `python -m tests.stages.fast_path [days]` (some minutes at 30 model-days a rate and kind).

First how long after its onset a hard failure rings, by requests a second, over onsets drawn anywhere in a slice: an
outage (requests stay away), a storm (every answer fails, when it would have come), a hang (answers stay away). Delays
are of event time, to when the watermark (5 s of lateness) lets the ten seconds go; 15 s of the worst case are waiting.
Then how often it rings on traffic in which nothing happens. Thresholds follow from a formula; what is assumed of the
errors' dispersion before any is learnt was settled after looking at runs of this script, nothing else was.

Traffic: arrivals with gamma gaps (cv 1.5, burstier than Poisson) under a daily shape and gamma-noised load of minutes,
answers after log-normal durations (median 4 s, p99 25 s), 0.5 % errors of which half come in runs.
"""

import sys
from collections.abc import Iterator
from copy import deepcopy

import numpy as np

from detectors.counts import Rate, RateParams, RateState
from pipeline.judging.sudden import Fast, FastParams, Found, Glance
from topics.fields import SECOND_US
from topics.links import Moment

RATES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
KINDS = ("outage", "storm", "hang")
METRIC = {"outage": "requests", "storm": "error_rate", "hang": "completions"}
ONSETS = 100
WARM_UP_S, LASTS_S = 3_600, 180
LATENESS_S = 5.0
DAY_S = 86_400
USUAL = Rate(RateParams(), RateState(events=50.0, trials=10_000.0))
START_S = 1_790_000_000

Traffic = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Arrival times in seconds, times of the answers, and whether each failed."""


def traffic(rng: np.random.Generator, rate: float, seconds: int, cv: float = 1.5) -> Traffic:
    """`rate` a second on average; see the top of this file."""
    gaps = rng.gamma(1 / cv**2, cv**2, int(rate * seconds * 1.3) + 100)
    minutes = np.arange(0, seconds + 60, 60)
    load = 1 + 0.4 * np.sin(2 * np.pi * (minutes / DAY_S + rng.random()))
    load *= rng.gamma(100, 1 / 100, len(minutes))
    spent = np.concatenate([[0], np.cumsum(load * rate * 60)])  # arrivals expected by each minute's start
    arrivals = np.interp(np.cumsum(gaps), spent, np.append(minutes, minutes[-1] + 60))
    arrivals = arrivals[arrivals < seconds]
    answered = arrivals + np.minimum(rng.lognormal(1.4, 0.8, len(arrivals)), 120)
    failed = rng.random(len(arrivals)) < 0.0025
    for start in rng.choice(len(arrivals), max(1, len(arrivals) // 1_600), replace=False):
        failed[start : start + 4] = True
    return arrivals, answered, failed


def broken(kind: str, made: Traffic, onset_s: float) -> Traffic:
    """The same traffic, but for what fails from `onset_s` on."""
    arrivals, answered, failed = made
    if kind == "outage":
        kept = arrivals < onset_s
        return arrivals[kept], answered[kept], failed[kept]
    if kind == "storm":
        return arrivals, answered, failed | (answered >= onset_s)
    kept = answered < onset_s
    return arrivals, answered[kept], failed[kept]


def moments(made: Traffic, from_s: int, to_s: int, length_s: int = 10) -> Iterator[Moment]:
    """What the windows stage would pass on, in order."""
    arrivals, answered, failed = made
    order = np.argsort(answered, kind="stable")
    answered, failed = answered[order], failed[order]
    edges = np.arange(from_s, to_s + 1, length_s)
    asked_at, done_at = np.searchsorted(arrivals, edges), np.searchsorted(answered, edges)
    errors_by = np.concatenate([[0], np.cumsum(failed)])
    for i in range(len(edges) - 1):
        (a, b), (c, d) = asked_at[i : i + 2], done_at[i : i + 2]
        yield Moment(
            model="m",
            start_us=_us(edges[i]),
            end_us=_us(edges[i + 1]),
            requests=int(b - a),
            completions=int(d - c),
            errors=int(errors_by[d] - errors_by[c]),
            last_request_us=_us(arrivals[b - 1]) if b > a else 0,
            last_completion_us=_us(answered[d - 1]) if d > c else 0,
        )


def _us(seconds: float) -> int:
    return round((START_S + float(seconds)) * SECOND_US)


def rings(fast: Fast, passed: Iterator[Moment], glance: Glance) -> Iterator[tuple[Moment, Found]]:
    """Every finding, with the moment in which it was told."""
    for moment in passed:
        for found in glance.look(fast, moment, USUAL):
            yield moment, found


def delays(kind: str, rate: float, glance: Glance, length_s: int = 10) -> list[float]:
    """Seconds from onset to alert, infinite where none came within LASTS_S."""
    found = []
    for onset in range(ONSETS):
        rng = np.random.default_rng([onset, int(rate * 10), KINDS.index(kind)])
        if onset % 10 == 0:
            made = traffic(rng, rate, WARM_UP_S + 600)
            warm = Fast()
            for _ in rings(warm, moments(made, 60, WARM_UP_S, length_s), glance):
                pass
        onset_s = WARM_UP_S + 60 + 10 * float(rng.random())
        fast = deepcopy(warm)
        passed = moments(broken(kind, made, onset_s), WARM_UP_S, WARM_UP_S + 60 + LASTS_S, length_s)
        told = (
            (moment.end_us / SECOND_US - START_S) + LATENESS_S - onset_s
            for moment, one in rings(fast, passed, glance)
            if one.finding.metric == METRIC[kind]
        )
        found.append(next((delay for delay in told if delay > 0), float("inf")))
    return found


def false_rings(rate: float, days: int, glance: Glance) -> dict[str, int]:
    """How many times each test began to ring in as many quiet days of traffic."""
    counts = dict.fromkeys(METRIC.values(), 0)
    for day in range(days):
        fast = Fast()
        last: dict[str, int] = {}
        made = traffic(np.random.default_rng([day, int(rate * 10), 77]), rate, DAY_S)
        for moment, one in rings(fast, moments(made, 0, DAY_S), glance):
            metric = one.finding.metric
            counts[metric] += moment.start_us - last.get(metric, 0) > 60 * SECOND_US
            last[metric] = moment.start_us
    return counts


def main() -> None:
    days, glance = int(sys.argv[1]) if len(sys.argv) > 1 else 30, Glance(FastParams())
    for kind in KINDS:
        for rate in RATES:
            found = np.array(delays(kind, rate, glance))
            told = f"{kind:7} {rate:5} a second: {np.mean(np.isfinite(found)):4.0%} told"
            told += f", {np.mean(found <= 15.0):4.0%} within 15 s"
            told += "".join(f", p{q} {np.quantile(found, q / 100, method='lower'):.1f} s" for q in (10, 50, 90))
            sys.stdout.write(told + "\n")
    for rate in RATES:
        counts = false_rings(rate, days, glance)
        sys.stdout.write(f"quiet {rate:5} a second, {days} model-days: {counts}\n")


if __name__ == "__main__":
    main()
