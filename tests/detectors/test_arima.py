import math
import random
import warnings

import numpy as np
import pytest
from statsmodels.tsa.arima.model import ARIMA

from detectors.arima import Arima, ArimaParams, choose_fit, fit_order
from detectors.kalman import Filter, Fit, Order, run_filter

ORDERS = [
    Order(1, 0, 0),
    Order(0, 1, 1),
    Order(1, 0, 1),
    Order(2, 0, 1),
    Order(2, 1, 2),
    Order(0, 2, 1),
    Order(0, 0, 0),
]


def autoregressive(n: int, phi: float = 0.6, seed: int = 3) -> list[float]:
    rng, values, x = random.Random(seed), [], 0.0
    for _ in range(n):
        x = phi * x + rng.gauss(0.0, 1.0)
        values.append(50.0 + 4.0 * x)
    return values


def coefficients(order: Order) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (0.5, -0.2, 0.1)[: order.p], (0.4, 0.15, 0.1)[: order.q]


@pytest.mark.parametrize("order", ORDERS, ids=lambda o: f"{o.p}{o.d}{o.q}")
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
def test_one_step_forecasts_equal_those_of_statsmodels(order: Order, gaps: bool) -> None:
    values = autoregressive(150)
    missing = {5, 40, 41, 42, 99} if gaps else set()
    series = np.array([math.nan if i in missing else v for i, v in enumerate(values)])
    ar, ma = coefficients(order)
    model = ARIMA(series, order=(order.p, order.d, order.q), trend="n" if order.d else "c")
    theirs = model.smooth([*([] if order.d else [48.0]), *ar, *ma, 9.0]).get_prediction(0, 150)
    f = Filter(Fit(order, ar, ma, 0.0 if order.d else 48.0, 9.0, centre=0.0, scale=1.0))
    a, p = f.start()
    for i, value in enumerate(series):
        mean, variance = f.forecast(a, p)
        assert mean == pytest.approx(theirs.predicted_mean[i], rel=1e-7, abs=1e-7)
        assert variance == pytest.approx(theirs.var_pred_mean[i], rel=1e-7)
        a, p = f.update(a, p, None if math.isnan(value) else float(value))
    assert f.forecast(a, p)[0] == pytest.approx(theirs.predicted_mean[150], rel=1e-7)


def test_fit_recovers_the_coefficient() -> None:
    fit = fit_order(autoregressive(180, phi=0.7), Order(1, 0, 0), 50.0, 4.0)
    assert fit is not None
    assert fit.ar[0] == pytest.approx(0.7, abs=0.12)
    assert fit.variance == pytest.approx(1.0, abs=0.25)


def test_the_better_order_is_chosen() -> None:
    rng, walk = random.Random(4), [100.0]
    for _ in range(170):
        walk.append(walk[-1] + rng.gauss(0.0, 1.0))
    assert choose_fit(walk, ArimaParams()).order.d == 1
    assert choose_fit(autoregressive(180, phi=0.2), ArimaParams()).order == Order(1, 0, 0)


@pytest.mark.parametrize("history", [[3.0] * 40, [0.0] * 40, [1.0, None] * 20, [0.0] * 39 + [1e200]])
def test_smoothing_takes_over_where_nothing_can_be_fitted(history: list[float | None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = choose_fit(history, ArimaParams())
    _, _, residuals = run_filter(Filter(fit), history)
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
        ArimaParams(orders=(Order(5, 1, 5),))
    with pytest.raises(ValueError, match="fit_points_max"):
        ArimaParams(fit_points_max=0)
