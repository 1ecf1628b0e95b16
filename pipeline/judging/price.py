"""What a token costs: a price that changes, a cache that no longer saves, a mix that has turned to the dear tokens.

    r = ln(cost / tokens),    z = (r - m) / σ,    σ = max(√(π/2) · a, `sigma_min`)

with m and a the fading mean and mean absolute deviation of r (half-life `half_life` windows). The number of requests
and their lengths, which make a minute's cost vary by a third on a thin model, cancel out; what is left is the share of
output tokens. So this is evidence of its own beside the cost: volume and price are different things. Anomalous when
z > `sigmas` and the price is up by `effect`; one-sided, since nobody minds a cheap minute.

What is anomalous is learnt only up to the threshold, so a new price is accepted within a few half-lives.

>>> state, params = Price(), PriceParams()
>>> for i in range(60): learn(state, 40_000 + i % 7, 10_000, params)
>>> score(state, 41_000, 10_000, params), round(score(state, 64_000, 10_000, params).score, 2)
(None, 0.7)
"""

import math

from msgspec import Struct

from detectors.base import squash
from pipeline.judging.fading import MEAN_DEVIATION_TO_SIGMA, Usual, take_in


class PriceParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`half_life` and `ready_after` in windows; `sigma_min` of ln(price); `tokens_min`: fewer say nothing."""

    half_life: float = 60.0
    ready_after: int = 30
    sigmas: float = 4.0
    sigma_min: float = 0.05
    effect: float = 0.25
    tokens_min: int = 5_000


class Price(Usual, tag="price"):
    """Of one model: mean and mean absolute deviation of ln(cost / tokens)."""


class Dear(Struct, frozen=True):
    """A window whose tokens cost too much. `expected` and `high` are costs of as many tokens."""

    score: float
    expected: float
    high: float


def score(state: Price, cost: int, tokens: int, params: PriceParams) -> Dear | None:
    """None where the price is usual, or not known yet."""
    if state.learned < params.ready_after or tokens < params.tokens_min or cost < 1:
        return None
    sigma = _sigma(state, params)
    z = (math.log(cost / tokens) - state.mean) / sigma
    expected = tokens * math.exp(state.mean)
    if z <= params.sigmas or cost < (1.0 + params.effect) * expected:
        return None
    return Dear(squash(z, params.sigmas), expected, expected * math.exp(params.sigmas * sigma))


def learn(state: Price, cost: int, tokens: int, params: PriceParams) -> None:
    """Take a window in."""
    if tokens < params.tokens_min or cost < 1:
        return
    reach = params.sigmas * _sigma(state, params) if state.learned >= params.ready_after else math.inf
    take_in(state, math.log(cost / tokens), params.half_life, reach)


def _sigma(state: Price, params: PriceParams) -> float:
    return max(MEAN_DEVIATION_TO_SIGMA * state.deviation, params.sigma_min)
