"""Isolation Forest on the vector of a window's metrics: what is rare in combination is cut off by few random splits.

    s(x) = 2^(-E[h(x)] / c(n))       c(n) = 2 H(n-1) - 2 (n-1)/n        anomalous when s > 0.6

h(x) is the number of splits until x stands alone, averaged over trees that each saw `sample_max` windows; c(n) is what
an average search would need. s near 1: isolated at once; below 0.5: nothing special. Splits are drawn between the
smallest and the largest value of a feature, so the score is the same after any change of units (scale and shift).

scikit-learn takes 80 ms to grow such a forest and 8 ms to score one vector; `detectors/isolation_trees.py` takes 5 ms
and 50 µs (a test compares the scores). The forest itself is never stored: history, seed and the number of refits say
exactly which one it is, and a restored detector grows the same one again.

Trade-off: 0.6, the mission's number, flags 3 to 5 % of *normal* windows by itself: a forest calls its own rim rare.
So an anomaly must also exceed what its own training windows score, by `rim_sigmas` robust standard deviations over
their median, which leaves about 1 %. One wild metric of three reaches about 0.62, two reach 0.73: this method
is for what is odd in combination. A long incident enters the history and becomes normal; that is wanted after a
change for good, and alerting has long acted by then.

Liu, Ting, Zhou, *Isolation Forest*, ICDM 2008; *Isolation-Based Anomaly Detection*, ACM TKDD 6(1), 2012.

>>> forest = IsolationForest(ForestParams(seed=1))
>>> for i in range(60): forest.learn([i % 5, i % 7, i % 4])
>>> forest.score([2, 3, 2]).score < 0.5, forest.score([9, 40, 20]).score > 0.6
(True, True)
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from detectors.base import ABSTAIN, Detector, Verdict, finite
from detectors.isolation_trees import Trees, grow
from detectors.robust import MAD_TO_SIGMA, mad, median

FLOAT32_MAX = 1e30  # float32, in which scikit-learn compares, ends at 3.4e38


class ForestParams(msgspec.Struct, frozen=True):
    """`history_max`, `ready_after` and `refit_every` count windows; `trees` of `sample_max` windows each."""

    seed: int = 0
    trees: int = 100
    sample_max: int = 256
    history_max: int = 240
    ready_after: int = 30
    refit_every: int = 60
    threshold: float = 0.6
    rim_sigmas: float = 5.0


class ForestState(msgspec.Struct):
    """Bounded history of complete vectors; `grown` of them (from the front of `grown_from`) made the current forest."""

    learned: int = 0
    refits: int = 0
    history: list[list[float]] = []
    grown_from: list[list[float]] = []
    last: list[float] = []


class IsolationForest(Detector[Sequence[float | None], ForestState]):
    """Multivariate score of [error_rate, latency_p99, throughput, …]; a missing metric takes its last value."""

    kind = "vector"

    def __init__(self, params: ForestParams, state: ForestState | None = None) -> None:
        self.params = params
        self.state = state or ForestState()
        self._trees: Trees | None = None
        self._limit = params.threshold
        if self.state.grown_from:
            self._grow()

    def score(self, x: Sequence[float | None]) -> Verdict:
        vector = self._complete(x)
        if vector is None or self._trees is None:
            return ABSTAIN
        score = float(self._trees.score(np.array([vector]))[0])
        return Verdict(score=score, anomalous=score > self._limit)

    def learn(self, x: Sequence[float | None]) -> None:
        vector, state = self._complete(x), self.state
        if vector is None:
            return
        state.last = vector
        state.history.append(vector)
        del state.history[: -self.params.history_max]
        state.learned += 1
        since_ready = state.learned - self.params.ready_after
        if since_ready >= 0 and since_ready % self.params.refit_every == 0:
            state.refits += 1
            state.grown_from = list(state.history)
            self._grow()

    def _complete(self, x: Sequence[float | None]) -> list[float] | None:
        """All metrics present and within float32; None when nothing is present, or one was never seen."""
        known = [finite(v) for v in x]
        if self.state.last and len(self.state.last) != len(known):
            raise ValueError(f"a vector of {len(self.state.last)} metrics was learnt before, this one has {len(known)}")
        if not any(v is not None for v in known):
            return None
        filled = [
            v if v is not None else (self.state.last[i] if self.state.last else None) for i, v in enumerate(known)
        ]
        present = [min(max(v, -FLOAT32_MAX), FLOAT32_MAX) for v in filled if v is not None]
        return present if len(present) == len(filled) else None

    def _grow(self) -> None:
        vectors = np.array(self.state.grown_from, dtype=np.float64)
        seed = (self.params.seed * 1_000_003 + self.state.refits) % 2**32  # no two forests share their random splits
        self._trees = grow(vectors, self.params.trees, self.params.sample_max, seed)
        own = self._trees.score(vectors).tolist()
        rim = median(own) + self.params.rim_sigmas * MAD_TO_SIGMA * mad(own)
        self._limit = min(max(self.params.threshold, rim), 0.5 * (1.0 + self.params.threshold))
