"""The table of topics: declared once, here; created, documented, decoded and encoded from these rows."""

from dataclasses import dataclass
from types import UnionType
from typing import Any

from topics import control, links, records, traffic

DAY_MS = 86_400_000
RECORD_BYTES_MAX = 8 * 1024 * 1024  # room to see, and dead-letter, what is over the prompt's limit
PREFIX = "tidegate."


@dataclass(frozen=True)
class Topic:
    """One topic. `alias` is its name inside the code, `name` its name in Kafka.

    `partitions` None: as many as the deployment chooses (`tidegate topics create --partitions N`); a number: fixed,
    since its order over everything is what it is for. `key` names the field that the record key is made of.
    """

    alias: str
    values: type[Any] | UnionType
    key: str
    retention_ms: int
    about: str
    partitions: int | None = None
    internal: bool = False
    cloudevent: str = ""  # CloudEvents type prefix; empty: plain JSON
    private: bool = False  # carries prompts: restrict who may read it
    compacted: bool = False  # the newest record of each key is all that counts

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.alias}.v1"


TOPICS: tuple[Topic, ...] = (
    Topic(
        "traffic",
        traffic.TrafficEvent,
        "organisation",
        DAY_MS,
        "Requests and completions, one order per organisation. Produce here.",
        private=True,
    ),
    Topic(
        "control",
        records.ControlLogEvent,
        "id",
        30 * DAY_MS,
        "Deployments, maintenance, launches, plans, feedback, approvals, jobs, commands, and alerts, in one order.",
        partitions=1,
    ),
    Topic("decisions", records.Decision, "organisation", 7 * DAY_MS, "Exactly one answer to every request."),
    Topic(
        "slices",
        records.SlicesEvent,
        "model",
        DAY_MS,
        "Ten-second slices of a traffic partition, and marks of how far it has come.",
        internal=True,
    ),
    Topic("windows", records.MetricWindow, "model", 30 * DAY_MS, "One-minute windows per model."),
    Topic("anomalies", records.Anomaly, "model", 30 * DAY_MS, "What each detector found, whether or not it alerts."),
    Topic(
        "alerts",
        records.Alert,
        "model",
        30 * DAY_MS,
        "One alert per incident: open, update, resolved. Subscribe here.",
        cloudevent="tidegate.alert",
    ),
    Topic(
        "incidents",
        records.Incident,
        "incident",
        30 * DAY_MS,
        "Alerts of one cause as one incident: opened, updated, resolved; with probable cause and timeline.",
        cloudevent="tidegate.incident",
        compacted=True,
    ),
    Topic(
        "thresholds",
        records.Thresholds,
        "model",
        30 * DAY_MS,
        "How sensitive alerting to each model is now, and why: what feedback and the noise budget did.",
        compacted=True,
    ),
    Topic(
        "commands",
        control.Command,
        "model",
        30 * DAY_MS,
        "Mitigation commands and their reversals. Subscribe here.",
        cloudevent="tidegate.command",
    ),
    Topic("jobs", records.JobEvent, "job", 30 * DAY_MS, "What the scheduler did."),
    Topic("invalidations", records.Invalidated, "model", 30 * DAY_MS, "What the cache-invalidation agent did."),
    Topic("dead-letters", records.DeadLetter, "topic", 30 * DAY_MS, "Where bad records lie and what is wrong."),
    Topic("admitted", links.Handoff, "organisation", DAY_MS, "quota -> safety", internal=True, private=True),
    Topic("closed", links.Handoff, "model", DAY_MS, "windows -> detection", internal=True),
    Topic("judged", links.Handoff, "model", DAY_MS, "detection -> alerting", internal=True),
    Topic("raised", links.Handoff, "model", DAY_MS, "alerting -> mitigation", internal=True),
)

BY_ALIAS: dict[str, Topic] = {topic.alias: topic for topic in TOPICS}
BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
