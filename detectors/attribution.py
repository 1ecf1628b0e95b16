"""Which part of the traffic explains a change? Adtributor, over one dimension after the other.

Of every value j of a dimension (the regions, say) an expected amount E_j and an actual one A_j are known, of errors,
requests, tokens or seconds; Δ is the change of the whole. Two numbers decide:

    explanatory power   e_j = (A_j - E_j) / Δ                         how much of the change lies in this value
    surprise            JS(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m), m = ½ (p + q), in nats, between 0 and ln 2 = 0.69
                        p = E_S / E, q = A_S / A: how differently the amount lies now, in this set S and elsewhere

In each dimension the values that lead the change and are `value_min` of it or more are taken, the most surprising
first, until they explain `set_min` of it; at most `set_max`, since a cause that needs more is none (succinctness). A
set is named if

    not by chance       n · KL(q ‖ p) ≥ |S| ln k + ln(1 / α), for n events that A counts and k values in the dimension:
                        Chernoff's bound on so lopsided a draw, for all sets of that size. n is divided by `dispersion`,
                        since failures and requests come in bursts
    not a trifle        JS(p, q) ≥ `surprise_min`: who answers at greater length than others is slower in every incident
    and not alike       per unit of exposure (completions, usual requests) it changed `lift_min` times as much as the
                        rest did. When everything fails alike, a large region explains most of it and is not its cause

A whole that changed by less than `change_min` of what was expected is not looked at: that is noise with some place to
be. The most surprising set is the first cause. The paper sums surprise over values, which favours dimensions with many;
of a set against its rest it is the same scale for two tiers and for hundreds of organisations.

Trade-off: a dimension is looked at by itself, so a fault in the cross of two (one client version in one region) is
named as two causes, each with its share. Cost: a sort per dimension.

Bhagwan et al., *Adtributor: Revenue Debugging in Advertising Systems*, NSDI 2014. Lin, *Divergence measures based on
the Shannon entropy*, IEEE Transactions on Information Theory 37, 1991. Chernoff, *A measure of asymptotic efficiency*,
Annals of Mathematical Statistics 23, 1952.

>>> eu, us, ap = Value("eu", 4.0, 94.0, 900.0), Value("us", 4.0, 5.0, 1000.0), Value("ap", 2.0, 2.0, 500.0)
>>> found = attribute({"region": Dimension([eu, us, ap], events=101)}, AttributionParams())
>>> [(one.dimension, one.values, round(one.share, 2), round(one.surprise, 2)) for one in found]
[('region', ('eu',), 0.99, 0.18)]
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

LEAN = 0.02  # of the actual amount


class AttributionParams(Struct, frozen=True, forbid_unknown_fields=True):
    """See the top of this file. `value_min`, `set_min`: shares of the change; the paper's 0.1 and 0.67."""

    value_min: float = 0.1
    set_min: float = 0.67
    set_max: int = 3
    lift_min: float = 3.0
    alpha: float = 0.01
    dispersion: float = 2.0
    change_min: float = 0.2
    surprise_min: float = 0.03

    def __post_init__(self) -> None:
        if not 0 < self.value_min <= self.set_min <= 1 or self.set_max < 1:
            raise ValueError("attribution: 0 < value_min <= set_min <= 1 and set_max at least 1")
        if not 0 < self.alpha < 1 or self.dispersion < 1 or self.lift_min < 1:
            raise ValueError("attribution: alpha between 0 and 1, dispersion and lift_min at least 1")


class Value(NamedTuple):
    """`exposure`: what the amount is a part or multiple of; any unit, the same in all of a dimension."""

    value: str
    expected: float
    actual: float
    exposure: float


class Dimension(NamedTuple):
    """Its values, and what the whole is where they do not add up to it. `events`: how many the actual whole counts."""

    values: Sequence[Value]
    events: float
    whole: Value | None = None


class Attribution(NamedTuple):
    """A set of values of one dimension that explains `share` of the change; `shares` one by one."""

    dimension: str
    values: tuple[str, ...]
    shares: tuple[float, ...]
    share: float
    surprise: float


