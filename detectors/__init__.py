"""Pure anomaly detection: each file is one method as a small paper; only `evaluate`, `targets` and `systems` do IO."""


def preload() -> None:
    """Import what the methods import at their first fit (2 s in all), so that no window waits for it.

    For a long-running worker, at its start; a command that never fits does without.
    """
    import ruptures
    import sklearn.ensemble
    import statsmodels.tsa.arima.model

    assert all((ruptures, sklearn.ensemble, statsmodels.tsa.arima.model))
