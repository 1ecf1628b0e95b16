"""How rare is a detector's reading among its own: the one scale on which different detectors can be added up.

A detector's raw reading ("strangeness": a distance, a surprisal, at least 0) means nothing beside another's. Its tail
probability does. The greatest reading of each 5 rows is kept for the last 2,400 such blocks (12,000 rows), so that a
burst of odd rows counts as one oddity. Of n blocks the a = n / 10 greatest are the tail, u is the next one below:

    P = (number of blocks >= x, plus 1) / (n + 1)        x <= u
      = (a / n) · (1 + (x - u) / (a · m))^-a             x > u,   m = mean excess of the a blocks over u

    evidence = -log10 P, at most 12                      score = 1 - P

Evidence 2 means "one block in a hundred was as strange", whatever the detector, so that `detectors/series.py` can take
the mean of several.

The second line is what an exponential tail predicts when its mean is not known but was estimated from a values: with
few blocks one cannot be sure of much, and with many it is the exponential itself. A reading is learnt as at most three
times the greatest so far, or one wild value would be the measure of all things for the next 12,000 rows.

Trade-off: an exponential tail is lighter than most real ones, so evidence above 3 ranks rather than counts; heavier
ones with an exponent that is fixed or fitted ranked no better. What comes back every day is usual by definition
here: incidents that recur grow quieter.

Peaks over threshold: Pickands, *Statistical Inference Using Extreme Order Statistics*, Annals of Statistics 3, 1975;
on streams: Siffer et al., *Anomaly Detection in Streams with Extreme Value Theory*, KDD 2017. Predictive distribution
of an exponential: Gelman et al., *Bayesian Data Analysis*, 3rd ed. 2013, section 2.6.

>>> tail = Tail(TailParams(), TailState())
>>> for i in range(1000): tail.learn(float(i * i % 101))
>>> round(tail.evidence(50.0), 2), round(tail.evidence(99.0), 2), round(tail.evidence(150.0), 2)
(0.05, 1.18, 4.79)
"""

import math
from abc import abstractmethod
from typing import TypeVar

import msgspec

from detectors.base import ABSTAIN, Detector, Verdict, finite
from detectors.robust import SortedWindow

EVIDENCE_MAX = 12.0
EXCESS_MIN = 0.05  # smallest mean excess, in units of u: readings that never vary do not make 1 % more a miracle


class TailParams(msgspec.Struct, frozen=True):
    """Blocks of `block_rows`; `blocks_max` remembered, judged from `blocks_min` on; `fraction` of them is the tail.

    `winsor` limits what is learnt, in units of the greatest reading so far."""

    block_rows: int = 5
    blocks_max: int = 2400
    blocks_min: int = 8
    fraction: float = 0.1
    exceedances_min: int = 3
    winsor: float = 3.0


class TailState(msgspec.Struct):
    """Maxima of whole blocks, and the block that is being filled."""

    blocks: list[float] = []
    worst: float = 0.0
    rows: int = 0


class Tail:
    """Remembers one detector's readings; every reading is judged by those before it."""

    def __init__(self, params: TailParams, state: TailState) -> None:
        self.params = params
        self.state = state
        self._blocks = SortedWindow(params.blocks_max, state.blocks)
        self._above = 0
        self._fit()

    @property
    def ready(self) -> bool:
        return len(self._blocks) >= self.params.blocks_min

    def evidence(self, reading: float) -> float:
        """-log10 P of a reading, in [0, 12]; 0.0 until `blocks_min` blocks are known."""
        blocks = len(self._blocks)
        if not self.ready:
            return 0.0
        if reading <= self._start:
            return -math.log10((self._blocks.count_reaching(reading) + 1) / (blocks + 1))
        total = self._above * self._excess
        if total <= (reading - self._start) * 1e-12:
            return EVIDENCE_MAX
        beyond = self._above * math.log10(1.0 + (reading - self._start) / total)
        return min(beyond - math.log10(self._above / blocks), EVIDENCE_MAX)

    def learn(self, reading: float) -> None:
        """Take one row's reading in."""
        state = self.state
        greatest = self._blocks.kth_largest(1) if self.ready else 0.0
        state.worst = max(state.worst, min(reading, self.params.winsor * greatest) if greatest > 0.0 else reading)
        state.rows += 1
        if state.rows == self.params.block_rows:
            self._blocks.push(state.worst)
            state.worst, state.rows = 0.0, 0
            self._fit()

    def _fit(self) -> None:
        if not self.ready:
            return
        self._above = max(int(self.params.fraction * len(self._blocks)), self.params.exceedances_min)
        self._start = self._blocks.kth_largest(self._above + 1)
        self._excess = max(self._blocks.mean_of_largest(self._above) - self._start, EXCESS_MIN * self._start)


def evidence_of(score: float) -> float:
    """Evidence from the score of any calibrated detector.

    >>> round(evidence_of(0.99), 6), evidence_of(1.0), evidence_of(0.0)
    (2.0, 12.0, 0.0)
    """
    return min(-math.log10(max(1.0 - score, 10.0**-EVIDENCE_MAX)), EVIDENCE_MAX) + 0.0


class CalibratedState(msgspec.Struct):
    """What every calibrated detector's state begins with."""

    tail: TailState = msgspec.field(default_factory=TailState)


C = TypeVar("C", bound=CalibratedState)


class Calibrated(Detector[tuple[int, float | None], C]):
    """A detector that reads a strangeness from each row and is judged by the tail of its own readings.

    A subclass says how strange a value is (`_reading`, None while it cannot know) and how it learns (`_take`). A
    missing value is neither judged nor learnt.
    """

    kind = "point"
    anomalous_from: float = 2.5  # evidence; the ensemble has its own threshold

    def __init__(self, tail: TailParams, state: C) -> None:
        self.state = state
        self._tail = Tail(tail, state.tail)
        self._read: tuple[tuple[int, float], float | None] | None = None  # what was asked last, until `learn`

    @abstractmethod
    def _reading(self, time_us: int, value: float) -> float | None:
        """Strangeness of a value, at least 0, in any unit."""

    @abstractmethod
    def _take(self, time_us: int, value: float) -> None:
        """Learn a value."""

    def score(self, x: tuple[int, float | None]) -> Verdict:
        reading = self._cached(x[0], finite(x[1]))
        if reading is None or not self._tail.ready:
            return ABSTAIN
        evidence = self._tail.evidence(reading)
        return Verdict(score=1.0 - 10.0**-evidence, anomalous=evidence > self.anomalous_from)

    def learn(self, x: tuple[int, float | None]) -> None:
        value = finite(x[1])
        if value is None:
            return
        reading = self._cached(x[0], value)
        if reading is not None:
            self._tail.learn(reading)
        self._take(x[0], value)
        self._read = None

    def _cached(self, time_us: int, value: float | None) -> float | None:
        if value is None:
            return None
        if self._read is None or self._read[0] != (time_us, value):
            self._read = ((time_us, value), self._reading(time_us, value))
        return self._read[1]
