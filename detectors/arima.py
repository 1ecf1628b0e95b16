r"""ARIMA(p,1,q), one step ahead: the forecast error of the next window against what the errors usually are.

    (1 - φB)(1 - B) x_t = (1 + θB) ε_t ,    anomalous when |x_t - x̂_t| > k · σ_t

statsmodels fits φ and θ by maximum likelihood now and then; between the fits the Kalman filter of `detectors/kalman.py`
moves the forecasts on by one window at a time, those of all series in one call (`Bank`). A missing window is a step
without a measurement: the forecast goes on and its σ widens.

    σ_t = √F_t · s · g ,   s = the larger of 1.4826 · median |r_i| and half their root mean square,
                           r_i = e_i / (√F_i · g_i) over the last `residuals_max` forecast errors e_i

F_t is the filter's own variance; the robust factor s corrects it where the likelihood was led by outliers, or where the
errors have changed since the fit. g is how noisy this hour of the day usually is (`detectors/seasonal.py`), 1 where
nothing is known of it. Nothing anomalous is learnt at full weight: the filter takes the value moved to `x̂ ± winsor · σ`
(Huber's ψ). After `accept_after` anomalous windows running on the same side the level has changed for good; then values
count in full and the next refit is brought forward.

Trade-off: 2 σ, a textbook's number, flags 5 to 7 % of the windows of clean noise and 11 % of the normal ones of real
services, whose errors have heavy tails; hence `k` is 4.5 by default. Small orders only: on some hours of windows more
parameters do not forecast better (`detectors/arima_fit.py`). Exponential smoothing, i.e. φ = 0 with a fixed θ, stands
in before `fit_after` values are learnt and wherever it forecasts better.

Box, Jenkins, Reinsel, *Time Series Analysis*, 4th ed. 2008, chapters 5 and 7; Durbin and Koopman, *Time Series Analysis
by State Space Methods*, 2nd ed. 2012, sections 3.4 and 4.3.

>>> a = Arima(ArimaParams())
>>> verdicts = [a.step(10.0 + (i % 3)) for i in range(40)]
>>> verdicts[4].ready, verdicts[39].ready, verdicts[39].anomalous, a.score(40.0).anomalous
(False, True, False, True)
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.arima_fit import Fit, Order, choose_fit, smoothing_fit
from detectors.base import ABSTAIN, Detector, Verdict, banded, finite
from detectors.kalman import Belief, Model, forecast, start, update
from detectors.robust import MAD_TO_SIGMA
from detectors.rows import Array, counts_of, median_sorted

HISTORY_MAX = 1440


class ArimaParams(msgspec.Struct, frozen=True):
    """Counts are of windows, thresholds of σ; `sigma_min` is in the metric's own unit.

    k             the start of k(t), see `detectors/threshold.py`
    sigma_min     differences below k · sigma_min never matter: set it for a metric that rests on a constant
    """

    orders: tuple[Order, ...] = (Order(0, 1, 1), Order(1, 1, 1))
    k: float = 4.5
    winsor: float = 2.5
    ready_after: int = 20
    fit_after: int = 30
    refit_every: int = 1440
    fit_points_max: int = 240
    residuals_max: int = 60
    accept_after: int = 12
    sigma_min: float = 0.0
    smoothing_theta: float = -0.7

    def __post_init__(self) -> None:
        if not self.orders or any(o.d != 1 or not 0 <= o.p <= 1 or not 0 <= o.q <= 1 for o in self.orders):
            raise ValueError(f"orders needs at least one (p, 1, q) with p and q at most 1: {self.orders}")
        if not 0 < self.fit_points_max <= HISTORY_MAX:
            raise ValueError(f"fit_points_max must be in 1..{HISTORY_MAX}: {self.fit_points_max}")


class ArimaState(msgspec.Struct):
    """All there is to checkpoint of one series' forecast, some 700 bytes; the history that fits need is kept by others.

    belief     the filter's nine numbers (`detectors.kalman.Belief`), none before the first value
    residuals  the last `residuals_max` as packed float64, NaN before there are as many
    run        anomalous windows running; negative: below the forecast
    """

    learned: int = 0
    fit: Fit | None = None
    belief: tuple[float, ...] = ()
    residuals: bytes = b""
    run: int = 0
    fit_due: int = 0


class Bank:
    """Many series' forecasts as arrays, one number a series. `store` writes back what `learn` changed.

    `k` and `noise` (how noisy the hour usually is, 1.0: as always) are one number a series.
    """

    def __init__(self, states: Sequence[ArimaState], params: ArimaParams, k: Array, noise: Array) -> None:
        self.states, self.params, self.k, self.noise = states, params, k, noise
        fits = [s.fit or smoothing_fit(params.smoothing_theta, math.nan) for s in states]
        unknown = (math.nan,) * len(Belief._fields)
        self.model = Model(*_columns([(f.phi, f.theta, f.variance) for f in fits]))
        self.centre, self.scale = _columns([(f.centre, f.scale) for f in fits])
        self.belief = Belief(*_columns([s.belief or unknown for s in states]))
        self.residuals = _unpacked([s.residuals for s in states], params.residuals_max)
        self.learned, self.run, self.fit_due = _columns([(s.learned, s.run, s.fit_due) for s in states])
        self.error = np.full(len(states), math.nan)  # of the window learnt, after winsorising
        self._look()

    def _look(self) -> None:
        """`expected` and `sigma` of the next window, NaN before anything is known; `ready` to be judged."""
        mean, variance = forecast(self.belief)
        self.deviation = self.scale * np.sqrt(variance) * self.noise
        counts = counts_of(self.residuals)
        typical = MAD_TO_SIGMA * median_sorted(np.sort(np.abs(self.residuals), axis=1), counts)
        known = np.where(self.residuals == self.residuals, self.residuals, 0.0)
        wild = 0.5 * np.sqrt((known * known).sum(axis=1) / np.maximum(counts, 1))
        self.sigma = np.maximum(self.deviation * np.maximum(typical, wild), self.params.sigma_min)
        self.expected = self.centre + self.scale * mean
        self.ready = (counts >= 2) & (self.learned >= self.params.ready_after)

    def beyond(self, x: Array) -> NDArray[np.bool_]:
        """Whether each value (NaN: missing) is further than k · σ from its forecast; False before warm-up is over."""
        return np.asarray(self.ready & (np.abs(x - self.expected) > self.k * self.sigma))

    def learn(self, x: Array) -> list[int]:
        """Take the next window in (NaN: missing); the series whose refit is due now. Once, then `store`."""
        beyond, seen = self.beyond(x), x == x
        used = self._winsorised(x, beyond)
        fresh = seen & (self.centre != self.centre)
        self.centre = np.where(fresh, x, self.centre)
        self.belief = _chosen(fresh, start(self.model), self.belief)
        self.error = np.where(seen & ~fresh, used - self.expected, np.nan)
        standard = np.where(self.deviation > 0.0, self.error / self.deviation, 0.0)
        shifted = np.concatenate([self.residuals[:, 1:], standard[:, None]], axis=1)
        self.residuals = np.where((seen & ~fresh)[:, None], shifted, self.residuals)
        scaled = np.where(seen, (used - self.centre) / self.scale, 0.0)
        self.belief = update(self.model, self.belief, scaled, seen.astype(np.float64))
        self.learned = self.learned + seen
        self.fit_due = self.fit_due - seen
        return [int(i) for i in np.flatnonzero(seen & (self.fit_due <= 0))]

    def _winsorised(self, x: Array, beyond: NDArray[np.bool_]) -> Array:
        judged = self.ready & (x == x)
        side = np.where(beyond, np.where(x > self.expected, 1.0, -1.0), 0.0)
        longer = np.where((side != 0.0) & (self.run * side >= 0.0), self.run + side, side)
        self.run = np.where(judged, longer, self.run)
        accepted = np.abs(self.run) >= self.params.accept_after
        self.fit_due = np.where(judged & accepted, np.minimum(self.fit_due, self.params.accept_after), self.fit_due)
        reach = self.params.winsor * self.sigma
        near = np.minimum(np.maximum(x, self.expected - reach), self.expected + reach)
        return np.where(beyond & ~accepted, near, x)

    def store(self) -> None:
        """Back into the states that the bank was made of."""
        beliefs = np.stack(self.belief, axis=1).tolist()
        starts = np.isnan(self.centre).tolist()
        counts = np.stack([self.learned, self.run, self.fit_due], axis=1).astype(np.int64).tolist()
        for i, (state, (learned, run, fit_due)) in enumerate(zip(self.states, counts, strict=True)):
            if starts[i]:
                continue
            state.fit = state.fit or smoothing_fit(self.params.smoothing_theta, float(self.centre[i]))
            state.belief, state.residuals = tuple(beliefs[i]), self.residuals[i].tobytes()
            state.learned, state.run, state.fit_due = learned, run, fit_due


class History(msgspec.Struct):
    """What `Arima` checkpoints: one series' forecast, and the values that the next fit is made of."""

    arima: ArimaState = msgspec.field(default_factory=ArimaState)
    values: list[float | None] = []


