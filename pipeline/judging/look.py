"""How all forecast metrics of the windows of one batch look, before anything of them is learnt: arrays, judged at once.

A row is one metric of one model's window, models in order, metrics as in FORECAST. Values are on the judging scale,
less the seasonal profile. A finding needs statistical *and* practical weight: beyond k(t) · σ of the forecast, and at
least `effect` away, the same way, from both the forecast and the level of the last hours. So the return from an
incident to the usual level is no finding, however sudden, and neither is a daily slope; nor is the return to the level
before a change that has lasted (pipeline.judging.former). Nor is what is near the last minutes, which were found to be
as usual: after a surge the forecast takes ten minutes to come down, and whoever stays where it was ten minutes ago has
not moved.

A row's numbers do not depend on which others are judged with it (detectors.rows, detectors.kalman), so however windows
come in batches, the findings are the same.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.arima import Bank
from detectors.base import sigmas_between, squash
from detectors.rows import Array, counts_of, median_of
from pipeline.judging.baseline import baselines, drifted
from pipeline.judging.findings import Finding, of_metric
from pipeline.judging.former import back
from pipeline.judging.metrics import FORECAST, LATENCIES, Measure, unscaled, upwards
from pipeline.judging.track import Track, TrackParams

BAND_SIGMAS = 3.0  # the interval shown for a CUSUM finding, which has none of its own
MOVED_WINDOWS = 4  # the newest, whose median says whether a level may have changed
NEWEST_WINDOWS, NEWEST_MIN = 8, 3  # the last minutes, and how many of them must have been usual
MOVED_SHARE = 0.8  # of the effect that matters: less is not looked at for breaks

Mask = NDArray[np.bool_]


class Look:
    """Arrays of one number a row, NaN where a metric was not measured or nothing is known yet.

    value, profile    their sum is the logarithm of what was measured
    level, spread     of the last hours; `off` the distance from the level
    newest            median of the last minutes, those with findings left out; NaN where too few are left
    past              [rows, windows], newest last; `since` is applied, anomalous windows are not left out
    found             rows with findings
    back              returned to where it was before a change that lasted
    standing_out      further than the effect that matters and `sigmas_min` from the level
    may_have_broken   the newest windows have left the level: worth a search for breaks
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        logs: Array,
        profile: Array,
        noise: Array,
        past: Array,
        flagged: Mask,
        formers: Array,
        effects: Array,
        sigmas_min: float,
        params: TrackParams,
    ) -> None:
        self.tracks, self.params, self.profile, self.past = tracks, params, profile, past
        self.value = logs - profile
        self._effect = np.log1p(effects)
        usual = np.where(flagged, np.nan, past)
        self.level, self.spread = baselines(usual, params.drift)
        self.newest = _of_newest(usual)
        self.off = self.value - self.level
        self.former = formers
        self.back = back(self.value, self.level, formers, self._effect)
        self.bank = Bank([t.arima for t in tracks], params.arima, np.array([t.k.k for t in tracks]), noise)
        self.beyond = self.bank.beyond(self.value)
        self.cusum = self._cusum()
        self._forecast_found = self.beyond & self._moved_enough() & ~self.back
        self._drift_found = (self.cusum > params.drift.limit) & ~self.back
        self.found = self._forecast_found | self._drift_found
        self.sigmas = np.abs(self.off) / self.spread
        self.standing_out = (np.abs(self.off) >= self._effect) & (self.sigmas >= sigmas_min) & ~self.back
        self.may_have_broken = self._may_have_broken()

    def _moved_enough(self) -> Mask:
        moved = self.value - self.bank.expected
        away = (np.abs(self.off) >= self._effect) & (self.off * moved > 0.0)
        near = np.abs(self.value - self.newest) < self._effect
        return np.asarray((np.abs(moved) >= self._effect) & (away | (self.level != self.level)) & ~near)

    def _cusum(self) -> Array:
        total = np.array([t.cusum for t in self.tracks])
        latency = np.tile([measure.metric in LATENCIES for measure in FORECAST], len(total) // len(FORECAST))
        return np.where(latency, drifted(total, self.value, self.level, self.spread, self.params.drift), total)

    def _may_have_broken(self) -> Mask:
        newest = np.concatenate([self.past[:, 1 - MOVED_WINDOWS :], self.value[:, None]], axis=1)
        return np.asarray(np.abs(median_of(newest) - self.level) >= MOVED_SHARE * self._effect)

    def value_of(self, row: int) -> float | None:
        """The value above the profile; None where it was not measured."""
        value = float(self.value[row])
        return value if value == value else None

    def interval(self, row: int) -> tuple[float, float, float] | None:
        """The forecast and its band in the metric's own unit: expected, low, high; None during warm-up."""
        if not self.bank.ready[row]:
            return None
        middle, reach = (
            float(self.bank.expected[row] + self.profile[row]),
            float(self.bank.k[row] * self.bank.sigma[row]),
        )
        metric = _measure(row).metric
        return unscaled(metric, middle), unscaled(metric, middle - reach), unscaled(metric, middle + reach)

    def findings(self, row: int, actual: float) -> list[Finding]:
        """What is found in one row whose metric was measured as `actual`, in its own unit."""
        forecast = self._by_forecast(row, actual) if self._forecast_found[row] else None
        drift = self._by_drift(row, actual) if self._drift_found[row] else None
        return [finding for finding in (forecast, drift) if finding is not None]

    def was(self, row: int) -> float | None:
        """The level before a change that lasted, with the seasonal profile, in the metric's own unit."""
        level = float(self.former[row] + self.profile[row])
        return unscaled(_measure(row).metric, level) if math.isfinite(level) else None

    def expected(self, row: int) -> float | None:
        """The usual level, with the seasonal profile, in the metric's own unit."""
        level = float(self.level[row] + self.profile[row])
        return unscaled(_measure(row).metric, level) if math.isfinite(level) else None

    def _by_forecast(self, row: int, actual: float) -> Finding | None:
        bank, interval = self.bank, self.interval(row)
        if interval is None:
            return None
        sigmas = sigmas_between(float(self.value[row]), float(bank.expected[row]), float(bank.sigma[row]))
        return of_metric(_measure(row).metric, "arima", squash(sigmas, float(bank.k[row])), actual, *interval)

    def _by_drift(self, row: int, actual: float) -> Finding | None:
        measure, expected, total = _measure(row), self.expected(row), float(self.cusum[row])
        if expected is None or self.value_of(row) is None:
            return None
        latest = np.append(self.past[row, -2:], self.value[row])
        newest = float(median_of(latest[None, :])[0] + self.profile[row])
        metric, limit = measure.metric, self.params.drift.limit
        if upwards(measure, unscaled(metric, newest), expected) < math.expm1(float(self._effect[row])):
            return None
        level = float(self.level[row] + self.profile[row])
        low, high = (unscaled(metric, level + side * BAND_SIGMAS * float(self.spread[row])) for side in (-1, 1))
        return of_metric(metric, "cusum", squash(total, limit), actual, expected, low, high)


def _of_newest(usual: Array) -> Array:
    newest = usual[:, -NEWEST_WINDOWS:]
    return np.where(counts_of(newest) >= NEWEST_MIN, median_of(newest), np.nan)


def _measure(row: int) -> Measure:
    return FORECAST[row % len(FORECAST)]
