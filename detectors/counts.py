"""Rates of few events: are k errors in n requests more than the baseline rate explains?

    tail = P(X >= k) ,  X ~ Binomial(n, p)        p = max(p_min, excess · baseline)
    score = s / (s + s_alpha) ,  s = -log10 tail         anomalous when tail < alpha, which is score > 0.5

A quotient such as 1/4 = 25 % is no evidence by itself, and 30/1000 is plenty; σ of a window's error rate says neither,
because it changes with n. The baseline is a quotient of two exponentially fading sums (half-life `half_life` windows)
under a weak prior, so it exists from the first window on:

    baseline = (Σ w k + prior_rate · prior_trials) / (Σ w n + prior_trials)

Error rates of real services are over-dispersed: minutes differ by more than chance. `excess` (a rate must exceed 1.5
times the baseline) and `p_min` (rates below 0.5 % never matter) absorb that, and say which effect is worth an alarm.
A window that alarms is learnt only up to the rate it was tested against, so that an incident does not become its own
baseline within minutes; one that lasts raises it by the factor `excess` in every half-life or so.

Trade-off: doubling `excess` halves what is found in busy windows and silences the noise of dispersed ones.

Clopper and Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial*, Biometrika
26, 1934 (the tail as an incomplete beta function).

>>> r = Rate(RateParams())
>>> for _ in range(30): r.learn((2, 1000))
>>> r.score((1, 4)).anomalous, r.score((30, 1000)).anomalous, round(r.baseline, 4)
(False, True, 0.002)
"""

import math

import msgspec
from scipy.special import betainc

from detectors.base import ABSTAIN, Detector, Verdict

SURPRISE_MAX = 300.0  # -log10 of the smallest normal double


class RateParams(msgspec.Struct, frozen=True):
    """Rates are fractions, `half_life` and `ready_after` count windows, `alpha` is a probability per window."""

    alpha: float = 1e-5
    excess: float = 1.5
    p_min: float = 0.005
    half_life: float = 60.0
    prior_rate: float = 0.002
    prior_trials: float = 200.0
    ready_after: int = 3
    trials_min: int = 1

    def __post_init__(self) -> None:
        if not (0.0 < self.alpha < 1.0 and 0.0 < self.p_min < 1.0 and 0.0 <= self.prior_rate < 1.0):
            raise ValueError("alpha, p_min and prior_rate must be fractions between 0 and 1")
        if self.excess < 1.0 or self.half_life <= 0.0 or self.prior_trials <= 0.0:
            raise ValueError("excess must be >= 1.0, half_life and prior_trials > 0.0")


class RateState(msgspec.Struct):
    """Fading sums of events and trials."""

    learned: int = 0
    events: float = 0.0
    trials: float = 0.0


class Rate(Detector[tuple[int, int] | None, RateState]):
    """Judges (events, trials) of a window, e.g. (errors, requests); one-sided: too many."""

    kind = "counts"

    def __init__(self, params: RateParams, state: RateState | None = None) -> None:
        self.params = params
        self.state = state or RateState()
        self._keep = 0.5 ** (1.0 / params.half_life)

    @property
    def baseline(self) -> float:
        """The learnt rate, as a fraction."""
        p, s = self.params, self.state
        return (s.events + p.prior_rate * p.prior_trials) / (s.trials + p.prior_trials)

    @property
    def tolerated(self) -> float:
        """The rate that is still no anomaly: a fraction below 1."""
        return min(max(self.params.p_min, self.params.excess * self.baseline), 1.0 - 1e-9)

    def score(self, x: tuple[int, int] | None) -> Verdict:
        if x is None or x[1] < self.params.trials_min or self.state.learned < self.params.ready_after:
            return ABSTAIN
        events, trials = _checked(x)
        p = self.tolerated
        surprise = min(-math.log10(max(binomial_tail(events, trials, p), 10.0**-SURPRISE_MAX)), SURPRISE_MAX)
        needed = -math.log10(self.params.alpha)
        sigma = math.sqrt(p * (1.0 - p) / trials)
        return Verdict(
            score=surprise / (surprise + needed),
            anomalous=surprise > needed,
            expected=self.baseline,
            low=0.0,
            high=critical_rate(trials, p, self.params.alpha),
            sigmas=(events / trials - self.baseline) / sigma,
        )

    def learn(self, x: tuple[int, int] | None) -> None:
        if x is None or x[1] < 1:
            return
        events, trials = _checked(x)
        usual = self.tolerated * trials  # no more than this is never anomalous, and most windows need no tail
        learnt = usual if events > usual and self.score(x).anomalous else float(events)
        self.state.events = self.state.events * self._keep + learnt
        self.state.trials = self.state.trials * self._keep + trials
        self.state.learned += 1


def binomial_tail(k: int, n: int, p: float) -> float:
    """P(X >= k) for X ~ Binomial(n, p).

    >>> binomial_tail(0, 10, 0.1), round(binomial_tail(1, 10, 0.1), 4), round(binomial_tail(10, 10, 0.1), 12)
    (1.0, 0.6513, 1e-10)
    """
    return 1.0 if k <= 0 else float(betainc(k, n - k + 1, p))


def critical_rate(n: int, p: float, alpha: float) -> float:
    """Largest rate k / n that is not anomalous: by bisection, as the tail falls with k."""
    low, high = 0, n + 1  # tail(low) >= alpha > tail(high), where tail(n + 1) is 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_tail(middle, n, p) >= alpha else (low, middle)
    return low / n


def _checked(x: tuple[int, int]) -> tuple[int, int]:
    events, trials = x
    if not 0 <= events <= trials:
        raise ValueError(f"events must be in 0..trials: {events} of {trials}")
    return events, trials
