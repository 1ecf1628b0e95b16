r"""Fits an ARIMA(p,1,q) to some hours of one series: the order, φ, θ and the variance of what is left.

    order, start   least AIC = n ln σ² + 2 (p + q) on a grid of φ × θ, σ² the mean square of conditional one-step errors
    φ, θ, σ²       exact maximum likelihood by statsmodels, a few steps from there
    candidate      is taken if its typical error on the newer half is below that of exponential smoothing

Values count up to `REACH` robust σ from their median, so that one incident in the history does not lead the fit. φ and
θ are kept off the edge of stationarity and invertibility, where the likelihood deceives: a level is never taken to be
constant. Where statsmodels fails, the grid's best stands.

Trade-off: a grid and five steps, 8 ms, end near the optimum that 25 steps, 40 ms, would reach, not on it.

Box, Jenkins, Reinsel, *Time Series Analysis*, 4th ed. 2008, chapter 7.

>>> rng = np.random.default_rng(1)
>>> walk = np.cumsum(rng.normal(size=200)).tolist()
>>> fit = choose_fit(walk, [Order(0, 1, 1)], smoothing_theta=-0.7)
>>> abs(fit.theta) < 0.3, round(fit.scale * fit.variance**0.5, 1)
(True, 0.9)
"""

import math
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache

import msgspec
import numpy as np
from msgspec.structs import replace
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # has no type information

from detectors.kalman import Model
from detectors.robust import median, sigma_robust
from detectors.rows import Array

ITERATIONS_MAX = 5  # of maximum likelihood, from the grid's best; about 8 ms
PHI_MAX, THETA_MAX = 0.95, 0.97  # on the edge of stationarity and invertibility the likelihood deceives
VALUES_MIN = 8
REACH = 4.0  # values count up to here in a fit, in robust σ of the series
ERROR_MAX = 3.0  # errors of a candidate count up to here, in the same unit
GRID_PHI = (0.2, 0.4, 0.6, 0.8)
GRID_THETA = (-0.95, -0.9, -0.8, -0.65, -0.5, -0.3, 0.0)


class Order(msgspec.Struct, frozen=True):
    """p autoregressive terms, one difference, q moving-average terms."""

    p: int
    d: int
    q: int


class Fit(msgspec.Struct, frozen=True):
    """A fitted model of the values after `(x - centre) / scale`: coefficients, and the innovations' variance."""

    phi: float
    theta: float
    variance: float
    centre: float
    scale: float

    @property
    def model(self) -> Model:
        return Model(self.phi, self.theta, self.variance)


def smoothing_fit(theta: float, centre: float) -> Fit:
    """Exponential smoothing: ARIMA(0,1,1) with a θ that is given."""
    return Fit(0.0, theta, 1.0, centre, 1.0)


def choose_fit(history: Sequence[float | None], orders: Sequence[Order], smoothing_theta: float) -> Fit:
    """The candidate with the smallest typical one-step error over the history's second half.

    Candidates are the best of `orders`, fitted, and smoothing with the θ given, which needs no fit. Raises ValueError
    without a value.
    """
    values = [x for x in history if x is not None]
    if not values:
        raise ValueError("a history without any value cannot be fitted")
    scale = sigma_robust(values) or max(abs(v) for v in values) or 1.0
    smoothing = replace(smoothing_fit(smoothing_theta, median(values)), scale=scale)
    series = np.array([math.nan if x is None else (x - smoothing.centre) / scale for x in history])
    series = np.clip(series, -REACH, REACH)
    candidates = [(smoothing.phi, smoothing.theta, smoothing.variance)]
    steps = np.diff(_whole(series))
    if len(values) >= VALUES_MIN and steps.any():
        candidates.append(fit_orders(series, steps, orders))
    phi, theta, variance = min(candidates, key=lambda c: _typical_error(steps, c[0], c[1]))
    return replace(smoothing, phi=phi, theta=theta, variance=variance)


def fit_orders(series: Array, steps: Array, orders: Sequence[Order]) -> tuple[float, float, float]:
    """φ, θ and σ² of the order with the least AIC on the grid, by maximum likelihood; the grid's own if that fails.

    series  scaled values, NaN where missing; `steps` are its differences with gaps filled
    """
    bests = [(_grid_best(steps, order), order) for order in orders]
    found, order = min(bests, key=lambda best: len(steps) * math.log(best[0][2]) + 2 * (best[1].p + best[1].q))
    return _maximum_likelihood(series, order, *found) or found


def _grid_best(steps: Array, order: Order) -> tuple[float, float, float]:
    grid = [
        (_mean_square(_errors(steps, phi, theta)), phi, theta)
        for phi in (GRID_PHI if order.p else (0.0,))
        for theta in (GRID_THETA if order.q else (0.0,))
    ]
    variance, phi, theta = min(grid)
    return phi, theta, max(variance, 1e-6)


def _maximum_likelihood(
    series: Array, order: Order, phi: float, theta: float, variance: float
) -> tuple[float, float, float] | None:
    from statsmodels.tsa.arima.model import ARIMA  # 1.3 s to import, and only fits need it

    begin = [*([phi] if order.p else []), *([theta] if order.q else []), variance]
    try:
        with one_thread(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model = ARIMA(series, order=(order.p, order.d, order.q), trend="n")
            result = model.fit(
                start_params=begin, cov_type="none", low_memory=True, method_kwargs={"maxiter": ITERATIONS_MAX}
            )
    except (ValueError, np.linalg.LinAlgError):
        return None
    values = dict(zip(result.param_names, (float(v) for v in result.params), strict=True))
    if not all(math.isfinite(v) for v in values.values()) or values["sigma2"] <= 0.0:
        return None
    phi, theta = values.get("ar.L1", 0.0), values.get("ma.L1", 0.0)
    bounded = min(max(phi, -PHI_MAX), PHI_MAX), min(max(theta, -THETA_MAX), THETA_MAX)
    return (*bounded, values["sigma2"])


def _errors(steps: Array, phi: float, theta: float) -> Array:
    """One-step errors of an ARMA(1,1) on the differences, the first as if nothing had been before it."""
    from scipy.signal import lfilter  # 0.2 s to import, and only fits need it

    return np.asarray(lfilter([1.0, -phi], [1.0, theta], steps), dtype=np.float64)


def _mean_square(errors: Array) -> float:
    return float(np.mean(np.minimum(np.abs(errors), ERROR_MAX) ** 2))


def _typical_error(steps: Array, phi: float, theta: float) -> float:
    """Mean absolute error over the second half, wild ones cut."""
    errors = _errors(steps, phi, theta)[len(steps) // 2 :]
    return float(np.mean(np.minimum(np.abs(errors), ERROR_MAX))) if len(errors) else 0.0


def _whole(series: Array) -> Array:
    """Gaps filled along straight lines."""
    known = np.flatnonzero(series == series)
    return np.interp(np.arange(len(series)), known, series[known])


def one_thread() -> AbstractContextManager[object]:
    """Matrices of four rows: BLAS threads that wait for each other made a fit on two busy cores ten times slower."""
    limited: AbstractContextManager[object] = _thread_pools().limit(limits=1, user_api="blas")
    return limited


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # finds the loaded libraries, a few ms; statsmodels has loaded them all by now