class Arima(Detector[float | None, History]):
    """One-step forecast of one metric. Scale invariant (sigma_min = 0); shift invariant up to rounding."""

    kind = "value"

    def __init__(self, params: ArimaParams, state: History | None = None) -> None:
        self.params = params
        self.state = state or History(ArimaState(fit_due=params.fit_after))

    def forecast(self) -> tuple[float, float] | None:
        """Expected value and robust σ of the next window; None before anything is known."""
        bank = self._bank()
        expected, sigma = float(bank.expected[0]), float(bank.sigma[0])
        return (expected, sigma) if math.isfinite(sigma) else None

    def score(self, x: float | None) -> Verdict:
        value, bank = finite(x), self._bank()
        if value is None or not bank.ready[0]:
            return ABSTAIN
        return banded(value, float(bank.expected[0]), float(bank.sigma[0]), self.params.k)

    def learn(self, x: float | None) -> None:
        state, value, bank = self.state, finite(x), self._bank()
        due = bank.learn(np.array([math.nan if value is None else value]))
        bank.store()
        state.values.append(value)
        del state.values[: -self.params.fit_points_max]
        if due:
            refit(state.arima, state.values, self.params)

    def _bank(self) -> Bank:
        return Bank([self.state.arima], self.params, np.array([self.params.k]), np.ones(1))


