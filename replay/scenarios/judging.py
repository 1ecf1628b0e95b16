"""What a run found of a scenario's incidents: hits, misses, false alarms, delays.

An alert finds an incident when it opens within it, or MATCH_AFTER_US later, on a model that it hits; of an incident of
all models any will do. An alert that opens while no incident of its model runs (and none ended less than
GRACE_AFTER_US ago) is false. The first day is warm-up: run, not scored. Precision is hits over hits and false alarms.
"""

from collections.abc import Iterable, Sequence
from statistics import median, quantiles

from msgspec import Struct

from replay.scenarios.plan import EVERY_MODEL, WARM_UP_MINUTES, Label
from replay.scenarios.world import START_US, Scenario
from replay.score import GRACE_AFTER_US, MATCH_AFTER_US
from topics.fields import MINUTE_US, Severity
from topics.moments import time_us

NAMES: dict[str, tuple[str, ...]] = {
    "error_burst": ("error_burst",),
    "flapping": ("error_burst",),
    "slow_leak": ("latency_leak", "latency_spike"),
    "latency_step": ("latency_spike", "latency_leak"),
    "p99_only": ("latency_spike", "latency_leak"),
    "one_region": ("error_burst", "latency_spike"),
    "organisation_abuse": ("token_surge", "cost_anomaly"),
    "token_surge": ("token_surge", "cost_anomaly"),
    "cost_anomaly": ("cost_anomaly",),
    "traffic_zero": ("traffic_drop",),
    "traffic_partial_drop": ("traffic_drop",),
    "correlated": ("error_burst", "latency_spike", "traffic_drop", "multi_metric"),
    "bad_deployment": ("error_burst", "latency_spike"),
}
"""The kinds of alert that name a kind of incident rightly."""


EVERY_KIND = "all"


class Opened(Struct, frozen=True):
    """An alert as far as scoring looks at it. `organisation` and `causes` ("dimension=value") are what it blames."""

    model: str
    kind: str
    opened_us: int
    severity: Severity = "warning"
    causes: tuple[str, ...] = ()
    summary: str = ""
    withdrawn: bool = False


class Finding(Struct, frozen=True):
    """One incident and the alerts that found it, first to open first. `delay_us` None: missed."""

    label: Label
    alerts: tuple[Opened, ...]
    delay_us: int | None

    @property
    def named(self) -> bool:
        return any(alert.kind in NAMES[self.label.kind] for alert in self.alerts)

    @property
    def caused(self) -> bool | None:
        """Whether the first cause blamed is the right one; None where there is none to name, or nothing was found."""
        if not self.label.dimension or not self.alerts:
            return None
        first = next((alert.causes[0] for alert in self.alerts if alert.causes), "")
        return first == f"{self.label.dimension}={self.label.value}"


class Verdict(Struct, frozen=True):
    """Of one scenario."""

    seed: int
    model_weeks: float
    findings: tuple[Finding, ...]
    false: tuple[Opened, ...]


class Row(Struct, frozen=True):
    """A row of the table. Delays in minutes; None where nothing was found. `alerts`: a found incident's, on average."""

    kind: str
    difficulty: str
    incidents: int
    found: int
    named: int
    delay_median: float | None
    delay_p90: float | None
    alerts: float
    causes: int
    caused: int


class Summary(Struct, frozen=True):
    """Of all scenarios together. Of the false alarms, `false_paging` are no mere
    information, and `false_withdrawn` were provisional and taken back within minutes."""

    model_weeks: float
    incidents: int
    found: int
    recall: float
    precision: float
    false: int
    false_paging: int
    false_withdrawn: int
    false_per_model_week: float
    delay_median: float | None
    delay_p90: float | None
    fast_delay_median: float | None
    hard_delay_median: float | None
    rows: list[Row]


def judge(scenario: Scenario, opened: Iterable[Opened]) -> Verdict:
    """Score the alerts of one scenario."""
    ready_us = START_US + WARM_UP_MINUTES * MINUTE_US
    scored = sorted((one for one in opened if one.opened_us > ready_us), key=lambda one: (one.opened_us, one.model))
    labels = scenario.labels
    findings = tuple(_finding(label, scored) for label in labels)
    false = tuple(one for one in scored if not any(_explains(label, one, GRACE_AFTER_US) for label in labels))
    days = scenario.minutes * MINUTE_US - (ready_us - START_US)
    return Verdict(scenario.seed, len(scenario.models) * days / (7 * 24 * 60 * MINUTE_US), findings, false)


def _finding(label: Label, opened: Sequence[Opened]) -> Finding:
    hits = tuple(one for one in opened if not one.withdrawn and _explains(label, one, MATCH_AFTER_US))
    return Finding(label, hits, hits[0].opened_us - _us(label.start) if hits else None)


def _explains(label: Label, one: Opened, after_us: int) -> bool:
    in_time = _us(label.start) <= one.opened_us <= _us(label.end) + after_us
    return in_time and label.target in (EVERY_MODEL, one.model)


def _us(moment: str) -> int:
    found = time_us(moment)
    assert found is not None  # labels write their own times
    return found


def summarise(verdicts: Sequence[Verdict]) -> Summary:
    """All verdicts together, with a row a kind and difficulty, one a kind, and one a difficulty."""
    findings = [finding for verdict in verdicts for finding in verdict.findings]
    false = [one for verdict in verdicts for one in verdict.false]
    found = sum(finding.delay_us is not None for finding in findings)
    weeks = sum(verdict.model_weeks for verdict in verdicts)
    return Summary(
        model_weeks=weeks,
        incidents=len(findings),
        found=found,
        recall=found / max(len(findings), 1),
        precision=found / max(found + len(false), 1),
        false=len(false),
        false_paging=sum(one.severity != "info" for one in false),
        false_withdrawn=sum(one.withdrawn for one in false),
        false_per_model_week=len(false) / max(weeks, 1e-9),
        delay_median=_median(findings),
        delay_p90=_p90(findings),
        fast_delay_median=_median([finding for finding in findings if finding.label.fast]),
        hard_delay_median=_median([finding for finding in findings if finding.label.difficulty == "hard"]),
        rows=_rows(findings),
    )


def _rows(findings: list[Finding]) -> list[Row]:
    levels = ("easy", "medium", "hard")
    kinds = sorted({finding.label.kind for finding in findings})
    rows = [_row(kind, level, findings) for kind in (*kinds, EVERY_KIND) for level in levels]
    return [row for row in rows if row.incidents]


def _row(kind: str, difficulty: str, findings: list[Finding]) -> Row:
    own = [one for one in findings if kind in (EVERY_KIND, one.label.kind) and one.label.difficulty == difficulty]
    hits = [finding for finding in own if finding.alerts]
    causes = [finding.caused for finding in own if finding.caused is not None]
    return Row(
        kind=kind,
        difficulty=difficulty,
        incidents=len(own),
        found=len(hits),
        named=sum(finding.named for finding in hits),
        delay_median=_median(own),
        delay_p90=_p90(own),
        alerts=sum(len(finding.alerts) for finding in hits) / max(len(hits), 1),
        causes=len(causes),
        caused=sum(causes),
    )


def _minutes(findings: Iterable[Finding]) -> list[float]:
    return [finding.delay_us / MINUTE_US for finding in findings if finding.delay_us is not None]


def _median(findings: Iterable[Finding]) -> float | None:
    delays = _minutes(findings)
    return median(delays) if delays else None


def _p90(findings: Iterable[Finding]) -> float | None:
    delays = _minutes(findings)
    return quantiles(delays, n=10, method="inclusive")[-1] if len(delays) > 1 else next(iter(delays), None)
