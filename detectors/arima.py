r"""ARIMA(p, d, q), one step ahead: the forecast error of the next window against what the errors usually are.

    φ(B) (1 - B)^d (x_t - μ) = θ(B) ε_t ,    anomalous when |x_t - x̂_t| > k · σ_t

statsmodels fits φ, θ, μ by maximum likelihood now and then; between the fits this file's own Kalman filter moves the
forecast on by one window at a time (O(1), some 15 µs), with the matrices and initial state that statsmodels uses, so
the forecasts are the same numbers (a test says to how many digits). A missing window is a step without a measurement:
the forecast goes on and its σ widens.

    σ_t = √F_t · s ,   s = 1.4826 · median |e_i| / √F_i  over the last `residuals_max` forecast errors e_i

F_t is the filter's own variance; the robust factor s corrects it where the likelihood was led by outliers, or where the
errors have changed since the fit. Nothing anomalous is learnt at full weight: the filter and the history take the
value moved to `x̂ ± winsor · σ` (Huber's ψ). After `accept_after` anomalous windows running on the same side the level
has changed for good; then values count in full and the next refit is brought forward.

Trade-off: 2 σ, a textbook's number, flags 5 to 7 % of the windows of clean noise and 11 % of the normal ones of real
services, whose errors have heavy tails. Measured on hourly production series (16 of the 49, 38 events): 2 σ, 3.5 σ and
5 σ all find 95 % of the events and flag 11.5 %, 4.4 % and 2.4 % of the normal windows; 6 σ finds 89 %. Hence `k` is
4.5 by default. Small orders only: on 30 to 180 windows more parameters do not forecast better, and a fit stays below
50 ms on a free core.
Until `fit_after` values are learnt, and whenever no fit converges, the forecast is that of simple exponential
smoothing, i.e. ARIMA(0,1,1) with a fixed θ: the robust choice for a level that wanders.

Box, Jenkins, Reinsel, *Time Series Analysis*, 4th ed. 2008, chapter 5; Durbin and Koopman, *Time Series Analysis by
State Space Methods*, 2nd ed. 2012, sections 3.4 and 4.3.

>>> a = Arima(ArimaParams())
>>> verdicts = [a.step(10.0 + (i % 3)) for i in range(40)]
>>> verdicts[4].ready, verdicts[39].ready, verdicts[39].anomalous, a.score(40.0).anomalous
(False, True, False, True)
"""

import math
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache

import msgspec
import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # has no type information

from detectors.base import ABSTAIN, Detector, Verdict, banded, finite
from detectors.kalman import DIFFUSE, Filter, Fit, Order, run_filter, typical_error
from detectors.robust import MAD_TO_SIGMA, median, sigma_robust

HISTORY_MAX = 480
ORDER_SUM_MAX = 6
ITERATIONS_MAX = 25


class ArimaParams(msgspec.Struct, frozen=True):
    """Counts are of windows, thresholds of σ; `sigma_min` is in the metric's own unit.

    k             the start of k(t), see `detectors/threshold.py`
    sigma_min     differences below k · sigma_min never matter: set it for a metric that rests on a constant
    """

    orders: tuple[Order, ...] = (Order(1, 0, 0), Order(0, 1, 1))
    k: float = 4.5
    winsor: float = 2.5
    ready_after: int = 20
    fit_after: int = 30
    refit_every: int = 120
    fit_points_max: int = 180
    residuals_max: int = 60
    accept_after: int = 12
    sigma_min: float = 0.0
    smoothing_theta: float = -0.7

    def __post_init__(self) -> None:
        if not self.orders or any(o.p + o.d + o.q > ORDER_SUM_MAX or min(o.p, o.d, o.q) < 0 for o in self.orders):
            raise ValueError(f"orders needs at least one (p, d, q) with p + d + q <= {ORDER_SUM_MAX}: {self.orders}")
        if not 0 < self.fit_points_max <= HISTORY_MAX:
            raise ValueError(f"fit_points_max must be in 1..{HISTORY_MAX}: {self.fit_points_max}")


class ArimaState(msgspec.Struct):
    """All there is to checkpoint; about 10 kB as JSON at most."""

    learned: int = 0
    history: list[float | None] = []
    residuals: list[float] = []
    fit: Fit | None = None
    level: list[float] = []  # the filter's predicted state a
    covariance: list[list[float]] = []  # and its covariance P
    run: int = 0  # anomalous windows running; negative: below the forecast
    fit_due: int = 0


