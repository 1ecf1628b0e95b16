"""One-step forecasts of an ARIMA with known coefficients: the Kalman filter, one window at a time.

    a_{t+1} = T (a_t + K v_t) ,   v_t = x_t - Z a_t ,   K = P Z' / F ,   F = Z P Z'
    P_{t+1} = T (P_t - K Z P_t) T' + R R' σ²

The state holds the d differences' levels and then the ARMA part in Harvey's form; the differences start diffuse and the
ARMA part from its stationary distribution. Layout and start are those of statsmodels, so the forecasts are the same to
about ten digits, missing values included (tests/detectors). States have two to four numbers: 15 µs a step.

Durbin and Koopman, *Time Series Analysis by State Space Methods*, 2nd ed. 2012, sections 3.4 and 4.3; Harvey,
*Forecasting, Structural Time Series Models and the Kalman Filter*, 1989, section 4.1.

>>> walk = Filter(Fit(Order(0, 1, 0), (), (), 0.0, 1.0, centre=0.0, scale=1.0))
>>> a, p, residuals = run_filter(walk, [1.0, 2.0, None, 4.0])
>>> forecast = walk.forecast(a, p)
>>> round(forecast[0], 3), round(forecast[1], 3)
(4.0, 1.0)
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DIFFUSE = 1e6  # variance of a level that nothing is known about; statsmodels' own number
ERROR_MAX = 3.0  # errors of a forecast count up to here, in units of the scaled series


class Order(msgspec.Struct, frozen=True):
    """p autoregressive terms, d differences, q moving-average terms."""

    p: int
    d: int
    q: int


class Fit(msgspec.Struct, frozen=True):
    """A fitted model of the values after `(x - centre) / scale`: coefficients, and the innovations' variance."""

    order: Order
    ar: tuple[float, ...]
    ma: tuple[float, ...]
    mean: float
    variance: float
    centre: float
    scale: float


class Filter:
    """Kalman filter of an ARIMA in Harvey's form with the differences in the state, as statsmodels lays it out."""

    def __init__(self, fit: Fit) -> None:
        order, d = fit.order, fit.order.d
        r = max(order.p, order.q + 1)
        self.fit = fit
        self.design = np.zeros(d + r)
        self.design[: d + 1] = 1.0
        self.transition = np.zeros((d + r, d + r))
        self.transition[:d, :d] = np.triu(np.ones((d, d)))
        self.transition[:d, d] = 1.0
        self.transition[d : d + order.p, d] = fit.ar
        self.transition[d : d + r - 1, d + 1 :] += np.eye(r - 1)
        selection = np.zeros(d + r)
        selection[d : d + 1 + order.q] = (1.0, *fit.ma)
        self.noise = np.outer(selection, selection) * fit.variance

    def start(self) -> tuple[Array, Array]:
        """State and covariance before the first value: stationary for the ARMA part, diffuse for the level."""
        d, n = self.fit.order.d, len(self.design)
        covariance = np.zeros((n, n))
        covariance[:d, :d] = np.eye(d) * DIFFUSE
        covariance[d:, d:] = _lyapunov(self.transition[d:, d:], self.noise[d:, d:])
        return np.zeros(n), covariance

    def forecast(self, a: Array, p: Array) -> tuple[float, float]:
        """Mean and variance of the next value, in the fit's scaled units."""
        return float(self.design @ a) + self.fit.mean, float(self.design @ p @ self.design)

    def update(self, a: Array, p: Array, value: float | None) -> tuple[Array, Array]:
        """Predicted state for the window after the one that `value` (None: missing) belongs to."""
        t = self.transition
        if value is not None:
            pz = p @ self.design
            variance = float(self.design @ pz)
            if variance > 0.0:
                gain = pz / variance
                a = a + gain * (value - self.fit.mean - float(self.design @ a))
                p = p - np.outer(gain, pz)
        p = t @ p @ t.T + self.noise
        return t @ a, 0.5 * (p + p.T)

    def scaled(self, x: float) -> float:
        return (x - self.fit.centre) / self.fit.scale


def run_filter(f: Filter, history: Sequence[float | None]) -> tuple[Array, Array, list[float]]:
    """State after `history`, and the standardised one-step errors (those of the first d + 1 values say nothing)."""
    a, p = f.start()
    residuals: list[float] = []
    seen = 0
    for x in history:
        scaled = None if x is None else f.scaled(x)
        if scaled is not None:
            mean, variance = f.forecast(a, p)
            if seen > f.fit.order.d and variance > 0.0:
                residuals.append((scaled - mean) / math.sqrt(variance))
            seen += 1
        a, p = f.update(a, p, scaled)
    return a, p, residuals


def typical_error(fit: Fit, history: Sequence[float | None]) -> float:
    """Mean absolute one-step error, errors beyond 3 σ_robust cut, in units of the scaled series."""
    f = Filter(fit)
    a, p = f.start()
    errors: list[float] = []
    for x in history:
        scaled = None if x is None else f.scaled(x)
        if scaled is not None:
            errors.append(min(abs(scaled - f.forecast(a, p)[0]), ERROR_MAX))
        a, p = f.update(a, p, scaled)
    tail = errors[len(errors) // 2 :]
    return math.fsum(tail) / len(tail)


def _lyapunov(transition: Array, noise: Array) -> Array:
    """Solve P = T P T' + Q for the small stationary block."""
    n = len(transition)
    solved = np.linalg.solve(np.eye(n * n) - np.kron(transition, transition), noise.reshape(-1))
    return np.asarray(solved.reshape(n, n))
