"""Where a metric was before it moved away: when it comes back there, something ends, and nothing begins.

A level that lasts is accepted (pipeline.judging.track), and from then on the way back looks like a new change: a surge
of an hour and a half was followed by a "traffic drop" for as long. So the level at the start of a run of findings is
remembered once the run is `sustained` windows long (few: forecasts follow a step within minutes, and then nothing is
found any more), and for `windows` after its last finding. Meanwhile

    back    x is nearer to the former level f than the accepted level l, and not beyond f by the effect that matters
            (f - l)(x - l) > 0,  |f - l| ≥ effect,  (x - f) · sign(f - l) < effect

and what is back is no finding, while whatever goes beyond is one as ever. On the judging scale, above the profile.

Only a level that has moved away since, which a median of hours does not do for less than an hour, can be come back to.

Trade-off: within those hours a real change that happens to end where the metric was before is not seen in this metric:
when traffic had doubled for good, a loss of half of it. The others see it.

>>> where = back(np.array([0.1, -0.9, 2.0]), np.array([2.0] * 3), np.array([0.0] * 3), np.array([0.4] * 3))
>>> where.tolist()                    # a level of 2 that was 0: back at 0.1, far below at -0.9, still there at 2
[True, False, False]
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.rows import Array


class FormerParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Counts are of windows (360: six hours)."""

    sustained: int = 3
    windows: int = 360


class Former(Struct):
    """`onset`: the level when the present run of findings began. `level` holds until the window numbered `until`."""

    onset: float | None = None
    level: float | None = None
    until: int = 0

    def at(self, window: int) -> float | None:
        """The level to come back to, if there is one."""
        return self.level if window < self.until else None


def follow(former: Former, run: int, level: float, window: int, params: FormerParams) -> None:
    """A window has findings, `run` before it had; `level` (NaN: not known yet) is usual, `window` its number."""
    if run == 0:
        former.onset = level if level == level else None
    if run + 1 >= params.sustained and former.onset is not None:
        former.level, former.until = former.onset, window + params.windows


def back(values: Array, levels: Array, formers: Array, effects: Array) -> NDArray[np.bool_]:
    """Which values have come back; all arrays of one number a row, NaN where nothing is known."""
    side = np.sign(formers - levels)
    apart = np.abs(formers - levels) >= effects
    return np.asarray(apart & ((values - levels) * side > 0.0) & ((values - formers) * side < effects))
