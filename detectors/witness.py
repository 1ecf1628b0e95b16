"""One series of a watched system as a witness: how strongly does it say "something is wrong", and which way?

    u_t = (x_t - m_t) / σ_t             m_t median of the last 60 rows; σ_t robust spread, not below what never matters
    v_t = the second greatest of the last three u on one side: two of three rows went at least this far
    evidence_t = ± -log10 P(v_t)        by this very series' history of v (`detectors/tails.py`)

Two of three rather than one, because single rows are wild wherever a minute holds few requests (the p99 of 16
requests is one of them). It costs a row of delay and no recall for whatever lasts three rows.

σ comes from the last 360 distances |x - m|, divided by the level where spread grows with it (`relative`): the larger of
1.4826 · their median and their 85 % quantile / 1.44 (both are σ for normal noise; the second speaks for series that
are constant half of the time), of `floor_relative` · |m| and of `floor`. A distance is learnt as 8 σ at most, so that
an incident widens nothing. Level and spread are apart: after a long gap `forget_level` lets the level go, and spread
and tail, the *shape* of the series, stay.

`CountWitness` says the same of (events, trials), where chance is known:

    u = -log10 of the binomial tail beyond the rate that `detectors/counts.py` tolerates; 0 for rates up to `rate_min`
    evidence = 2 v / φ - log10 3        two of three rows, each as rare as 10^(-v / φ)

Minutes of real services differ by more than chance; φ >= 1 is by how much (quasi-likelihood): the v that a fifth of the
blocks reach, over what it were by chance. A scale, unlike a far tail, shows there already, and only incidents in a
fifth of all blocks would pass for dispersion.

Trade-off: an incident that lasts 30 rows becomes the level. This finds incidents as they begin; a creeping change is
for `detectors/level.py`.

Median and MAD: Huber, *Robust Statistics*, Wiley 1981; m-of-n: Skolnik, *Introduction to Radar Systems*, 2001, 5.4;
dispersion: McCullagh and Nelder, *Generalized Linear Models*, 1989, 4.5.

>>> witness = Witness(WitnessParams())
>>> quiet = [witness.step(100.0 + i % 7).sigmas for i in range(300)]
>>> rows = [witness.step(x).sigmas for x in (103.0, 160.0, 160.0)]
>>> max(map(abs, quiet)) < 3.0, [round(evidence, 1) for evidence in rows]
(True, [1.0, 1.0, 3.7])
"""

import math

import msgspec

from detectors.base import ABSTAIN, Detector, Verdict, finite, sigmas_between, squash
from detectors.counts import SURPRISE_MAX, Rate, RateParams, RateState, binomial_tail
from detectors.robust import MAD_TO_SIGMA, SortedWindow
from detectors.tails import EVIDENCE_MAX, PRIOR, Tail, TailParams, TailState, persistent

QUANTILE_TO_SIGMA = 1.0 / 1.44  # 85 % of |x| lie within 1.44 σ of a normal distribution
MEDIAN_VARIANCE = 1.57  # of a median, in variances of the mean of as many values


class WitnessParams(msgspec.Struct, frozen=True):
    """Counts are rows. `side` 1: only increases are evidence, -1: only decreases, 0: both.

    `floor` is in the metric's own unit, `floor_relative` a fraction of its level: a σ that small does not matter.
    `ready_after` rows are needed at first, `ready_again_after` for a new level once the spread is known.
    """

    level_rows: int = 60
    spread_rows: int = 360
    ready_after: int = 10
    ready_again_after: int = 1
    winsor: float = 8.0
    few_winsor: float = 3.0
    relative: bool = True
    floor: float = 0.0
    floor_relative: float = 0.01
    side: int = 0
    threshold: float = 4.0
    tail: TailParams = TailParams()


class RarityState(msgspec.Struct):
    """The last two u, and the tail of v."""

    last: list[float] = []
    tail: TailState = msgspec.field(default_factory=TailState)


class _Rarity:
    """Evidence of a signed distance, given those before it."""

    def __init__(self, params: TailParams, state: RarityState) -> None:
        self.state = state
        self.tail = Tail(params, state.tail)

    def persistent(self, u: float) -> float:
        return persistent(self.state.last, u)

    def learn(self, u: float) -> None:
        self.tail.learn(abs(self.persistent(u)))
        self.state.last = [*self.state.last[-1:], u]


class WitnessState(msgspec.Struct):
    """Bounded: 60 + 360 + 300 numbers."""

    level: list[float] = []
    spread: list[float] = []
    rarity: RarityState = msgspec.field(default_factory=RarityState)