class Arima(Detector[float | None, ArimaState]):
    """One-step forecast of one metric. Scale invariant (sigma_min = 0); shift invariant up to rounding."""

    kind = "value"

    def __init__(self, params: ArimaParams, state: ArimaState | None = None) -> None:
        self.params = params
        self.state = state or ArimaState()
        self._filter = Filter(self.state.fit) if self.state.fit else None

    def forecast(self) -> tuple[float, float] | None:
        """Expected value and robust σ of the next window; None before anything is known."""
        raw = self._raw_forecast()
        if raw is None or len(self.state.residuals) < 2:
            return None
        expected, sd = raw
        factor = MAD_TO_SIGMA * median([abs(r) for r in self.state.residuals])
        factor = max(
            factor, 0.5 * math.sqrt(math.fsum(r * r for r in self.state.residuals) / len(self.state.residuals))
        )
        return expected, max(sd * factor, self.params.sigma_min)

    def score(self, x: float | None) -> Verdict:
        value, known = finite(x), self.forecast()
        if value is None or known is None or self.state.learned < self.params.ready_after:
            return ABSTAIN
        return banded(value, *known, self.params.k)

    def learn(self, x: float | None) -> None:
        state, value = self.state, finite(x)
        if value is not None:
            value = self._winsorised(value)
            state.learned += 1
        if self._filter is None and value is not None:
            self._start_smoothing(value)
        elif self._filter is not None:
            self._advance(value)
        state.history.append(value)
        del state.history[: -self.params.fit_points_max]
        if value is not None:
            state.fit_due -= 1
            self._refit_when_due()

    def _raw_forecast(self) -> tuple[float, float] | None:
        if self._filter is None:
            return None
        fit = self._filter.fit
        mean, variance = self._filter.forecast(np.array(self.state.level), np.array(self.state.covariance))
        return fit.centre + fit.scale * mean, fit.scale * math.sqrt(max(variance, 0.0))

    def _winsorised(self, value: float) -> float:
        known = self.forecast()
        if known is None or self.state.learned < self.params.ready_after:
            return value
        (expected, sigma), state = known, self.state
        side = 0 if abs(value - expected) <= self.params.k * sigma else (1 if value > expected else -1)
        state.run = state.run + side if side and state.run * side >= 0 else side
        if abs(state.run) >= self.params.accept_after:
            state.fit_due = min(state.fit_due, self.params.accept_after)
            return value
        reach = self.params.winsor * sigma
        return min(max(value, expected - reach), expected + reach) if side else value

    def _start_smoothing(self, value: float) -> None:
        """From the first value on: exponential smoothing, in units that the first refit replaces."""
        self._install(
            Fit(
                order=Order(0, 1, 1),
                ar=(),
                ma=(self.params.smoothing_theta,),
                mean=0.0,
                variance=1.0,
                centre=value,
                scale=1.0,
            ),
            [value],
        )
        self.state.fit_due = self.params.fit_after

    def _advance(self, value: float | None) -> None:
        raw, f = self._raw_forecast(), self._filter
        assert raw is not None
        assert f is not None
        if value is not None:
            expected, sd = raw
            self.state.residuals.append((value - expected) / sd if sd > 0.0 else 0.0)
            del self.state.residuals[: -self.params.residuals_max]
        a, p = f.update(
            np.array(self.state.level), np.array(self.state.covariance), None if value is None else f.scaled(value)
        )
        self.state.level, self.state.covariance = a.tolist(), p.tolist()

    def _refit_when_due(self) -> None:
        if self.state.fit_due > 0:
            return
        self.state.fit_due = self.params.refit_every
        best = choose_fit(self.state.history, self.params)
        self._install(best, self.state.history)

    def _install(self, fit: Fit, history: Sequence[float | None]) -> None:
        """Run the new model over the history: its state, and its residuals, as if it had been there all along."""
        self.state.fit, self._filter = fit, Filter(fit)
        a, p, residuals = run_filter(self._filter, history)
        self.state.level, self.state.covariance = a.tolist(), p.tolist()
        self.state.residuals = residuals[-self.params.residuals_max :]


def choose_fit(history: Sequence[float | None], params: ArimaParams) -> Fit:
    """The candidate with the smallest typical one-step error over the history's second half; smoothing if none fits."""
    values = [x for x in history if x is not None]
    scale = sigma_robust(values) or max(abs(v) for v in values) or 1.0
    centre = median(values)
    smoothing = Fit(Order(0, 1, 1), (), (params.smoothing_theta,), 0.0, 1.0, centre, scale)
    fitted = (fit_order(history, order, centre, scale) for order in params.orders)
    candidates = [smoothing, *(fit for fit in fitted if fit is not None)]
    return min(candidates, key=lambda fit: typical_error(fit, history))


def fit_order(history: Sequence[float | None], order: Order, centre: float, scale: float) -> Fit | None:
    """Maximum likelihood by statsmodels on `(history - centre) / scale`; None when it fails or does not converge."""
    from statsmodels.tsa.arima.model import ARIMA  # 1.3 s to import, and only fits need it

    series = np.array([np.nan if x is None else (x - centre) / scale for x in history])
    series = np.clip(series, -DIFFUSE, DIFFUSE)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model = ARIMA(series, order=(order.p, order.d, order.q), trend="n" if order.d else "c")
            with one_thread():
                result = model.fit(cov_type="none", method_kwargs={"maxiter": ITERATIONS_MAX})
    except (ValueError, IndexError, np.linalg.LinAlgError):  # IndexError: a history that is nearly all gaps
        return None
    values = dict(zip(model.param_names, (float(v) for v in result.params), strict=True))
    fit = Fit(
        order=order,
        ar=tuple(values[f"ar.L{i + 1}"] for i in range(order.p)),
        ma=tuple(values[f"ma.L{i + 1}"] for i in range(order.q)),
        mean=values.get("const", 0.0),
        variance=values["sigma2"],
        centre=centre,
        scale=scale,
    )
    return fit if result.mle_retvals["converged"] and _usable(fit) else None


def one_thread() -> AbstractContextManager[object]:
    """Matrices of four rows: BLAS threads that wait for each other made a fit on two busy cores ten times slower."""
    limited: AbstractContextManager[object] = _thread_pools().limit(limits=1, user_api="blas")
    return limited


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # finds the loaded libraries, a few ms; statsmodels has loaded them all by now


def _usable(fit: Fit) -> bool:
    """Finite, and not on the edge of stationarity or invertibility, where the likelihood deceives."""
    numbers = (*fit.ar, *fit.ma, fit.mean, fit.variance)
    edge = any(abs(root) > 0.995 for root in (*_inverse_roots(fit.ar), *_inverse_roots([-m for m in fit.ma])))
    return all(math.isfinite(v) for v in numbers) and fit.variance > 0.0 and not edge


def _inverse_roots(coefficients: Sequence[float]) -> list[complex]:
    return [complex(r) for r in np.roots([1.0, *(-c for c in coefficients)])] if coefficients else []
