"""What a metric usually is, over hours, and a CUSUM against it: finds what creeps up too slowly for a forecast.

    baseline = median, σ = max(1.4826 · MAD, sd / 2, sigma_min) of the last `windows` windows that were not anomalous
    z_t = clip((x_t - baseline) / σ, -clip, clip)
    S_t = min(max(0, S_{t-1} + z_t - slack), 2 · limit)         drifting when S_t > limit

A one-step forecast follows a slow rise and calls each step normal; the median over hours does not. `clip` keeps one
wild window from tripping the sum (with the defaults at least three are needed), and the cap lets it fall again. The
last `gap` windows are left out of the baseline, so that the rise does not raise it.

Trade-off: a smaller `slack` finds slower leaks and rings at ordinary daily slopes; 1 σ ignores them up to one σ.

Page, *Continuous inspection schemes*, Biometrika 41, 1954.
"""

from msgspec import Struct

from detectors.robust import median, sigma_robust


class DriftParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Lengths in windows; `slack`, `clip` and `limit` in σ; `sigma_min` on the judging scale (0.04: about 4 %)."""

    windows: int = 120
    gap: int = 3
    ready_after: int = 20
    slack: float = 1.0
    clip: float = 4.0
    limit: float = 8.0
    sigma_min: float = 0.04


class Baseline(Struct, frozen=True):
    """Level and spread on the judging scale."""

    level: float
    sigma: float


def baseline(values: list[float | None], flagged: list[bool], params: DriftParams) -> Baseline | None:
    """Of the windows before the one judged, oldest first; None until `ready_after` of them are usable."""
    usable = [x for x, anomalous in zip(values, flagged, strict=True) if x is not None and not anomalous]
    if len(usable) < params.ready_after:
        return None
    usable = usable[-params.windows - params.gap : len(usable) - params.gap]
    return Baseline(level=median(usable), sigma=max(sigma_robust(usable), params.sigma_min))


def drifted(total: float, value: float | None, base: Baseline | None, params: DriftParams) -> float:
    """The CUSUM after `value`; unchanged where there is nothing to compare."""
    if value is None or base is None:
        return total
    z = (value - base.level) / base.sigma
    z = min(max(z, -params.clip), params.clip)
    return min(max(0.0, total + z - params.slack), 2.0 * params.limit)
