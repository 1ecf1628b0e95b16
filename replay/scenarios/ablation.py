"""What would be lost by leaving each detector of the live flow out.

Detection judges once; alerting then weighs its findings again and again, each time without those of one detector. What
a detector's findings taught detection itself (windows that are not learnt) stays as it was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from msgspec.structs import replace

from pipeline.settings import Settings
from replay.offline import Offline
from replay.scenarios.judging import Verdict
from replay.scenarios.running import Weighed, by_scenario, of_several
from replay.scenarios.world import Scenario
from topics.links import Sudden
from topics.records import Alert, Judged

LEFT_OUT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "arima": frozenset({"arima"}),
        "cusum": frozenset({"cusum"}),
        "counts, accumulated": frozenset({"counts", "accumulated"}),
        "limit": frozenset({"limit"}),
        "isolation_forest": frozenset({"isolation_forest"}),
        "organisation, share": frozenset({"organisation", "share"}),
        "part, elsewhere": frozenset({"part", "elsewhere"}),
        "silence": frozenset({"silence"}),
        "sequential (fast path)": frozenset({"sequential"}),
        "pace": frozenset({"pace"}),
        "price": frozenset({"price"}),
        "breaks (PELT)": frozenset({"pelt"}),
    }
)
"""Detectors that look at the same thing in two ways are left out together. By what the table calls them."""


def without(name: str, scenarios: Sequence[Scenario], judged: Iterable[Weighed], settings: Settings) -> list[Verdict]:
    """The verdicts of alerting that does not hear the detectors LEFT_OUT[name]."""
    alerts: list[Alert] = []

    def sink(alias: str, key: str, value: Alert) -> None:
        if alias == "alerts":
            alerts.append(value)

    offline = Offline(of_several(settings, len(scenarios)), sink, partitions=1, stages=("alerting",))
    offline.feed_records("judged", 0, silenced(judged, LEFT_OUT[name]))
    return by_scenario(scenarios, alerts)


def silenced(judged: Iterable[Weighed], detectors: frozenset[str]) -> Iterator[Weighed]:
    """What alerting is told, but for these detectors."""
    for event in judged:
        if isinstance(event, Judged):
            kept = [anomaly for anomaly in event.anomalies if anomaly.detector not in detectors]
            breaks = [] if "pelt" in detectors else event.breaks
            yield replace(event, anomalies=kept, breaks=breaks)
        elif not (isinstance(event, Sudden) and "sequential" in detectors):
            yield event
