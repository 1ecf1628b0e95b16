"""What a metric usually is, over hours, and a CUSUM against it: finds what creeps up too slowly for a forecast.

    baseline = median, σ = max(1.4826 · MAD, sd / 2, sigma_min) of the last `windows` windows that were not anomalous
    z_t = clip((x_t - baseline) / σ, -clip, clip)
    S_t = min(max(0, S_{t-1} + z_t - slack), 2 · limit)         drifting when S_t > limit

A one-step forecast follows a slow rise and calls each step normal; the median over hours does not. `clip` keeps one
wild window from tripping the sum (with the defaults at least three are needed), and the cap lets it fall again. The
last `gap` windows are left out of the baseline, so that the rise does not raise it. Values are those above the seasonal
profile (`detectors/seasonal.py`), so the slope of a usual morning is no rise.

Trade-off: a smaller `slack` finds slower leaks and rings at slopes that no profile explains yet; 1 σ ignores them up to
one σ.

Page, *Continuous inspection schemes*, Biometrika 41, 1954.
"""

import numpy as np
from msgspec import Struct

from detectors.rows import Array, counts_of, median_of, newest_of, sigma_of

BLOCK = 128
"""Rows at a time: what is worked out in between stays in the processor's cache, and takes two thirds of the time."""


class DriftParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Lengths in windows; `slack`, `clip` and `limit` in σ; `sigma_min` on the judging scale (0.04: about 4 %)."""

    windows: int = 120
    gap: int = 3
    ready_after: int = 20
    slack: float = 1.0
    clip: float = 4.0
    limit: float = 8.0
    sigma_min: float = 0.04


def baselines(values: Array, params: DriftParams) -> tuple[Array, Array]:
    """Level and σ of each row of `values`, newest last, NaN where missing or anomalous.

    NaN until `ready_after` values are usable.
    """
    blocks = [_of_block(values[at : at + BLOCK], params) for at in range(0, max(len(values), 1), BLOCK)]
    return np.concatenate([level for level, _ in blocks]), np.concatenate([sigma for _, sigma in blocks])


def _of_block(values: Array, params: DriftParams) -> tuple[Array, Array]:
    usable = newest_of(values, params.windows, params.gap)
    level = median_of(usable)
    sigma = np.maximum(sigma_of(usable, level), params.sigma_min)
    ready = counts_of(values) >= params.ready_after
    return np.where(ready, level, np.nan), np.where(ready, sigma, np.nan)


def drifted(total: Array, value: Array, level: Array, sigma: Array, params: DriftParams) -> Array:
    """The CUSUMs after `value`; unchanged where there is nothing to compare (NaN)."""
    z = (value - level) / sigma
    z = np.minimum(np.maximum(z, -params.clip), params.clip)
    moved = np.minimum(np.maximum(0.0, total + z - params.slack), 2.0 * params.limit)
    return np.where(z == z, moved, total)
