"""Is one region, client version or tier failing? Asks of each part of a model's traffic what is asked of the whole.

A region that sends a tenth of the requests and fails in a tenth of them adds one point to the model's error rate: too
little to be worth a page as a rate, and plain to see in that region. Two questions, independent of each other, because
one compares in time and the other in space:

    part        errors among this part's completions against the part's own usual rate        detectors.counts
    elsewhere   the same errors against the rate of all other parts of the dimension in this very window

Both must be beyond chance (`alpha` of detectors.counts and `alpha_elsewhere`), and the part's rate over both by
`effect`. When every region fails alike, the second question says no: then the whole model is failing, and is judged as
such. Organisations are left out: one that sends broken requests fails by itself.

State: a fading rate for each of at most `parts_max` parts; what is not seen for longest gives way.
"""

import math
from collections.abc import Iterator

from msgspec import Struct

from detectors.counts import Rate, RateParams, RateState, binomial_tail
from topics.records import MetricWindow, Part

DIMENSIONS = ("region", "client", "tier")


class PartParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`effect`: least distance in points from the usual rate and from the others'. `errors_min` failures a window."""

    rate: RateParams = RateParams(alpha=1e-4, p_min=0.01, ready_after=20)
    alpha_elsewhere: float = 1e-3
    excess_elsewhere: float = 2.0
    effect: float = 0.04
    errors_min: int = 3
    parts_max: int = 64


class Parts(Struct, tag="parts"):
    """Of one model: the usual error rate of each part, under `dimension=value`, most recently seen last."""

    rates: dict[str, RateState] = {}


class Failing(Struct, frozen=True):
    """A part that fails while the others do not. Rates are fractions; scores in [0, 1], 0.5 at the threshold."""

    dimension: str
    value: str
    actual: float
    expected: float
    high: float
    elsewhere: float
    score: float
    score_elsewhere: float


def failing(state: Parts, window: MetricWindow, params: PartParams) -> list[Failing]:
    """The parts that fail, the plainest first; changes nothing."""
    found = [one for part, others in _with_others(window) if (one := _judged(state, part, others, params))]
    return sorted(found, key=lambda one: (-one.score, one.dimension, one.value))


def learn(state: Parts, window: MetricWindow, params: PartParams) -> None:
    """Take the window's parts in; what alarms is learnt only up to what was tolerated (detectors.counts)."""
    for part, _ in _with_others(window):
        key = _key(part)
        known = state.rates.pop(key, None) or RateState()
        Rate(params.rate, known).learn((part.errors, _trials(part)))
        state.rates[key] = known
    for key in list(state.rates)[: -params.parts_max]:
        del state.rates[key]


def _with_others(window: MetricWindow) -> Iterator[tuple[Part, tuple[int, int]]]:
    """Each part with the errors and trials of the others of its dimension."""
    for dimension in DIMENSIONS:
        parts = [part for part in window.parts if part.dimension == dimension and _trials(part)]
        errors, trials = sum(part.errors for part in parts), sum(_trials(part) for part in parts)
        for part in parts:
            yield part, (errors - part.errors, trials - _trials(part))


def _judged(state: Parts, part: Part, others: tuple[int, int], params: PartParams) -> Failing | None:
    known = state.rates.get(_key(part))
    if known is None or part.errors < params.errors_min or others[1] < 1:
        return None
    rate = Rate(params.rate, known)
    verdict = rate.score((part.errors, _trials(part)))
    actual, elsewhere = part.errors / _trials(part), others[0] / others[1]
    if not verdict.anomalous or actual < max(rate.baseline, elsewhere) + params.effect:
        return None
    tolerated = min(max(params.excess_elsewhere * elsewhere, params.rate.p_min), 1.0 - 1e-9)
    surprise = -math.log10(max(binomial_tail(part.errors, _trials(part), tolerated), 1e-300))
    needed = -math.log10(params.alpha_elsewhere)
    if surprise <= needed:
        return None
    return Failing(
        dimension=part.dimension,
        value=part.value,
        actual=actual,
        expected=rate.baseline,
        high=rate.baseline if verdict.high is None else verdict.high,
        elsewhere=elsewhere,
        score=verdict.score,
        score_elsewhere=surprise / (surprise + needed),
    )


def _trials(part: Part) -> int:
    return max(part.completions, part.errors)


def _key(part: Part) -> str:
    return f"{part.dimension}={part.value}"