def refit(state: ArimaState, history: Sequence[float | None], params: ArimaParams) -> None:
    """Fit anew and go on as if the new model had been there all along: its belief and residuals are those of `history`.

    history  the last values, oldest first, None where missing, the newest included
    """
    fit = choose_fit(history, params.orders, params.smoothing_theta)
    state.fit, state.fit_due = fit, params.refit_every
    belief, residuals = run_filter(fit, history)
    state.belief = tuple(float(number) for number in belief)
    newest = residuals[-params.residuals_max :]
    state.residuals = np.array([math.nan] * (params.residuals_max - len(newest)) + newest).tobytes()


def run_filter(fit: Fit, history: Sequence[float | None]) -> tuple[Belief, list[float]]:
    """Belief after `history`, and the standardised one-step errors (those of the first two values say nothing)."""
    model, residuals, seen = fit.model, list[float](), 0
    belief = start(model)
    for x in history:
        value = 0.0 if x is None else (x - fit.centre) / fit.scale
        if x is not None:
            mean, variance = forecast(belief)
            if seen > 1:
                residuals.append(float((value - mean) / math.sqrt(variance)))
            seen += 1
        belief = update(model, belief, value, 0.0 if x is None else 1.0)
    return belief, residuals


def _columns(rows: Sequence[Sequence[float]]) -> list[Array]:
    """Rows of numbers as one contiguous array a column."""
    return list(np.ascontiguousarray(np.array(rows, dtype=np.float64).T))


def _unpacked(packed: Sequence[bytes], size: int) -> Array:
    """Rows of `size` numbers; NaN where nothing is packed yet. One packed with another size keeps its newest."""
    nothing = np.full(size, math.nan).tobytes()
    whole = [p if len(p) == 8 * size else (nothing + p)[-8 * size :] for p in packed]
    return np.frombuffer(b"".join(whole)).reshape(-1, size)


def _chosen(mask: NDArray[np.bool_], one: Belief, other: Belief) -> Belief:
    return Belief(*(np.where(mask, a, b) for a, b in zip(one, other, strict=True)))
