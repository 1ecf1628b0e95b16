import math
import random
import warnings
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from statsmodels.tsa.arima.model import ARIMA

from detectors.arima import Arima, ArimaParams, ArimaState, Bank, refit, run_filter
from detectors.arima_fit import Fit, Order, choose_fit
from detectors.kalman import Belief, Model, forecast, start, update

MODELS = {(1, 1, 1): (0.5, -0.8), (0, 1, 1): (0.0, -0.7), (1, 1, 0): (0.4, 0.0), (0, 1, 0): (0.0, 0.0)}


def autoregressive(n: int, phi: float = 0.6, seed: int = 3) -> list[float]:
    rng, values, x = random.Random(seed), [], 0.0
    for _ in range(n):
        x = phi * x + rng.gauss(0.0, 1.0)
        values.append(50.0 + 4.0 * x)
    return values


def chosen(history: Sequence[float | None], *orders: Order) -> Fit:
    return choose_fit(history, orders or ArimaParams().orders, ArimaParams().smoothing_theta)


@pytest.mark.parametrize("order", MODELS, ids=str)
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
def test_one_step_forecasts_equal_those_of_statsmodels(order: tuple[int, int, int], gaps: bool) -> None:
    """To nine digits: both filters start from the same numbers and differ by rounding only."""
    values = autoregressive(150)
    missing = {5, 40, 41, 42, 99} if gaps else set()
    series = np.array([math.nan if i in missing else v for i, v in enumerate(values)])
    phi, theta = MODELS[order]
    given = [c for c, used in ((phi, order[0]), (theta, order[2])) if used]
    theirs = ARIMA(series, order=order, trend="n").smooth([*given, 9.0]).get_prediction(0, 150)
    model = Model(phi, theta, 9.0)
    belief = start(model)
    for i, value in enumerate(series):
        mean, variance = forecast(belief)
        assert mean == pytest.approx(theirs.predicted_mean[i], rel=1e-9, abs=1e-8)
        assert variance == pytest.approx(theirs.var_pred_mean[i], rel=2e-9)
        seen = value == value
        belief = update(model, belief, float(value) if seen else 0.0, float(seen))
    assert forecast(belief)[0] == pytest.approx(theirs.predicted_mean[150], rel=1e-9)


def test_many_series_at_once_get_the_very_bits_that_each_gets_alone() -> None:
    rng = np.random.default_rng(1)
    n = 37
    phi, theta, variance = rng.uniform(-0.9, 0.9, n), rng.uniform(-0.95, 0.5, n), rng.uniform(0.1, 9.0, n)
    together = start(Model(phi, theta, variance))
    alone = [start(Model(*(float(v[i]) for v in (phi, theta, variance)))) for i in range(n)]
    for _ in range(60):
        values, seen = rng.normal(10, 3, n), (rng.random(n) > 0.1).astype(float)
        together = update(Model(phi, theta, variance), together, values, seen)
        for i in range(n):
            model = Model(*(float(v[i]) for v in (phi, theta, variance)))
            alone[i] = update(model, alone[i], float(values[i]), float(seen[i]))
    assert together == Belief(*(pytest.approx(np.array(column), rel=0, abs=0) for column in zip(*alone, strict=True)))


def test_a_bank_of_many_equals_banks_of_one() -> None:
    """Forecasts, σ, winsorising and residuals, too: a stage may judge together what happens to be in one batch."""
    rng, params = np.random.default_rng(2), ArimaParams(fit_after=10**6)
    many, lone = ([ArimaState() for _ in range(23)] for _ in range(2))
    for window in range(90):
        values = rng.normal(5, 1, 23) + 30.0 * (rng.random(23) < 0.05)
        values[rng.random(23) < 0.1] = np.nan
        noise = np.full(23, 1.0 + window % 3)
        bank = Bank(many, params, np.full(23, 4.0), noise)
        bank.learn(values)
        bank.store()
        for i, state in enumerate(lone):
            single = Bank([state], params, np.full(1, 4.0), noise[:1])
            single.learn(values[i : i + 1])
            single.store()
    assert msgspec.msgpack.encode(many) == msgspec.msgpack.encode(lone)


