"""Values where hardly any were before: distance to the nearest neighbours among the last rows.

    strangeness_t = mean of |x_t - v| over the 5 nearest v of the last 1,000 values

A level that exists is near others of its kind however rare and however far from the mean it is, so a series that jumps
between states (idle and busy, day and night) needs no model of them; a value between two states is as strange as
one beyond both. That is what a z-score cannot say. Sorted values make the search O(log n): about 5 µs a row.

Trade-off: order in time is ignored. A noon value at midnight is not strange here (`detectors/daily.py`), nor is
a usual value after an unusual one (`detectors/motif.py`).

Breunig et al., *LOF: Identifying Density-Based Local Outliers*, SIGMOD 2000; distances calibrated conformally as in
Burnaev and Ishimtsev, *Conformalized density- and distance-based anomaly detection in time-series data*, 2016.

>>> density = Density(DensityParams())
>>> for i in range(200): density.learn((i, (i % 2) * 50.0 + i % 7))
>>> density.score((200, 53.0)).score < 0.9, density.score((200, 28.0)).anomalous
(True, True)
"""

import math

import msgspec

from detectors.calibrated import Calibrated, CalibratedState, TailParams
from detectors.robust import SortedWindow


class DensityParams(msgspec.Struct, frozen=True):
    """The `neighbours` nearest of the last `values_max` values, from `ready_after` on."""

    values_max: int = 1000
    neighbours: int = 5
    ready_after: int = 20
    tail: TailParams = TailParams()


class DensityState(CalibratedState):
    """The last values in order of arrival."""

    values: list[float] = msgspec.field(default_factory=list)


class Density(Calibrated[DensityState]):
    """Distance of one value from its neighbours. Scale and shift invariant up to rounding."""

    def __init__(self, params: DensityParams, state: DensityState | None = None) -> None:
        super().__init__(params.tail, state or DensityState())
        self.params = params
        self._values = SortedWindow(params.values_max, self.state.values)

    def _reading(self, time_us: int, value: float) -> float | None:
        if len(self._values) < self.params.ready_after:
            return None
        return math.fsum(self._values.nearest(value, self.params.neighbours)) / self.params.neighbours

    def _take(self, time_us: int, value: float) -> None:
        self._values.push(value)
