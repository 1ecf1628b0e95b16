"""What of a run over windows is kept for scoring and the report, with limits that are named and told of."""

from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.judging.metrics import MEASURES
from replay.collect import RECORDS_MAX
from topics.records import Alert, Judged, MetricWindow, Slice
from topics.traffic import Request

MODELS_MAX = 1_000
WINDOWS_MAX = 2_000_000  # of all models: four weeks of fifty
ANOMALIES_MAX = 1_000_000
USERS_MAX = 64  # organisations, regions, … remembered of a model's window

NAN = float("nan")


class Anomalous(NamedTuple):
    """One detector's finding: when its window began and ended, in which model and metric."""

    start_us: int
    end_us: int
    model: str
    metric: str
    detector: str


class ModelWindows:
    """A model's windows in order: per metric the value, what was expected, and the band."""

    def __init__(self) -> None:
        self.starts_us = array("q")
        self.ends_us = array("q")
        self.columns = {measure.metric: [array("d") for _ in range(4)] for measure in MEASURES}
        self.users: list[frozenset[str]] = []

    def add(self, judged: Judged) -> None:
        window = judged.window
        self.starts_us.append(window.start_us)
        self.ends_us.append(window.end_us)
        forecasts = {forecast.metric: forecast for forecast in judged.forecasts}
        for measure in MEASURES:
            value = measure.read(window)
            forecast = forecasts.get(measure.metric)
            band = (forecast.expected, forecast.low, forecast.high) if forecast else (NAN, NAN, NAN)
            for column, cell in zip(
                self.columns[measure.metric], (NAN if value is None else value, *band), strict=True
            ):
                column.append(cell)
        names = [user.organisation for user in window.top_organisations] + [part.value for part in window.parts]
        self.users.append(frozenset(names[:USERS_MAX]))


class Watched:
    """Sees what detection passes on (`judged`) and what is published (`sink`)."""

    def __init__(self) -> None:
        self.models: dict[str, ModelWindows] = {}
        self.alerts: dict[str, Alert] = {}
        self.anomalies: list[Anomalous] = []
        self.revisions = 0
        self.windows = 0
        self.dropped: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()
        self.last_request_us: int | None = None  # of the recording, where that is known

    def judged(self, judged: Judged) -> None:
        """Take one window with its forecasts and findings."""
        model = self.models.get(judged.window.model)
        if self.windows >= WINDOWS_MAX or (model is None and len(self.models) >= MODELS_MAX):
            self.dropped["windows"] += 1
            return
        if model is None:
            model = self.models[judged.window.model] = ModelWindows()
        self.windows += 1
        model.add(judged)
        window = judged.window
        for one in judged.anomalies:
            if len(self.anomalies) >= ANOMALIES_MAX:
                self.dropped["findings"] += 1
            else:
                self.anomalies.append(Anomalous(window.start_us, window.end_us, window.model, one.metric, one.detector))

    def sink(self, alias: str, key: str, value: Any) -> None:
        """Take one published record."""
        if alias == "alerts":
            if value.id in self.alerts or len(self.alerts) < RECORDS_MAX:
                self.alerts[value.id] = value
            else:
                self.dropped["alerts"] += 1
        elif alias == "dead-letters":
            self.dead[value.reason] += 1

    def last_of_requests(self, events: Iterator[Any]) -> Iterator[Any]:
        """Traffic or slices as they are, while the time of the last request is noted."""
        for event in events:
            kind = type(event)
            if kind is Request or kind is Slice:
                last_us = event.time_us if kind is Request else event.last_request_us
                self.last_request_us = max(last_us, self.last_request_us or 0)
            yield event

    def within(self) -> dict[str, Alert]:
        """The alerts, but for those that open after the last request: that a recording ends is no incident."""
        if self.last_request_us is None:
            return self.alerts
        after = {
            alert.alert
            for alert in self.alerts.values()
            if alert.status == "open" and alert.time_us > self.last_request_us
        }
        return {id_: alert for id_, alert in self.alerts.items() if alert.alert not in after}

    def first_of_each(self, windows: Iterator[MetricWindow]) -> Iterator[MetricWindow]:
        """The windows that detection judges live: the first publication of each."""
        for window in windows:
            if window.revision == 0:
                yield window
            else:
                self.revisions += 1

    def notes(self, path: Path) -> list[str]:
        """What a reader should know of this run."""
        notes = [f"left out: {count:,} {what} of {path} beyond the limits" for what, count in self.dropped.items()]
        if self.revisions:
            notes.append(f"{self.revisions:,} corrections of windows in {path}: detection judges a window once")
        if after := len({alert.alert for alert in self.alerts.values()} - {a.alert for a in self.within().values()}):
            notes.append(f"{after:,} alerts of {path} open after its last request and are left out")
        notes += [f"{count:,} dead letters of {path}: {reason}" for reason, count in self.dead.most_common(3)]
        return notes
