r"""One-step forecasts of many small ARIMA models at once: the Kalman filter, one window of all series in one call.

    (1 - φB)(1 - B) x_t = (1 + θB) ε_t ,   ε_t ~ N(0, σ²)                     ARIMA(1,1,1); (0,1,1) is φ = 0

    state    a = (level, ARMA part y, θ ε)         Z = (1, 1, 0) ,   R = (0, 1, θ)'
    filter   v = x - Z a ,   F = Z P Z' ,   K = P Z' / F ,   a⁺ = T (a + K v) ,   P⁺ = T (P - K Z P) T' + R R' σ²

        ⎛ 1 1 0 ⎞
    T = ⎜ 0 φ 1 ⎟        written out number by number: three means, five covariances that are not always zero
        ⎝ 0 0 0 ⎠

Layout and start (level diffuse, ARMA part stationary) are those of statsmodels, so the forecasts are the same numbers,
missing values included (tests/detectors/test_arima.py says to how many digits). There are only +, -, · and / here: the
same lines serve floats and arrays, and a series gets the very same bits whether it is filtered alone or with a thousand
others, which is what lets a stage filter all that is in a batch at once. About 0.15 µs a series and step among a
thousand, 3 µs alone as floats; statsmodels' `append` takes milliseconds.

Why d = 1 always: the level of a live metric wanders, and a model with a fixed mean, refitted once a day, calls
everything after a change of level wrong until then. θ close to -1 is as good as a fixed mean.

Durbin and Koopman, *Time Series Analysis by State Space Methods*, 2nd ed. 2012, sections 3.4 and 4.3; Harvey,
*Forecasting, Structural Time Series Models and the Kalman Filter*, 1989, section 4.1.

>>> walk = Model(phi=0.0, theta=0.0, variance=1.0)
>>> belief = start(walk)
>>> for x, seen in ((1.0, 1.0), (2.0, 1.0), (0.0, 0.0), (4.0, 1.0)): belief = update(walk, belief, x, seen)
>>> mean, variance = forecast(belief)
>>> round(mean, 3), round(variance, 3)
(4.0, 1.0)
"""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
X = TypeVar("X", float, Array)

DIFFUSE = 1e6  # variance of a level that nothing is known about; statsmodels' own number


class Model(NamedTuple):
    """φ, θ and the innovations' variance: floats of one series, or arrays of one number a series."""

    phi: float | Array
    theta: float | Array
    variance: float | Array


class Belief(NamedTuple):
    """What the filter expects of the next window: means of the three states, and the covariances that are not 0."""

    level: float | Array
    arma: float | Array
    echo: float | Array  # θ ε
    p00: float | Array
    p01: float | Array
    p02: float | Array
    p11: float | Array
    p12: float | Array
    p22: float | Array


def start(model: Model) -> Belief:
    """Before the first value: nothing known of the level, the ARMA part as it is in the long run."""
    phi, theta, variance = model
    nothing = variance * 0.0
    stationary = variance * (1.0 + 2.0 * phi * theta + theta * theta) / (1.0 - phi * phi)
    echo = theta * variance
    return Belief(nothing, nothing, nothing, nothing + DIFFUSE, nothing, nothing, stationary, echo, theta * echo)


def forecast(belief: Belief) -> tuple[float | Array, float | Array]:
    """Mean and variance of the next value; the variance is never below the innovations'."""
    return belief.level + belief.arma, belief.p00 + 2.0 * belief.p01 + belief.p11


def update(model: Model, belief: Belief, x: float | Array, seen: float | Array) -> Belief:
    """What is expected of the window after the one that `x` belongs to.

    x     values, any finite number where missing
    seen  1.0, or 0.0 where the value is missing: then the forecast goes on and widens
    """
    phi, theta, variance = model
    level, arma, echo, p00, p01, p02, p11, p12, p22 = belief
    g0, g1, g2 = p00 + p01, p01 + p11, p02 + p12  # P Z'
    weight = seen / (g0 + g1)
    step = weight * (x - (level + arma))
    level, arma, echo = level + g0 * step, arma + g1 * step, echo + g2 * step
    p00, p01, p11 = p00 - weight * g0 * g0, p01 - weight * g0 * g1, p11 - weight * g1 * g1
    p02, p12, p22 = p02 - weight * g0 * g2, p12 - weight * g1 * g2, p22 - weight * g2 * g2
    u01, u02, u11, u12 = p01 + p11, p02 + p12, phi * p11 + p12, phi * p12 + p22  # T P
    shock = theta * variance
    return Belief(
        level + arma,
        phi * arma + echo,
        echo * 0.0,
        p00 + 2.0 * p01 + p11,
        phi * u01 + u02,
        echo * 0.0,
        phi * u11 + u12 + variance,
        shock + echo * 0.0,
        theta * shock,
    )
