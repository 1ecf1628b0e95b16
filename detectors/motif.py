"""Shapes that were not seen before: distance of the last few rows to the nearest such runs in the past.

    w_t = (x_{t-5}, …, x_t)          strangeness_t = mean of ‖w_t - w_s‖₁ over the 3 nearest of the last 600 w_s, s < t

An ordinary value at the wrong moment (a dip inside a plateau, a wave that stands still, a rhythm that breaks) makes an
extraordinary run. Any shape that recurs is known after its first time, so spikes that come every hour are quiet.

Trade-off: six rows see shapes of minutes, and six hundred runs remember ten hours of a one-minute series; after a
lasting change of level everything is new until neighbours have come together, which the tail of readings turns into
one alarm. Distances to all 600 runs are computed with NumPy in about 15 µs.

Burnaev and Ishimtsev, *Conformalized density- and distance-based anomaly detection in time-series data*, 2016; Yeh et
al., *Matrix Profile I*, ICDM 2016, on discords.

>>> motif = Motif(MotifParams())
>>> for i in range(400): motif.learn((i, float(i % 10) + 0.1 * (i * i % 7)))
>>> motif.score((400, 0.3)).score < 0.9, motif.score((400, 5.0)).score > 0.99
(True, True)
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.calibrated import Calibrated, CalibratedState, TailParams


class MotifParams(msgspec.Struct, frozen=True):
    """Runs of `length` rows; the `neighbours` nearest of the last `runs_max`, from `ready_after` runs on."""

    length: int = 6
    runs_max: int = 600
    neighbours: int = 3
    ready_after: int = 20
    tail: TailParams = TailParams()


class MotifState(CalibratedState):
    """The last `runs_max + length - 1` values: what the runs are made of."""

    values: list[float] = msgspec.field(default_factory=list)


class Motif(Calibrated[MotifState]):
    """Distance of the newest run from its neighbours. Scale and shift invariant up to rounding."""

    def __init__(self, params: MotifParams, state: MotifState | None = None) -> None:
        super().__init__(params.tail, state or MotifState())
        self.params = params
        self._runs: NDArray[np.float64] = np.zeros((params.length, params.runs_max))  # a column is a run
        self._count = 0
        values = self.state.values
        for end in range(params.length, len(values) + 1):
            self._add(values[end - params.length : end])

    def _reading(self, time_us: int, value: float) -> float | None:
        known = min(self._count, self.params.runs_max)
        if known < self.params.ready_after:
            return None
        run = np.array([*self.state.values[1 - self.params.length :], value])
        distances = np.abs(self._runs[:, :known] - run[:, None]).sum(axis=0)
        k = self.params.neighbours
        nearest = np.partition(distances, k - 1)[:k]
        nearest.sort()  # so that the sum does not depend on where in the ring the runs lie
        return float(nearest.sum()) / k

    def _take(self, time_us: int, value: float) -> None:
        values, p = self.state.values, self.params
        values.append(value)
        del values[: -(p.runs_max + p.length - 1)]
        if len(values) >= p.length:
            self._add(values[-p.length :])

    def _add(self, run: list[float]) -> None:
        self._runs[:, self._count % self.params.runs_max] = run
        self._count += 1
