"""How long does a token take? Latency that longer answers do not explain, and that a few slow answers do not make.

    r = ln((seconds of all answers / answers) / (output tokens / answers)),    n answers
    z = (r - m) / σ,    σ² = `sigma_min`² + (√(π/2) · a)² / n

with m the fading mean of r and a that of |r - m| · √n (half-life `half_life` windows). A median answers how long the
answer in the middle was, so another mix of customers moves it, and a p99 is one answer in a hundred; most of both is
how much was written. Seconds for each output token cancel that: on a thin model r varies by 5 % from minute to minute
where the median does by 15 %. So it is a witness of its own beside p50 and p99, and a veto:

    at once     z > `sigmas` and the token takes `effect` longer
    steadily    the same of the last windows' mean (exponential, weight w = `recent_weight`, σ · √(w / (2 - w))), by
                `recent_effect`
    no slower   neither this window nor the last ones take `veto` longer: then whatever makes the latencies high, it is
                not the service, and a high p50 or p99 is no finding (hard limits hold all the same)

Trade-off: one answer in a hundred that takes four times as long adds 3 %, and is let pass.

What is anomalous is learnt only up to the threshold, so a new pace is accepted within a few half-lives. Nothing is
learnt in a maintenance. Serving systems publish the same as time per output token (without the first, of which we
have no sum).

Exponential means: Roberts, *Control chart tests based on geometric moving averages*, Technometrics 1, 1959.

>>> state, params = Pace(), PaceParams()
>>> for i in range(60): learn(state, Sample(25_000.0 + 100 * (i % 7), 200), params)
>>> judge(state, Sample(26_000.0, 200), params)
Judgement(slow=None, usual=True)
>>> round(judge(state, Sample(35_000.0, 200), params).slow.score, 2)
0.78
"""

import math
from typing import NamedTuple

from msgspec import Struct

from detectors.base import squash
from pipeline.judging.fading import MEAN_DEVIATION_TO_SIGMA, Usual, take_in


class PaceParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`half_life` and `ready_after` in windows; `sigma_min` of ln(pace); `effect`, `recent_effect` and `veto` relative:
    0.15 is 15 % longer for a token; `answers_min`: fewer say nothing."""

    half_life: float = 30.0
    ready_after: int = 30
    sigmas: float = 3.0
    sigma_min: float = 0.03
    recent_weight: float = 0.4
    effect: float = 0.15
    recent_effect: float = 0.12
    veto: float = 0.05
    answers_min: int = 10


class Pace(Usual, tag="pace"):
    """Of one model: fading means of ln(µs a token), of one answer's deviation from it, and that of the last windows."""

    recent: float = 0.0


class Sample(NamedTuple):
    """What a window says: µs that an output token took (None: it does not say), and of how many answers."""

    us_per_token: float | None
    answers: int


class Slow(NamedTuple):
    """`expected` and `high` in µs a token."""

    score: float
    expected: float
    high: float


class Judgement(NamedTuple):
    """`usual`: tokens take no longer than they do; False where that is not known."""

    slow: Slow | None = None
    usual: bool = False


def judge(state: Pace, sample: Sample, params: PaceParams) -> Judgement:
    """Nothing where the window does not say, or what is usual is not known yet."""
    r = _log(sample, params)
    if r is None or state.learned < params.ready_after:
        return Judgement()
    w, sigma = params.recent_weight, _sigma(state, sample.answers, params)
    off, lasting = r - state.mean, _recent(state, r, params) - state.mean
    sigmas = 0.0
    if off >= math.log1p(params.effect):
        sigmas = off / sigma
    if lasting >= math.log1p(params.recent_effect):
        sigmas = max(sigmas, lasting / (sigma * math.sqrt(w / (2.0 - w))))
    if sigmas > params.sigmas:
        expected = math.exp(state.mean)
        return Judgement(Slow(squash(sigmas, params.sigmas), expected, expected * math.exp(params.sigmas * sigma)))
    return Judgement(usual=max(off, lasting) < math.log1p(params.veto))


def learn(state: Pace, sample: Sample, params: PaceParams) -> None:
    """Take a window in."""
    r = _log(sample, params)
    if r is None:
        return
    state.recent = _recent(state, r, params)
    reach = params.sigmas * _sigma(state, sample.answers, params) if state.learned >= params.ready_after else math.inf
    take_in(state, r, params.half_life, reach, math.sqrt(sample.answers))


def _log(sample: Sample, params: PaceParams) -> float | None:
    if not sample.us_per_token or sample.answers < params.answers_min:
        return None
    return math.log(sample.us_per_token)


def _recent(state: Pace, r: float, params: PaceParams) -> float:
    return state.recent + params.recent_weight * (r - state.recent) if state.learned else r


def _sigma(state: Pace, answers: int, params: PaceParams) -> float:
    return math.hypot(params.sigma_min, MEAN_DEVIATION_TO_SIGMA * state.deviation / math.sqrt(answers))
