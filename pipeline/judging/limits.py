"""Errors against their usual rate, and hard limits that hold whatever is usual: these speak from the first window on.

What is too little for one window may be plain in several: the log-likelihood ratio of each window's k errors in n, at
the rate p1 = p0 + `effect` against the highest tolerated rate p0, adds up to a CUSUM, "accumulated" where it is over h:

    S_t = min(max(0, S_{t-1} + k · ln(p1 / p0) + (n - k) · ln((1 - p1) / (1 - p0))), 2 · h)

With h = 12 and no more errors than tolerated, it is over h by chance once in e^12 windows or less (sources:
`detectors.sequential`). 2.5 points more among 300 answers a minute are found in three or four windows, where no single
one of them is out of the ordinary at one in 100,000. Once it has been over h, a fall by `over` from where it was
highest ends it, S = 0: evidence for the tolerated rate of 20 to 1 (3 nats). Without that, what an incident had added up
spoke on for half an hour on a thin model, at each single error. What fails in a maintenance does not add up.

A model that always takes as long is slow, not sick: a latency over the limit counts only against a known level.
"""

import math
from typing import NamedTuple

from msgspec import Struct

from detectors.base import squash
from detectors.counts import Rate
from detectors.robust import median
from pipeline.judging.findings import Finding, of_metric
from pipeline.judging.metrics import ACCUMULATED, COUNTED, trials
from topics.fields import SECOND_US
from topics.records import MetricWindow


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Hard limits, in force from the first window: `errors_min` failed completions and the mission's 5 % and 10 s.

    `p99_completions_min`: of fewer, one or two slow requests make the p99, and one waits long in any hour.
    `accumulated` is h, in force once `ready_after` windows have taught the usual rate; `over` in nats, as h is.
    """

    error_rate: float = 0.05
    errors_min: int = 5
    latency_us: int = 10 * SECOND_US
    latency_times: float = 2.0
    p99_completions_min: int = 200
    accumulated: float = 12.0
    over: float = 3.0
    ready_after: int = 20


class Piled(NamedTuple):
    """The CUSUM of errors, and where it was highest since it was last 0, both in nats."""

    total: float = 0.0
    highest: float = 0.0


class Errors(NamedTuple):
    """The error rate of a window, as fractions; `high` is the largest rate that chance explains, where it was asked.
    `piled`: the CUSUM with this window."""

    actual: float
    usual: float
    spread: float
    high: float | None
    findings: list[Finding]
    piled: Piled = Piled()

    def stands_out(self, effect: float, sigmas_min: float) -> bool:
        off = abs(self.actual - self.usual)
        return off >= effect and off >= sigmas_min * self.spread

    def has_left(self, before: list[float], distance: float) -> bool:
        """Whether the newest windows (NaN: missing), this one included, have left the usual rate by `distance`."""
        newest = [rate for rate in before if rate == rate]
        return abs(median([*newest, self.actual]) - self.usual) >= distance


def of_errors(
    rate: Rate, before: Piled, window: MetricWindow, effect: float, limits: Limits, with_band: bool
) -> Errors | None:
    """None for a window without completions. `before`: the CUSUM so far. `with_band`: say `high` whatever is found."""
    n, usual = trials(window), rate.baseline
    if not n:
        return None
    actual = window.errors / n
    spread = max((usual / n) ** 0.5, effect / 4)
    known = rate.state.learned >= limits.ready_after
    piled = _piled(before, window.errors, n, rate.tolerated, effect, limits) if known else Piled()
    seen = Errors(actual, usual, spread, _high(rate, window) if with_band else None, [], piled)
    if actual - usual >= effect and window.errors > rate.tolerated * n:
        verdict = rate.score((window.errors, n))
        if verdict.anomalous and verdict.high is not None:
            seen.findings.append(of_metric(COUNTED, "counts", verdict.score, actual, usual, 0.0, verdict.high))
    if piled.total >= limits.accumulated and actual - usual >= effect:
        score = squash(piled.total, limits.accumulated)
        seen.findings.append(of_metric(COUNTED, ACCUMULATED, score, actual, usual, 0.0, rate.tolerated))
    if actual > limits.error_rate and window.errors >= limits.errors_min:
        score = actual / (actual + limits.error_rate)
        seen.findings.append(of_metric(COUNTED, "limit", score, actual, usual, 0.0, max(limits.error_rate, usual)))
    return seen


def _piled(before: Piled, errors: int, n: int, p0: float, effect: float, limits: Limits) -> Piled:
    p1 = min(p0 + effect, 1.0 - 1e-9)
    if p1 <= p0:
        return before
    gain = errors * math.log(p1 / p0) + (n - errors) * math.log((1.0 - p1) / (1.0 - p0))
    total = min(max(0.0, before.total + gain), 2.0 * limits.accumulated)
    highest = max(before.highest, total) if total else 0.0
    over = highest >= limits.accumulated and total <= highest - limits.over
    return Piled() if over else Piled(total, highest)


def of_latency(metric: str, actual: float, expected: float | None, completions: int, limits: Limits) -> Finding | None:
    """A latency over the limit and far from its known usual level, both in microseconds."""
    if metric.endswith("p99") and completions < limits.p99_completions_min:
        return None
    if expected is None or actual <= limits.latency_us or actual < limits.latency_times * expected:
        return None
    score = actual / (actual + limits.latency_us)
    return of_metric(metric, "limit", score, actual, expected, 0.0, float(limits.latency_us))


def _high(rate: Rate, window: MetricWindow) -> float | None:
    return rate.score((window.errors, trials(window))).high
