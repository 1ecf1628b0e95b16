"""What passes between two stages that are chained in one process; each has an internal topic for when they are not."""

from msgspec import Struct

from topics.control import Relayed
from topics.fields import Count, Id, Text, Tier, TimeUs
from topics.records import Alert, Anomaly, Judged, MetricWindow, QuotaVerdict
from topics.traffic import Request, Tick


class Admitted(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="admitted", kw_only=True, gc=False
):
    """quota -> safety: a request within its quota. Carries the prompt: its topic is as private as the traffic topic."""

    request: Request
    tier: Tier
    quota: QuotaVerdict


class Moment(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag="moment",
    kw_only=True,
    omit_defaults=True,
    gc=False,
):
    """windows -> detection: ten seconds of one model over all partitions, as first published, for the fast path.

    Counts only: what a minute says better (latencies, tokens, cost) waits for the minute.
    """

    model: Id
    start_us: TimeUs
    end_us: TimeUs
    requests: Count = 0
    completions: Count = 0
    errors: Count = 0
    last_request_us: TimeUs = 0  # 0 without any
    last_completion_us: TimeUs = 0


class Sudden(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="sudden", kw_only=True, omit_defaults=True
):
    """detection -> alerting: what the sequential tests found by the end of a moment, for a provisional alert.

    `started_us` is since when the evidence speaks, by anomaly; `suppressed` why it alerts nobody.
    """

    model: Id
    time_us: TimeUs
    anomalies: list[Anomaly]
    started_us: list[TimeUs]
    suppressed: Text = ""


class Handoff(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The envelope of a link's internal topic: the log offset that caused `events`, in order."""

    offset: int
    events: list["LinkEvent"]


AdmittedEvent = Admitted
ClosedEvent = MetricWindow | Moment | Relayed
JudgedEvent = Judged | Sudden | Relayed
RaisedEvent = Alert | Tick | Relayed
LinkEvent = Admitted | MetricWindow | Moment | Judged | Sudden | Alert | Tick | Relayed
