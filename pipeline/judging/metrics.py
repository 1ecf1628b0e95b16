"""The metrics of a window: how each is read, on which scale it is judged, how it is written for people.

Everything but the error rate is judged on the scale log(1 + x): latencies, counts and tokens of an API vary by factors,
and "half as much again" means the same in a busy hour as in a quiet one. The error rate is judged as errors among
completions (detectors.counts).

>>> round(upwards(BY_METRIC["requests"], 150.0, 100.0), 2), round(upwards(BY_METRIC["requests"], 50.0, 100.0), 2)
(0.5, -0.98)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from topics.fields import SECOND_US
from topics.records import MetricWindow

P50_COMPLETIONS_MIN = 10
P99_COMPLETIONS_MIN = 50  # of fewer, the 99th percentile is simply the slowest request


@dataclass(frozen=True)
class Measure:
    """One metric. `source` groups metrics that move together by construction: they are one witness, not two."""

    metric: str  # one of topics.records.Metric
    source: str
    read: Callable[[MetricWindow], float | None]
    label: str
    show: Callable[[float], str]


def trials(window: MetricWindow) -> int:
    """What `errors` are counted among."""
    return max(window.completions, window.errors)


def _error_rate(window: MetricWindow) -> float | None:
    return window.errors / trials(window) if trials(window) else None


def _when_enough(value: int | None, window: MetricWindow, completions_min: int) -> float | None:
    return None if value is None or window.completions < completions_min else float(value)


def _percent(x: float) -> str:
    return f"{100 * x:.1f} %"


def _seconds(x: float) -> str:
    return f"{x / SECOND_US:.2f} s"


def _milliseconds(x: float) -> str:
    return f"{1e3 * x / SECOND_US:.1f} ms"


def _us_per_output_token(window: MetricWindow) -> float | None:
    """Of the answers whose durations are summed up: those of the dimension that names most of them."""
    answers = window.completions - window.errors
    if answers < 1 or window.output_tokens < 1 or not window.parts:
        return None
    sums: dict[str, tuple[int, int]] = {}
    for part in window.parts:
        count, spent_us = sums.get(part.dimension, (0, 0))
        sums[part.dimension] = count + part.completions - part.errors, spent_us + part.duration_us
    count, spent_us = max(sums.values())
    return (spent_us / count) / (window.output_tokens / answers) if 2 * count >= answers and spent_us else None


def _whole(x: float) -> str:
    return f"{x:,.0f}"


def _dollars(x: float) -> str:
    return f"${x / 1e6:,.4f}"


MEASURES: tuple[Measure, ...] = (
    Measure("error_rate", "errors", _error_rate, "error rate", _percent),
    Measure(
        "first_token_us_p99",
        "first_token",
        lambda w: _when_enough(w.first_token_us_p99, w, P99_COMPLETIONS_MIN),
        "first-token latency p99",
        _seconds,
    ),
    Measure(
        "duration_us_p99",
        "duration",
        lambda w: _when_enough(w.duration_us_p99, w, P99_COMPLETIONS_MIN),
        "completion latency p99",
        _seconds,
    ),
    Measure(
        "duration_us_p50",
        "duration",
        lambda w: _when_enough(w.duration_us_p50, w, P50_COMPLETIONS_MIN),
        "completion latency p50",
        _seconds,
    ),
    Measure("requests", "requests", lambda w: float(w.requests), "requests per window", _whole),
    Measure("tokens_per_s", "tokens", lambda w: w.tokens_per_s, "tokens per second", _whole),
    Measure("cost_microusd", "tokens", lambda w: float(w.cost_microusd), "cost per window", _dollars),
)

COMPLETIONS = Measure("completions", "completions", lambda w: float(w.completions), "completions per window", _whole)
"""Judged by the fast path alone, and not kept in the history."""

PACE = Measure("us_per_output_token", "pace", _us_per_output_token, "time an output token takes", _milliseconds)
"""Judged by pipeline.judging.pace alone, and not kept in the history."""

BY_METRIC: dict[str, Measure] = {measure.metric: measure for measure in (*MEASURES, COMPLETIONS, PACE)}
INDEX: dict[str, int] = {measure.metric: i for i, measure in enumerate(MEASURES)}
COUNTED = "error_rate"
ACCUMULATED = "accumulated"  # the detector that has weighed the errors of many windows
FORECAST: tuple[Measure, ...] = tuple(measure for measure in MEASURES if measure.metric != COUNTED)
STEADY = (  # a break in them is evidence
    "error_rate",
    "duration_us_p50",
    "requests",
    "tokens_per_s",
    "cost_microusd",
    PACE.metric,
)
LATENCIES = ("first_token_us_p99", "duration_us_p99", "duration_us_p50")
SLOWNESS = (*LATENCIES, PACE.metric)
"""All that tells of a slow model; what varies least comes last."""

COMBINED = "combined"  # the name under which the multivariate detector votes
COMBINED_OF = ("error_rate", "duration_us_p99", "duration_us_p50", "tokens_per_s", "requests")


def scaled(metric: str, value: float | None) -> float | None:
    """On the scale it is judged on; None where nothing was measured."""
    return value if value is None or metric == COUNTED else math.log1p(max(value, 0.0))


def unscaled(metric: str, value: float) -> float:
    """Back in the metric's own unit."""
    return value if metric == COUNTED else max(math.expm1(min(value, 60.0)), 0.0)


def upwards(measure: Measure, actual: float, expected: float) -> float:
    """How far above `expected`, signed: points for the error rate, else a ratio, the same both ways (×2: 1, ÷2: -1).

    One is added to both sides, as on the judging scale, so that nothing at all has a ratio too.
    """
    if measure.metric == COUNTED:
        return actual - expected
    ratio = (1.0 + actual) / (1.0 + max(expected, 0.0))
    return ratio - 1.0 if ratio >= 1.0 else 1.0 - 1.0 / ratio
