"""A sink that keeps of a run's outputs what scoring and the report need, counts the rest, and has named limits."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from topics.control import Command
from topics.fields import MINUTE_US, SECOND_US
from topics.records import Alert, Anomaly, DeadLetter, Decision, Incident, Invalidated, JobEvent, MetricWindow

RECORDS_MAX = 20_000
"""Alerts, incidents, commands, job events and invalidations kept, each; those beyond are counted."""

WINDOWS_MAX = 200_000  # a week of twenty models
BUCKETS_MAX = 500_000
REASONS_MAX = 100
THROTTLE_BUCKET_US = 10 * SECOND_US


class Collected:
    """Call it with (topic alias, key, value), as drivers call their sink. A record that comes twice counts once only
    where it is kept by id: alerts, incidents, commands, job events, invalidations; and windows, whose highest revision
    holds."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.outcomes_per_minute: dict[int, Counter[str]] = {}
        self.flagged: Counter[str] = Counter()
        self.throttled: Counter[tuple[str, int]] = Counter()
        self.windows: dict[tuple[str, int], MetricWindow] = {}
        self.alerts: dict[str, Alert] = {}
        self.incidents: dict[str, Incident] = {}
        self.commands: dict[str, Command] = {}
        self.jobs: dict[str, JobEvent] = {}
        self.invalidations: dict[str, Invalidated] = {}
        self.anomalies: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()
        self.dropped = 0
        self._takers: dict[str, Callable[[Any], None]] = {
            "decisions": self._decision,
            "windows": self._window,
            "alerts": lambda value: self._keep(self.alerts, value),
            "incidents": lambda value: self._keep(self.incidents, value),
            "commands": lambda value: self._keep(self.commands, value),
            "jobs": lambda value: self._keep(self.jobs, value),
            "invalidations": lambda value: self._keep(self.invalidations, value),
            "anomalies": self._anomaly,
            "dead-letters": self._dead_letter,
        }

    def __call__(self, alias: str, key: str, value: Any) -> None:
        """Take one output."""
        self.counts[alias] += 1
        if taker := self._takers.get(alias):
            taker(value)

    def throttled_between(self, target: str, start_us: int, end_us: int) -> int:
        """Requests of an organisation, or of `tier:NAME`, refused in a stretch of event time, to ten seconds."""
        first, last = start_us // THROTTLE_BUCKET_US, end_us // THROTTLE_BUCKET_US
        return sum(
            count for (who, bucket), count in self.throttled.items() if who == target and first <= bucket <= last
        )

    @property
    def models(self) -> list[str]:
        """Models that have windows, busiest first."""
        requests: Counter[str] = Counter()
        for window in self.windows.values():
            requests[window.model] += window.requests
        return [model for model, _ in requests.most_common()]

    def windows_of(self, model: str) -> list[MetricWindow]:
        """A model's windows in order of time."""
        found = [window for (name, _), window in self.windows.items() if name == model]
        return sorted(found, key=lambda window: window.start_us)

    def _decision(self, decision: Decision) -> None:
        self.outcomes[decision.outcome] += 1
        minute_us = decision.time_us - decision.time_us % MINUTE_US
        per_minute = self.outcomes_per_minute
        if minute_us in per_minute or len(per_minute) < WINDOWS_MAX:
            per_minute.setdefault(minute_us, Counter())[decision.outcome] += 1
        if decision.outcome == "throttled":
            bucket = decision.time_us // THROTTLE_BUCKET_US
            for who in (decision.organisation, f"tier:{decision.tier}"):
                self._count(self.throttled, (who, bucket), BUCKETS_MAX)
        elif decision.safety is not None:
            for category in decision.safety.flagged:
                self._count(self.flagged, category, REASONS_MAX)

    def _window(self, window: MetricWindow) -> None:
        place = (window.model, window.start_us)
        held = self.windows.get(place)
        if held is None and len(self.windows) >= WINDOWS_MAX:
            self.dropped += 1
        elif held is None or window.revision >= held.revision:
            self.windows[place] = window

    def _anomaly(self, anomaly: Anomaly) -> None:
        self._count(self.anomalies, anomaly.detector, REASONS_MAX)

    def _dead_letter(self, letter: DeadLetter) -> None:
        self._count(self.dead, letter.reason, REASONS_MAX)

    def _count(self, counter: Counter[Any], key: Any, limit: int) -> None:
        if key in counter or len(counter) < limit:
            counter[key] += 1
        else:
            self.dropped += 1

    def _keep(self, records: dict[str, Any], value: Any) -> None:
        if value.id in records or len(records) < RECORDS_MAX:
            records[value.id] = value
        else:
            self.dropped += 1
