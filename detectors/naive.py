"""The naive recipe, as a peer to measure against: ARIMA beyond 2 σ, Isolation Forest over 0.6, three rows in a row.

    flagged_t = both say so at t, t - 1 and t - 2        score = share of those three rows at which both did

The forest sees the value and its last step. Textbook numbers, no calibration; the forest is regrown every 60 rows and
ARIMA refitted by its own defaults, which makes this the dearest detector of all as well (`docs/detection.md`).

Trade-off: a row is outside 2 σ one time in twenty, and a third row in a row outside comes late or never: many
incidents are two rows long.

Box and Jenkins 2008; Liu, Ting, Zhou 2008, as cited in `detectors/arima.py` and `detectors/isolation_forest.py`.

>>> import random
>>> naive, rng = Naive(NaiveParams()), random.Random(1)
>>> for _ in range(100): naive.learn(rng.gauss(10.0, 1.0))
>>> [naive.step(60.0 + i % 3).anomalous for i in range(4)]
[False, False, True, True]
"""

import msgspec

from detectors.arima import Arima, ArimaParams, History
from detectors.base import ABSTAIN, Detector, Verdict, finite
from detectors.isolation_forest import ForestParams, ForestState, IsolationForest


class NaiveParams(msgspec.Struct, frozen=True):
    """The recipe's own numbers: 2 σ, 0.6, three in a row."""

    arima: ArimaParams = ArimaParams(k=2.0)
    forest: ForestParams = ForestParams(threshold=0.6, rim_sigmas=0.0)
    rows: int = 3


class NaiveState(msgspec.Struct):
    """Both detectors' states, the last value, and how many rows in a row both have spoken."""

    arima: History = msgspec.field(default_factory=History)
    forest: ForestState = msgspec.field(default_factory=ForestState)
    last: float | None = None
    run: int = 0


class Naive(Detector[float | None, NaiveState]):
    """Agreement of two textbook detectors, three rows running."""

    kind = "value"

    def __init__(self, params: NaiveParams, state: NaiveState | None = None) -> None:
        self.params = params
        self.state = state or NaiveState(arima=Arima(params.arima).state)
        self._arima = Arima(params.arima, self.state.arima)
        self._forest = IsolationForest(params.forest, self.state.forest)

    def score(self, x: float | None) -> Verdict:
        spoken = self._spoken(finite(x))
        if spoken is None:
            return ABSTAIN
        run = min(self.state.run + 1, self.params.rows) if spoken else 0
        return Verdict(score=run / self.params.rows, anomalous=run == self.params.rows)

    def learn(self, x: float | None) -> None:
        value = finite(x)
        self.state.run = self.state.run + 1 if self._spoken(value) else 0
        self._arima.learn(value)
        if value is not None:
            self._forest.learn(self._vector(value))
            self.state.last = value

    def _spoken(self, value: float | None) -> bool | None:
        """Whether both call `value` anomalous; None while one of them does not judge."""
        if value is None:
            return None
        line, forest = self._arima.score(value), self._forest.score(self._vector(value))
        return line.anomalous and forest.anomalous if line.ready and forest.ready else None

    def _vector(self, value: float) -> list[float]:
        return [value, 0.0 if self.state.last is None else value - self.state.last]