class Witness(Detector[float | None, WitnessState]):
    """Evidence of one series of values: `Verdict.sigmas` is the signed evidence, in decimal orders of rarity."""

    kind = "value"

    def __init__(self, params: WitnessParams, state: WitnessState | None = None) -> None:
        self.params = params
        self.state = state or WitnessState()
        self._level = SortedWindow(params.level_rows, self.state.level)
        self._spread = SortedWindow(params.spread_rows, self.state.spread)
        self._rarity = _Rarity(params.tail, self.state.rarity)

    def score(self, x: float | None) -> Verdict:
        value = finite(x)
        if value is None or not self._ready():
            return ABSTAIN
        middle, unit = self._level.median(), self._unit()
        v = self._rarity.persistent(sigmas_between(value, middle, unit))
        evidence = math.copysign(self._rarity.tail.evidence(abs(v)), v) if v * self.params.side >= 0.0 else 0.0
        return Verdict(
            score=squash(evidence, self.params.threshold),
            anomalous=abs(evidence) > self.params.threshold,
            expected=middle,
            low=middle - 3.0 * unit,
            high=middle + 3.0 * unit,
            sigmas=evidence,
        )

    def learn(self, x: float | None) -> None:
        value = finite(x)
        if value is None:
            return
        if self._ready():
            self._rarity.learn(sigmas_between(value, self._level.median(), self._unit()))
        if len(self._level) >= 2:
            self._learn_spread(value)
        self._level.push(self._cautious(value) if self._ready() else value)

    def _cautious(self, value: float) -> float:
        few = len(self._level) < self.params.ready_after
        reach = self.params.few_winsor * self._unit() if few else math.inf
        middle = self._level.median()
        return middle + min(max(value - middle, -reach), reach)

    def forget_level(self) -> None:
        """Begin anew where the series is now; its spread and tail are kept."""
        self.state.level, self.state.rarity.last = [], []
        self._level = SortedWindow(self.params.level_rows, self.state.level)

    def _ready(self) -> bool:
        known = len(self._spread) >= self.params.level_rows
        return len(self._level) >= (self.params.ready_again_after if known else self.params.ready_after)

    def _learn_spread(self, value: float) -> None:
        distance = abs(value - self._level.median())
        if self._ready():
            distance = min(distance, self.params.winsor * self._unit())
        self._spread.push(distance / self._scale())

    def _scale(self) -> float:
        """What distances are divided by before they are learnt."""
        return (abs(self._level.median()) or 1.0) if self.params.relative else 1.0

    def _unit(self) -> float:
        """One σ in the metric's own unit, wider while the level stands on few rows; 0.0 if it never moved."""
        p, n, sigma = self.params, len(self._spread), 0.0
        if n:
            high = self._spread.kth_largest(1 + 3 * n // 20)
            sigma = max(MAD_TO_SIGMA * self._spread.median(), QUANTILE_TO_SIGMA * high)
        few = math.sqrt(1.0 + MEDIAN_VARIANCE / len(self._level))
        return few * max(sigma * self._scale(), p.floor, p.floor_relative * abs(self._level.median()))


class CountWitnessParams(msgspec.Struct, frozen=True):
    """`rate` says what is tolerated, `rate_min` which rates never matter; evidence beyond `threshold` is anomalous."""

    rate: RateParams = RateParams(p_min=0.001)
    rate_min: float = 0.005
    threshold: float = 4.0
    tail: TailParams = TailParams(spared=0, spared_fraction=0.2)


def _count_rarity() -> RarityState:
    """Before there is history counts are taken to be hardly dispersed: φ is 1.2."""
    return RarityState(tail=TailState([v / 4.0 for v in PRIOR]))


class CountWitnessState(msgspec.Struct):
    """Bounded: a few sums and 300 numbers. `renew`: the level is forgotten and not yet known anew."""

    renew: bool = False
    rate: RateState = msgspec.field(default_factory=RateState)
    rarity: RarityState = msgspec.field(default_factory=_count_rarity)


class CountWitness(Detector[tuple[int, int] | None, CountWitnessState]):
    """Evidence of (events, trials), e.g. (errors, requests): too many. `Verdict.sigmas` is the evidence."""

    kind = "counts"

    def __init__(self, params: CountWitnessParams, state: CountWitnessState | None = None) -> None:
        self.params = params
        self.state = state or CountWitnessState()
        self._rate = Rate(params.rate, self.state.rate)
        self._rarity = _Rarity(params.tail, self.state.rarity)

    def score(self, x: tuple[int, int] | None) -> Verdict:
        verdict = self._rate.score(x)
        if x is None or not verdict.ready or self.state.renew:
            return ABSTAIN
        usual, at_usual = self._rarity.tail.usual()
        dispersion = max(usual / _by_chance(at_usual), 1.0)
        evidence = _twice(self._rarity.persistent(self._surprise(x)) / dispersion)
        k = self.params.threshold
        return msgspec.structs.replace(verdict, score=squash(evidence, k), anomalous=evidence > k, sigmas=evidence)

    def learn(self, x: tuple[int, int] | None) -> None:
        if x is None or x[1] < 1:
            return
        if self.state.renew:
            self._renew(x)
        elif self._rate.score(x).ready:
            self._rarity.learn(self._surprise(x))
        self._rate.learn(x)

    def _surprise(self, x: tuple[int, int]) -> float:
        if x[0] <= self.params.rate_min * x[1]:
            return 0.0
        tail = binomial_tail(x[0], x[1], self._rate.tolerated)
        return -math.log10(tail) if tail > 0.0 else SURPRISE_MAX

    def forget_level(self) -> None:
        """Begin anew where the series is now, if that is worse than before: its first rate is then the usual one."""
        self.state.renew = True
        self.state.rarity.last = []

    def _renew(self, x: tuple[int, int]) -> None:
        p, rate = self.params.rate, self.state.rate
        level = max(x[0] / x[1], self._rate.baseline)
        rate.events = level * (rate.trials + p.prior_trials) - p.prior_rate * p.prior_trials
        self.state.renew = False


def _twice(v: float) -> float:
    """-log10 of the probability that two of three rows reach `v`, each with 10^-v: 3 p²."""
    return min(max(2.0 * v - math.log10(3.0), 0.0), EVIDENCE_MAX)


def _by_chance(evidence: float) -> float:
    """The v of which `_twice(v)` is `evidence`."""
    return 0.5 * (evidence + math.log10(3.0))
