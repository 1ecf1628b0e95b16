"""What every detector is: frozen parameters, a small serialisable state, `score` and `learn`.

    verdict = detector.score(x)     judges x with what was learnt from earlier windows only (no look-ahead)
    detector.learn(x)               then takes x in

`score` leaves the state as it was and `learn` draws nothing at random, so the same observations give the same
verdicts on every machine and after every restart. State is a `msgspec.Struct` of plain numbers and lists: a checkpoint
is `msgspec.json.encode(detector.state)`, and `Detector(params, state)` goes on where it stood.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Generic, Literal, TypeVar

import msgspec

X = TypeVar("X")
S = TypeVar("S", bound=msgspec.Struct)

Kind = Literal["value", "vector", "counts", "point"]

VALUE_MAX = 1e100  # squares and sums of squares of such numbers are still finite
SIGMAS_MAX = 1e6  # a verdict's distance is cut here, so that it is finite on a series without any spread


class Verdict(msgspec.Struct, frozen=True):
    """What a detector says of one observation. Every number is finite.

    score      in [0, 1]; 0.0 while the detector warms up or when there was nothing to judge
    anomalous  the detector's own opinion at its own threshold
    ready      False during warm-up and for a missing observation: an abstention, not a "normal"
    expected, low, high   forecast and band in the metric's own unit, None where the method has none
    sigmas     signed distance from `expected` in robust standard deviations, 0.0 where the method has none
    """

    score: float
    anomalous: bool
    ready: bool = True
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    sigmas: float = 0.0


ABSTAIN = Verdict(score=0.0, anomalous=False, ready=False)


class Detector(ABC, Generic[X, S]):
    """Base of all detectors; `X` is what it observes and `S` its state.

    `kind` says what `X` is, so that one contract suite can feed every detector:
    value   `float | None` (None: the window is missing)
    vector  `Sequence[float | None]`
    counts  `tuple[int, int] | None`, events among trials
    point   `tuple[int, float | None]`, time in µs and value
    """

    kind: ClassVar[Kind]
    state: S

    @abstractmethod
    def score(self, x: X) -> Verdict:
        """Judge `x` against what was learnt before it; changes nothing."""

    @abstractmethod
    def learn(self, x: X) -> None:
        """Take `x` in; call once per window, after `score`."""

    def step(self, x: X) -> Verdict:
        """`score`, then `learn`."""
        verdict = self.score(x)
        self.learn(x)
        return verdict

    def to_state(self) -> S:
        """The state to checkpoint; it is the live object, so encode it before the next `learn`."""
        return self.state


def finite(x: float | None) -> float | None:
    """`x` within ±`VALUE_MAX`, or None where it is missing, NaN or infinite: detectors meet nothing else further in."""
    return min(max(x, -VALUE_MAX), VALUE_MAX) if x is not None and math.isfinite(x) else None


def sigmas_between(x: float, expected: float, sigma: float) -> float:
    """Signed distance in units of `sigma`, cut at ±`SIGMAS_MAX`; zero spread makes any difference that large."""
    difference = x - expected
    if difference == 0.0:
        return 0.0
    if sigma <= abs(difference) / SIGMAS_MAX:
        return math.copysign(SIGMAS_MAX, difference)
    return difference / sigma


def squash(sigmas: float, k: float) -> float:
    """Map a distance to [0, 1) so that 0.5 is exactly the threshold `k`: |z| / (|z| + k).

    >>> squash(-3.0, 3.0), squash(0.0, 3.0), round(squash(27.0, 3.0), 2)
    (0.5, 0.0, 0.9)
    """
    return abs(sigmas) / (abs(sigmas) + k)


def banded(x: float, expected: float, sigma: float, k: float) -> Verdict:
    """The verdict of a forecast: anomalous when |x - expected| > k · sigma."""
    sigmas = sigmas_between(x, expected, sigma)
    return Verdict(
        score=squash(sigmas, k),
        anomalous=abs(sigmas) > k,
        expected=expected,
        low=expected - k * sigma,
        high=expected + k * sigma,
        sigmas=sigmas,
    )
