"""Errors against their usual rate, and hard limits that hold whatever is usual: these speak from the first window on.

A model that always takes as long is slow, not sick: a latency over the limit counts only against a known level.
"""

from typing import NamedTuple

from msgspec import Struct

from detectors.counts import Rate
from detectors.robust import median
from pipeline.judging.findings import Finding, of_metric
from pipeline.judging.metrics import COUNTED, trials
from topics.fields import SECOND_US
from topics.records import MetricWindow


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Hard limits, in force from the first window: `errors_min` failed completions and the mission's 5 % and 10 s.

    `p99_completions_min`: of fewer, one or two slow requests make the p99, and one waits long in any hour.
    """

    error_rate: float = 0.05
    errors_min: int = 5
    latency_us: int = 10 * SECOND_US
    latency_times: float = 2.0
    p99_completions_min: int = 200


class Errors(NamedTuple):
    """The error rate of a window, as fractions; `high` is the largest rate that chance explains, where it was asked."""

    actual: float
    usual: float
    spread: float
    high: float | None
    findings: list[Finding]

    def stands_out(self, effect: float, sigmas_min: float) -> bool:
        off = abs(self.actual - self.usual)
        return off >= effect and off >= sigmas_min * self.spread

    def has_left(self, before: list[float], distance: float) -> bool:
        """Whether the newest windows (NaN: missing), this one included, have left the usual rate by `distance`."""
        newest = [rate for rate in before if rate == rate]
        return abs(median([*newest, self.actual]) - self.usual) >= distance


def of_errors(rate: Rate, window: MetricWindow, effect: float, limits: Limits, with_band: bool) -> Errors | None:
    """None for a window without completions. `with_band`: say `high` even where nothing is found."""
    n, usual = trials(window), rate.baseline
    if not n:
        return None
    actual = window.errors / n
    spread = max((usual / n) ** 0.5, effect / 4)
    seen = Errors(actual, usual, spread, _high(rate, window) if with_band else None, [])
    if actual - usual >= effect and window.errors > rate.tolerated * n:
        verdict = rate.score((window.errors, n))
        if verdict.anomalous and verdict.high is not None:
            seen.findings.append(of_metric(COUNTED, "counts", verdict.score, actual, usual, 0.0, verdict.high))
    if actual > limits.error_rate and window.errors >= limits.errors_min:
        score = actual / (actual + limits.error_rate)
        seen.findings.append(of_metric(COUNTED, "limit", score, actual, usual, 0.0, max(limits.error_rate, usual)))
    return seen


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
