"""The plain robust z-score: distance from the median of the last 360 rows, and nothing learnt beyond them.

    z_t = |x_t - median| / σ            σ = the larger of 1.4826 · MAD and half a standard deviation
    score_t = 1 - (1 + z_t)^-1.5

The calibrated detectors of `detectors/series.py` ask how rare a reading is in 12,000 rows, so an incident that comes
for the tenth time hardly counts. To whoever is on call it counts as much as the first; this detector forgets in 360
rows and has no tail, and so keeps such incidents in sight.

Trade-off: it knows nothing of seasons, states or heavy tails: alone it is the noisiest. Its score is of the order
of a bound, not of a probability (Chebyshev: P(|z| >= k) <= 1 / k² for any distribution), and deliberately weak: a
hundred σ are three decades of evidence.

Huber, *Robust Statistics*, Wiley 1981; Chebyshev's inequality: Feller, *An Introduction to Probability Theory and Its
Applications*, vol. 1, 3rd ed. 1968, section IX.6.

>>> deviation = Deviation(DeviationParams())
>>> for i in range(100): deviation.learn((i, 10.0 + i % 5))
>>> round(deviation.score((100, 12.0)).score, 3), round(deviation.score((100, 60.0)).sigmas, 1)
(0.0, 32.4)
"""

import math

import msgspec
import numpy as np

from detectors.base import ABSTAIN, Detector, Verdict, finite, sigmas_between
from detectors.robust import MAD_TO_SIGMA, SortedWindow


class DeviationParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rows_max` remembered, judged from `ready_after` on; anomalous beyond `k` σ."""

    rows_max: int = 360
    ready_after: int = 30
    k: float = 6.0
    tail_index: float = 1.5


class DeviationState(msgspec.Struct):
    """The last values, oldest first, and how many there ever were."""

    learned: int = 0
    recent: list[float] = []


class Deviation(Detector[tuple[int, float | None], DeviationState]):
    """Distance of a value from the recent median. Scale and shift invariant up to rounding."""

    kind = "point"

    def __init__(self, params: DeviationParams, state: DeviationState | None = None) -> None:
        self.params = params
        self.state = state or DeviationState()
        self._window = SortedWindow(params.rows_max, self.state.recent)
        self._ring = np.zeros(params.rows_max)  # the same values where np.std finds them; row n lies at n mod rows_max
        for back, value in enumerate(reversed(self.state.recent), start=1):
            self._ring[(self.state.learned - back) % params.rows_max] = value

    def score(self, x: tuple[int, float | None]) -> Verdict:
        value = finite(x[1])
        if value is None or len(self._window) < self.params.ready_after:
            return ABSTAIN
        middle, sigma = self._window.median(), self._sigma()
        z = sigmas_between(value, middle, sigma)
        return Verdict(
            score=1.0 - (1.0 + abs(z)) ** -self.params.tail_index,
            anomalous=abs(z) > self.params.k,
            expected=middle,
            low=middle - self.params.k * sigma,
            high=middle + self.params.k * sigma,
            sigmas=z,
        )

    def learn(self, x: tuple[int, float | None]) -> None:
        value = finite(x[1])
        if value is None:
            return
        self._ring[self.state.learned % self.params.rows_max] = value
        self._window.push(value)
        self.state.learned += 1

    def _sigma(self) -> float:
        known = self._ring[: len(self._window)]
        distances = known - self._window.median()
        mean = float(distances.mean())
        deviation = math.sqrt(max(float(distances.dot(distances)) / len(known) - mean * mean, 0.0))
        return max(MAD_TO_SIGMA * self._window.mad(), 0.5 * deviation)