def attribute(dimensions: Mapping[str, Dimension], params: AttributionParams) -> list[Attribution]:
    """What explains the change, the most surprising first; empty where nothing stands out."""
    found = [one for name, dimension in dimensions.items() if (one := _explained(name, dimension, params))]
    return sorted(found, key=lambda one: (-one.surprise, one.dimension))


def _explained(name: str, dimension: Dimension, params: AttributionParams) -> Attribution | None:
    whole = _whole(dimension)
    change = whole.actual - whole.expected
    if not dimension.values or abs(change) <= params.change_min * whole.expected:
        return None
    shares = {one.value: (one.actual - one.expected) / change for one in dimension.values}
    candidates = [one for one in dimension.values if shares[one.value] >= params.value_min and _leads([one], whole)]
    candidates.sort(key=lambda one: (-_surprise([one], whole), one.value))
    chosen: list[Value] = []
    for one in candidates[: params.set_max]:
        chosen.append(one)
        share = sum(shares[each.value] for each in chosen)
        if share >= params.set_min:
            break
    else:
        return None
    if not _stands_out(chosen, whole, len(dimension.values), dimension.events, params):
        return None
    values = tuple(each.value for each in chosen)
    each_share = tuple(min(shares[value], 1.0) for value in values)
    return Attribution(name, values, each_share, min(share, 1.0), _surprise(chosen, whole))


def _whole(dimension: Dimension) -> Value:
    """At least what the values add up to."""
    expected = sum(one.expected for one in dimension.values)
    actual = sum(one.actual for one in dimension.values)
    exposure = sum(one.exposure for one in dimension.values)
    known = dimension.whole
    if known is None:
        return Value("", expected, actual, exposure)
    return Value("", max(known.expected, expected), max(known.actual, actual), max(known.exposure, exposure))


def _stands_out(chosen: list[Value], whole: Value, values: int, events: float, params: AttributionParams) -> bool:
    p, q = _proportions(chosen, whole)
    if _surprise(chosen, whole) < params.surprise_min:
        return False
    far = events / params.dispersion * _divergence(q, p)
    if not _leads(chosen, whole) or far < len(chosen) * math.log(max(values, 2)) - math.log(params.alpha):
        return False
    changed, exposed = sum(one.actual - one.expected for one in chosen), sum(one.exposure for one in chosen)
    left, rest = whole.actual - whole.expected - changed, whole.exposure - exposed
    sign = 1.0 if whole.actual > whole.expected else -1.0
    return rest <= 0 or sign * changed * rest >= params.lift_min * max(sign * left, 0.0) * exposed


def _leads(chosen: list[Value], whole: Value) -> bool:
    """Whether these values changed more than their share the way the whole did: of two regions, only one does."""
    p, q = _proportions(chosen, whole)
    return q > p if whole.actual > whole.expected else q < p


def _proportions(chosen: list[Value], whole: Value) -> tuple[float, float]:
    """Which part of the expected, and of the actual, whole lies in the chosen values; within [0, 1].

    What is expected leans to the exposure a little, for where next to nothing was expected anywhere.
    """
    expected, actual = sum(one.expected for one in chosen), sum(one.actual for one in chosen)
    lean = LEAN * whole.actual
    exposed = sum(one.exposure for one in chosen) / whole.exposure if whole.exposure > 0 else 0.0
    p = (expected + lean * exposed) / (whole.expected + lean) if whole.expected + lean > 0 else 0.0
    q = actual / whole.actual if whole.actual > 0 else 0.0
    return min(max(p, 0.0), 1.0), min(max(q, 0.0), 1.0)


def _surprise(chosen: list[Value], whole: Value) -> float:
    """Jensen–Shannon divergence of the two-way split."""
    p, q = _proportions(chosen, whole)
    m = (p + q) / 2
    return (_divergence(p, m) + _divergence(q, m)) / 2


def _divergence(p: float, q: float) -> float:
    """Kullback–Leibler divergence KL(p ‖ q) of two coins, in nats; a floor keeps the impossible finite."""
    return sum(a * math.log(a / max(b, 1e-9)) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0)
