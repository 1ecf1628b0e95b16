"""The naive recipe that the table has beside ours: 2 σ around an ARIMA forecast, an Isolation Forest over 0.6, both, in
three windows in a row. Its alert ends as ours does, after five quiet windows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from detectors.arima import Arima, ArimaParams
from detectors.isolation_forest import ForestParams, IsolationForest
from pipeline.judging.metrics import COMBINED_OF, MEASURES, scaled
from replay.scenarios.judging import Opened
from topics.records import MetricWindow

SIGMAS, FOREST, IN_A_ROW, QUIET = 2.0, 0.6, 3, 5


@dataclass
class Naive:
    """Of one model. `windows` in order, once each."""

    either: bool = False
    """Whether one of the two is enough."""
    _forecasts: dict[str, Arima] = field(
        default_factory=lambda: {measure.metric: Arima(ArimaParams(k=SIGMAS)) for measure in MEASURES}
    )
    _forest: IsolationForest = field(default_factory=lambda: IsolationForest(ForestParams(seed=1)))
    _run: int = 0
    _quiet: int = 0
    _open: bool = False

    def step(self, window: MetricWindow) -> Opened | None:
        """Judge a window, then learn it; the alert that it opens, if any."""
        values = {measure.metric: scaled(measure.metric, measure.read(window)) for measure in MEASURES}
        outside = any(self._forecasts[metric].step(value).anomalous for metric, value in values.items())
        rare = self._forest.step([values[metric] for metric in COMBINED_OF]).score > FOREST
        flagged = outside or rare if self.either else outside and rare
        self._run = self._run + 1 if flagged else 0
        self._quiet = 0 if flagged else self._quiet + 1
        if self._open:
            self._open = self._quiet < QUIET
            return None
        self._open = self._run >= IN_A_ROW
        return Opened(window.model, "naive", window.end_us) if self._open else None


def opened(windows: Sequence[MetricWindow], either: bool = False) -> list[Opened]:
    """The alerts over the windows of any models."""
    by_model: dict[str, Naive] = {}
    alerts = (by_model.setdefault(window.model, Naive(either)).step(window) for window in windows)
    return [alert for alert in alerts if alert is not None]
