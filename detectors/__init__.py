"""Pure anomaly detection: each file is one method as a small paper.

Only the tools that measure do IO or read a clock: `evaluate` (with `contenders`, `labelled`), `sensitivity`, `picture`,
`targets` and `systems`.
"""


def preload() -> None:
    """Import what the methods import at their first fit (2 s in all), so that no window waits for it.

    For a long-running worker, at its start; a command that never fits does without.
    """
    import ruptures
    import sklearn.ensemble
    import statsmodels.tsa.arima.model

    assert all((ruptures, sklearn.ensemble, statsmodels.tsa.arima.model))