def test_fit_recovers_the_coefficients() -> None:
    rng, series, last = random.Random(5), [0.0], 0.0
    for _ in range(239):
        shock = rng.gauss(0.0, 1.0)
        series.append(series[-1] + shock - 0.6 * last)
        last = shock
    fit = chosen(series, Order(0, 1, 1))
    assert fit.phi == 0.0
    assert fit.theta == pytest.approx(-0.6, abs=0.1)
    assert fit.scale * math.sqrt(fit.variance) == pytest.approx(1.0, abs=0.1)


def test_the_better_order_is_chosen() -> None:
    rng, walk = random.Random(4), [100.0]
    for _ in range(170):
        walk.append(walk[-1] + rng.gauss(0.0, 1.0))
    assert abs(chosen(walk).theta) < 0.35
    assert chosen(autoregressive(240, phi=0.6)).phi > 0.3


def test_a_refit_goes_on_as_if_the_model_had_been_there_all_along() -> None:
    values, params = autoregressive(200), ArimaParams()
    state = ArimaState()
    refit(state, values, params)
    assert state.fit is not None
    belief, residuals = run_filter(state.fit, values)
    assert state.belief == pytest.approx(tuple(belief))
    assert np.frombuffer(state.residuals) == pytest.approx(np.array(residuals[-60:]))


@pytest.mark.parametrize("history", [[3.0] * 40, [0.0] * 40, [1.0, None] * 20, [0.0] * 39 + [1e200]])
def test_smoothing_takes_over_where_nothing_can_be_fitted(history: list[float | None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = chosen(history)
    _, residuals = run_filter(fit, history)
    assert all(math.isfinite(r) for r in residuals)


def test_a_spike_does_not_bend_the_forecast() -> None:
    detector, spiked = Arima(ArimaParams()), Arima(ArimaParams())
    for value in autoregressive(100):
        detector.learn(value)
        spiked.learn(value)
    detector.learn(50.0)
    spiked.learn(1e9)
    plain, bent = detector.forecast(), spiked.forecast()
    assert plain is not None
    assert bent is not None
    assert abs(bent[0] - plain[0]) < 4.0 * plain[1]


def test_a_lasting_shift_is_accepted() -> None:
    detector, values = Arima(ArimaParams()), autoregressive(300)
    for value in values[:150]:
        detector.step(value)
    verdicts = [detector.step(value + 200.0) for value in values[150:]]
    assert all(v.anomalous for v in verdicts[:10])
    assert not any(v.anomalous for v in verdicts[60:])


def test_the_band_is_k_sigma_wide_and_score_is_half_on_its_rim() -> None:
    detector = Arima(ArimaParams(k=2.0))
    for value in autoregressive(80):
        detector.learn(value)
    verdict = detector.score(0.0)
    assert verdict.high is not None
    assert verdict.expected is not None
    assert detector.score(verdict.high).score == pytest.approx(0.5)
    assert detector.score(verdict.high).sigmas == pytest.approx(2.0)


def test_small_differences_of_a_constant_metric_do_not_matter_below_sigma_min() -> None:
    careful, strict = Arima(ArimaParams(sigma_min=0.01)), Arima(ArimaParams())
    for _ in range(60):
        careful.learn(0.0)
        strict.learn(0.0)
    assert not careful.score(0.02).anomalous
    assert strict.score(0.02).anomalous


def test_scores_do_not_depend_on_unit_or_offset() -> None:
    plain, other = Arima(ArimaParams()), Arima(ArimaParams())
    for value in autoregressive(200):
        a, b = plain.step(value), other.step(1000.0 * value - 7000.0)
        assert b.score == pytest.approx(a.score, abs=0.02)


def test_impossible_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="orders needs at least one"):
        ArimaParams(orders=(Order(2, 1, 1),))
    with pytest.raises(ValueError, match="fit_points_max"):
        ArimaParams(fit_points_max=0)
