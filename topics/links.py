"""What passes between two stages that are chained in one process; each has an internal topic for when they are not."""

from msgspec import Struct

from topics.control import Relayed
from topics.fields import Tier
from topics.records import Alert, Judged, MetricWindow, QuotaVerdict
from topics.traffic import Request, Tick


class Admitted(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="admitted", kw_only=True, gc=False
):
    """quota -> safety: a request within its quota. Carries the prompt: its topic is as private as the traffic topic."""

    request: Request
    tier: Tier
    quota: QuotaVerdict


class Handoff(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The envelope of a link's internal topic: the log offset that caused `events`, in order."""

    offset: int
    events: list["LinkEvent"]


AdmittedEvent = Admitted
ClosedEvent = MetricWindow | Relayed
JudgedEvent = Judged | Relayed
RaisedEvent = Alert | Tick | Relayed
LinkEvent = Admitted | MetricWindow | Judged | Alert | Tick | Relayed
