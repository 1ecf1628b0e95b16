"""What the stages write. No record here carries a prompt or any part of one.

Records are trees, never cycles, so the garbage collector need not follow them (`gc=False`).
"""

from typing import Literal

from msgspec import Struct

from topics.control import ControlEvent, Relayed
from topics.fields import (
    Count,
    Id,
    Label,
    MicroUsd,
    Score,
    Severity,
    Text,
    Tier,
    TimeUs,
)

Outcome = Literal["admitted", "throttled", "blocked"]
Metric = Literal[
    "error_rate",
    "first_token_us_p99",
    "duration_us_p99",
    "duration_us_p50",
    "requests",
    "tokens_per_s",
    "cost_microusd",
]


class Record(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True, gc=False):
    """What every output has: `id` is a coordinate (where in which log it was caused), `time_us` is event time."""

    id: Id
    time_us: TimeUs


class QuotaVerdict(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """State of the organisation's token bucket after this request: tokens and microseconds."""

    limit_tokens: int  # the bucket's capacity
    remaining_tokens: int
    reserved_tokens: int  # taken for this request until it completes; 0 when throttled
    reset_us: int  # until the bucket is full again
    retry_after_us: int  # until this request would be admitted; 0 when admitted


class Span(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Where in the prompt a rule matched: code points [start, end). Never the text."""

    category: str
    start: int
    end: int
    rule: str


class SafetyVerdict(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """What the moderation tiers found. `tier` is the tier that decided."""

    flagged: list[str]
    scores: dict[str, Score]
    spans: list[Span]
    tier: str


class Decision(Record, frozen=True, kw_only=True):
    """The one answer to a request: what the gateway should do with it."""

    request: Id
    organisation: Id
    model: Id
    tier: Tier
    outcome: Outcome
    reason: Text
    quota: QuotaVerdict
    safety: SafetyVerdict | None = None  # None: never looked at, since throttled
    prompt_digest: Label = ""  # BLAKE2b-128 of the prompt's UTF-8, hexadecimal


class Sketch(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A mergeable quantile sketch on the wire: bucket numbers (ascending) and how many values lie in each."""

    buckets: list[int] = []
    counts: list[int] = []


class OrganisationTokens(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    organisation: Id
    tokens: Count


class Part(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What one value of one dimension contributed: the region `eu-west`, the organisation `acme`.

    A dimension's parts need not add up to the whole: only the heaviest values are named, and an event without the
    dimension is in none. `duration_us` is the sum over answers, of which there are `completions - errors`.
    """

    dimension: Label  # organisation, region, client, tier
    value: Label
    requests: Count = 0
    completions: Count = 0
    errors: Count = 0
    tokens: Count = 0
    duration_us: Count = 0


class Slice(Record, frozen=True, tag_field="type", tag="slice", kw_only=True):
    """One traffic partition's whole contribution to ten seconds of one model: absolute, so that twice does no harm.

    `offset` stamps it: of two slices with the same (partition, model, start_us) the higher offset holds. `revision`
    0 is published when the partition's watermark passes the slice, higher ones when late events change it.
    """

    model: Id
    start_us: TimeUs
    partition: Count
    offset: Count
    revision: Count
    requests: Count = 0
    completions: Count = 0
    errors: Count = 0
    input_tokens: Count = 0
    output_tokens: Count = 0
    cost_microusd: MicroUsd = 0
    late_events: Count = 0
    last_request_us: TimeUs = 0  # of the last request in it; 0 without any
    last_completion_us: TimeUs = 0
    first_token_us: Sketch = Sketch()
    duration_us: Sketch = Sketch()
    top_organisations: list[OrganisationTokens] = []
    parts: list[Part] = []


class Mark(Record, frozen=True, tag_field="type", tag="mark", kw_only=True):
    """Every revision-0 slice of `partition` that ends at or before `time_us` is out. Sent to every slices partition."""

    partition: Count
    partitions: Count  # how many traffic partitions there are
    offset: Count


SlicesEvent = Slice | Mark | Relayed


class MetricWindow(Record, frozen=True, tag_field="type", tag="window", kw_only=True):
    """One minute of one model over all partitions. A higher `revision` replaces a lower one. Times in microseconds.

    Quantiles are within 1 % of a value that really occurred; None where nothing was measured.
    """

    model: Id
    start_us: TimeUs
    end_us: TimeUs
    revision: Count
    requests: Count
    completions: Count
    errors: Count
    error_rate: float
    input_tokens: Count
    output_tokens: Count
    tokens_per_s: float
    cost_microusd: MicroUsd
    late_events: Count = 0
    first_token_us_p50: int | None = None
    first_token_us_p99: int | None = None
    duration_us_p50: int | None = None
    duration_us_p99: int | None = None
    top_organisations: list[OrganisationTokens] = []
    parts: list[Part] = []


class Cause(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A probable cause: `value` of `dimension` explains `share` of the change. `surprise` orders causes, most first."""

    dimension: Label
    value: Label
    share: Score
    surprise: float = 0.0
    explanation: Text = ""  # one English sentence


class Anomaly(Record, frozen=True, kw_only=True):
    """One detector's finding in one metric of one window."""

    model: Id
    window_start_us: TimeUs
    metric: Label
    detector: Label
    score: Score
    actual: float
    expected: float
    low: float
    high: float
    explanation: Text
    organisation: Label = ""  # whose traffic it is about, where it is about one organisation's


class Forecast(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """What one metric was expected to be in one window, whether or not anything was found in it."""

    metric: Label
    actual: float
    expected: float
    low: float
    high: float


class Judged(Record, frozen=True, tag_field="type", tag="judged", kw_only=True):
    """A window with all that detection found in it, for alerting. `suppressed`: why it alerts nobody. `forecasts` only
    where detection was asked for them (`detection.forecasts`): nothing downstream reads them."""

    window: MetricWindow
    anomalies: list[Anomaly] = []
    breaks: list[str] = []  # metrics with a structural break confirmed by PELT near this window
    suppressed: Text = ""
    forecasts: list[Forecast] = []


class Alert(Record, frozen=True, tag_field="type", tag="alert", kw_only=True):
    """One step in the life of an alert. `alert` names it through its life; `id` is unique to this step.

    A `provisional` alert was raised on seconds of evidence; the minute windows confirm it (an update that is no longer
    provisional) or withdraw it.
    """

    alert: Id
    status: Literal["open", "update", "resolved", "withdrawn"]
    severity: Severity
    kind: Label  # error_burst, latency_spike, latency_leak, traffic_drop, token_surge, ... (alerting's table)
    model: Id
    started_us: TimeUs
    windows: Count  # anomalous windows so far
    summary: Text  # one English sentence
    organisation: Label = ""  # whose traffic explains it, where one organisation does
    metrics: dict[str, float] = {}
    confirmations: list[str] = []  # "metric/detector"
    recommended: list[str] = []
    provisional: bool = False
    causes: list[Cause] = []


class Moment(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One entry of an incident's timeline."""

    time_us: TimeUs
    said: Text


class Incident(Record, frozen=True, kw_only=True):
    """Alerts of one cause, across models and metrics, as one story. `incident` names it through its life.

    `withdrawn`: all its alerts were provisional and have been taken back.
    """

    incident: Id
    status: Literal["opened", "updated", "resolved", "withdrawn"]
    severity: Severity  # of the gravest alert it has had
    title: Text  # one English sentence
    started_us: TimeUs
    cause: Cause
    models: list[Id]
    kinds: list[Label]
    alerts: list[Id]
    open_alerts: Count
    ended_us: TimeUs | None = None
    reopened: Count = 0
    timeline: list[Moment] = []


ControlLogEvent = ControlEvent | Alert
"""What lies in the control log: what steers, and the alerts, so that incidents are told in one order for all."""


class FamilyThreshold(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """How far out an anomaly must be to speak for one family of alerts, and why.

    `k`: times the detector's own threshold; `taught` is what people's judgement contributes to it, the rest is today's
    noise. `windows_min`: windows that must count before an alert opens. Verdicts are those still remembered.
    """

    family: Label  # errors, traffic, tokens, latency, combined
    k: float
    taught: float
    windows_min: Count
    false_alerts: Count = 0
    true_alerts: Count = 0
    reason: Text = ""


class Thresholds(Record, frozen=True, kw_only=True):
    """How sensitive alerting to a model is now. Written when it is first seen, when anything changes, and daily."""

    model: Id
    since_us: TimeUs  # end of the first window judged
    windows: Count  # judged since then
    alerts_today: Count  # alerts opened on this day (UTC)
    alerts_a_day: Count  # the noise budget
    families: list[FamilyThreshold]


class JobEvent(Record, frozen=True, kw_only=True):
    """What the scheduler did. `command` names the command obeyed; `job` the job touched; both may be empty."""

    kind: Literal[
        "queued",
        "started",
        "preempted",
        "resumed",
        "cancelled",
        "finished",
        "gpus_held",
        "gpus_returned",
        "traffic_shifted",
        "traffic_restored",
        "rolled_back",
        "rollback_undone",
        "refused",
    ]
    command: Label = ""
    job: Label = ""
    model: Label = ""
    gpus: Count = 0
    detail: Text = ""


class Invalidated(Record, frozen=True, kw_only=True):
    """The cache's answer: entries of `model` written under an epoch below `epoch` are dead on every shard."""

    command: Label
    model: Id
    epoch: Count
    detail: Text = ""


class DeadLetter(Record, frozen=True, kw_only=True):
    """A record that could not be used: where it lies (read it there), which field, why. Never its content."""

    topic: Id
    partition: Count
    offset: Count
    stage: Label
    field: Label
    reason: Text
    size_bytes: Count
    digest: Label = ""  # BLAKE2b-128 of the raw value, hexadecimal
