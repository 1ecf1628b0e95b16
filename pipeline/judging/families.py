"""The table of alert kinds: which metric moving which way leads to which, who else bears witness, how grave it is.

A family is a set of kinds of which one model has at most one open alert. A window speaks for a family when a leading
metric moved the family's way; everything else anomalous in that window then counts as a further witness. Metrics that
move together by construction are one witness (`Measure.source`): p50 and p99 of the same durations, tokens and cost.

Severity: the mission gives *warning* for errors > 5 % and *critical* for latency > 10 s; SEVERITIES has both and the
like for what it does not name. Latency > 10 s is read as first token p99 or completion p50 over 10 s and at least twice
the usual (detection's `limit`): a p99 of whole completions over 10 s is normal for a language model.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from detectors.consensus import Vote
from pipeline.judging.metrics import BY_METRIC, COMBINED, SLOWNESS, STEADY
from topics.fields import Severity
from topics.links import Sudden
from topics.records import Anomaly, Judged

UP, DOWN = 1, -1
OWN = ("limit", "organisation", "share", "part", "elsewhere", "silence", "price")  # sources, heard in their own family
SECONDS = {"share": "tokens", "elsewhere": "errors"}  # they lead nothing, and confirm what leads in this family
RANK: Mapping[str, int] = {"info": 0, "warning": 1, "critical": 2}


class Family(NamedTuple):
    """`leads`: (metric, direction). `observed`: a new version may cause it, so at first it only informs."""

    name: str
    leads: frozenset[tuple[str, int]]
    observed: bool


FAMILIES: tuple[Family, ...] = (
    Family("errors", frozenset({("error_rate", UP)}), observed=True),
    Family("traffic", frozenset({("requests", DOWN)}), observed=False),
    Family("answers", frozenset({("completions", DOWN)}), observed=False),
    Family("tokens", frozenset({("tokens_per_s", UP), ("cost_microusd", UP)}), observed=False),
    Family("latency", frozenset((metric, UP) for metric in SLOWNESS), observed=True),
    Family("combined", frozenset(), observed=True),
)
"""In order of precedence: of two that begin together, the earlier one names the incident."""

ANNOUNCED = "announced_change"  # the kind of an alert that a launch explains: it asks for no command

RECOMMENDED: Mapping[str, tuple[str, ...]] = {
    "error_burst": (
        "Shift traffic to the stable version.",
        "Roll back if the model was deployed recently.",
        "Look at error.type of the failed completions.",
    ),
    "latency_spike": (
        "Give serving more GPUs.",
        "Check queue lengths and batch sizes of the model's servers.",
        "Shift traffic if the first token takes over 10 s.",
    ),
    "latency_leak": (
        "Give serving more GPUs for now.",
        "Look for a resource that grows: memory, cache, connections, queue.",
        "Plan a rolling restart.",
    ),
    "traffic_drop": (
        "Check the gateway and the network before the model.",
        "Drop the model's cached answers, in case the cache answers what it should not.",
    ),
    "no_answers": (
        "Shift traffic to the stable version.",
        "Look for what all requests wait for: a queue, a lock, a lost connection to the servers.",
    ),
    "token_surge": ("Throttle the organisation that explains it.", "Ask it whether the surge is meant."),
    "cost_anomaly": ("Compare prices and the share of output tokens.", "Consider rate limits."),
    ANNOUNCED: ("Nothing, while it stays within what was announced.",),
    "multi_metric": ("Look at the metrics named; none of them explains it alone.",),
}


KIND_OF: Mapping[str, str] = {
    "errors": "error_burst",
    "traffic": "traffic_drop",
    "answers": "no_answers",
    "combined": "multi_metric",
}
"""The kind of a family that has only one."""


class Reading(NamedTuple):
    """The worst of what a family's leading metrics say in a window."""

    error_rate: float
    part_error_rate: float
    latency_times: float
    requests_left: float
    answers_left: float
    tokens_times: float
    organisation_share: float
    limit: bool


Rule = tuple[Severity, Callable[[Reading], bool]]

SEVERITIES: Mapping[str, tuple[Rule, ...]] = {
    "errors": (
        ("critical", lambda r: r.error_rate > 0.5),
        ("warning", lambda r: r.error_rate > 0.05 or r.part_error_rate > 0.05),
    ),
    "traffic": (("critical", lambda r: r.requests_left < 0.05), ("warning", lambda r: r.requests_left < 0.5)),
    "answers": (("critical", lambda r: r.answers_left < 0.2),),
    "tokens": (("warning", lambda r: r.tokens_times > 2.0 or r.organisation_share > 0.25),),
    "latency": (("critical", lambda r: r.limit), ("warning", lambda r: r.latency_times > 1.5)),
    "combined": (),
}
"""The first rule that holds; *info* where none does."""


def direction(anomaly: Anomaly) -> int:
    return UP if anomaly.actual > anomaly.expected else DOWN


def leading(family: Family, judged: Judged | Sudden) -> list[Anomaly]:
    """What in this window speaks for the family itself; for `combined`, the multivariate finding when nobody leads."""
    if not judged.anomalies:
        return []
    if family.leads:
        return [a for a in judged.anomalies if (a.metric, direction(a)) in family.leads]
    if any(leading(other, judged) for other in FAMILIES if other.leads):
        return []
    moved = {BY_METRIC[a.metric].source for a in judged.anomalies if a.metric in BY_METRIC}
    return [a for a in judged.anomalies if a.metric == COMBINED] if len(moved) >= 2 else []


def witnesses(family: Family, judged: Judged) -> list[Vote]:
    """The votes of this window for the family: none without a leading one. A vote's metric is its source."""
    leads = leading(family, judged)
    if not leads:
        return []
    votes = [Vote(source_of(anomaly), anomaly.detector) for anomaly in judged.anomalies if is_witness(family, anomaly)]
    return votes + [Vote("break", "pelt") for _ in confirming_breaks(family, judged)]


def confirming_breaks(family: Family, judged: Judged) -> list[str]:
    """The leading metrics whose level PELT sees changed; a p99 jumps too much for its breaks to be evidence."""
    led = {metric for metric, _ in family.leads} - {a.metric for a in judged.anomalies if _contradicts(family, a)}
    return [metric for metric in judged.breaks if metric in led and metric in STEADY]


def is_witness(family: Family, anomaly: Anomaly) -> bool:
    """Whether it speaks for this family too, whatever family it belongs to; what moved the other way does not."""
    if _contradicts(family, anomaly):
        return False
    own = (anomaly.metric, direction(anomaly)) in family.leads
    return own or anomaly.detector not in OWN or SECONDS.get(anomaly.detector) == family.name


def _contradicts(family: Family, anomaly: Anomaly) -> bool:
    """A median that falls is no witness of a first token that takes longer."""
    return (anomaly.metric, -direction(anomaly)) in family.leads


def source_of(anomaly: Anomaly) -> str:
    """What makes this opinion independent of others."""
    if anomaly.detector in OWN:
        return anomaly.detector
    return COMBINED if anomaly.metric == COMBINED else BY_METRIC[anomaly.metric].source


def severity(family: Family, judged: Judged | Sudden) -> Severity:
    """By SEVERITIES, of this window alone."""
    reading = _reading(leading(family, judged), judged)
    return next((name for name, holds in SEVERITIES[family.name] if holds(reading)), "info")


def kind(family: Family, judged: Judged | Sudden, gradual: bool) -> str:
    """The kind of alert that a family opens."""
    if family.name == "tokens":
        surge = any(a.metric == "tokens_per_s" for a in leading(family, judged))
        return "token_surge" if surge else "cost_anomaly"
    if family.name == "latency":
        return "latency_leak" if gradual else "latency_spike"
    return KIND_OF[family.name]


def _reading(leads: list[Anomaly], judged: Judged | Sudden) -> Reading:
    def times(metrics: tuple[str, ...]) -> float:
        whole = (a for a in leads if a.metric in metrics and not a.organisation)
        return max((a.actual / max(a.expected, 1.0) for a in whole), default=1.0)

    def left(metric: str) -> float:
        return min((a.actual / max(a.expected, 1.0) for a in leads if a.metric == metric), default=1.0)

    organisations = [a.actual for a in judged.anomalies if a.detector == "share"]
    return Reading(
        error_rate=max((a.actual for a in leads if a.metric == "error_rate" and a.detector != "part"), default=0.0),
        part_error_rate=max((a.actual for a in leads if a.detector == "part"), default=0.0),
        latency_times=times(SLOWNESS),
        requests_left=left("requests"),
        answers_left=left("completions"),
        tokens_times=times(("tokens_per_s", "cost_microusd")),
        organisation_share=max(organisations, default=0.0),
        limit=any(a.detector == "limit" for a in leads),
    )
