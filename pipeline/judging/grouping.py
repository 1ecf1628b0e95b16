"""Which alerts are one incident, and what its probable cause is, from what each of them blames.

    time ──►        5 min        an alert joins a case that is open, or that closed at most `reopen_us` ago, if
    m1  ▒▒▒████████████░░░         same model   and they do not blame different values of one dimension
    m2     └─ ████████████         same part    both blame it (region eu-west), whatever the models and metrics
    m3                  ✗ ███      same kind    on other models, neither blames a part or a version, and it began within
                                                `near_us` of the case: something shared has failed

A case that has closed is reopened only by a kind of alert that it has had: what flaps comes back as itself.

The cause of a case: the part that most of its alerts blame; else, of several models, what they share; else what the
first alert blames (a deployment, or the model itself).
"""

from collections import Counter
from typing import Any

from msgspec import Struct

from pipeline.judging.causes import DEPLOYMENT, DIMENSIONS
from pipeline.judging.families import RANK
from topics.fields import MINUTE_US, TEXT_CHARACTERS_MAX, Severity
from topics.records import Alert, Cause, Moment

MEMBERS_MAX = 256
TIMELINE_MAX = 64
MODELS_TOLD = 3
SHARED = "shared"
UNKNOWN = Cause("model", "", 0.0, 0.0, "")
ENDED = ("resolved", "withdrawn")


class GroupingParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Times in microseconds of the alerts' event time."""

    near_us: int = 5 * MINUTE_US
    reopen_us: int = 10 * MINUTE_US


class Member(Struct):
    """One alert of a case, as last heard of."""

    model: str
    kind: str
    severity: Severity
    status: str
    started_us: int
    cause: Cause


class Case(Struct, tag="case"):
    """An incident and its alerts, by name. `ended_us` None: some are open. `heard_us`: when one was last heard of."""

    incident: str
    started_us: int
    heard_us: int
    members: dict[str, Member] = {}
    cause: Cause = UNKNOWN
    severity: Severity = "info"
    ended_us: int | None = None
    reopened: int = 0
    timeline: list[Moment] = []

    @property
    def open_alerts(self) -> int:
        return sum(member.status not in ENDED for member in self.members.values())

    @property
    def models(self) -> list[str]:
        """In the order in which they came."""
        return list(dict.fromkeys(member.model for member in self.members.values()))

    @property
    def kinds(self) -> list[str]:
        return list(dict.fromkeys(member.kind for member in self.members.values()))


def belongs(case: Case, alert: Alert, params: GroupingParams) -> int:
    """How strongly an alert that opens belongs to the case: 3 same model, 2 same part, 1 same kind; 0 not at all."""
    if len(case.members) >= MEMBERS_MAX or not _in_time(case, alert, params):
        return 0
    cause = first_cause(alert)
    if any(member.model == alert.model for member in case.members.values()):
        return 0 if _differ(case.cause, cause) else 3
    if _is_part(cause):
        return 2 if _same(case.cause, cause) else 0
    near = abs(alert.started_us - case.started_us) <= params.near_us
    plain = not _is_part(case.cause) and DEPLOYMENT not in (case.cause.dimension, cause.dimension)
    return int(near and plain and alert.kind in case.kinds)


def _in_time(case: Case, alert: Alert, params: GroupingParams) -> bool:
    if case.ended_us is None:
        return True
    return alert.kind in case.kinds and alert.time_us - case.ended_us <= params.reopen_us


def first_cause(alert: Alert) -> Cause:
    return alert.causes[0] if alert.causes else UNKNOWN


def _is_part(cause: Cause) -> bool:
    return cause.dimension in DIMENSIONS


def _same(one: Cause, other: Cause) -> bool:
    return (one.dimension, one.value) == (other.dimension, other.value)


def _differ(one: Cause, other: Cause) -> bool:
    """Whether they blame different values of one dimension; one may simply know less than the other."""
    return _is_part(one) and one.dimension == other.dimension and one.value != other.value


def take(case: Case, alert: Alert) -> None:
    """Note a step in the life of one of the case's alerts."""
    case.heard_us = max(case.heard_us, alert.time_us)
    case.started_us = min(case.started_us, alert.started_us)
    known = case.members.get(alert.alert)
    cause = first_cause(alert) if alert.causes or known is None else known.cause
    member = Member(alert.model, alert.kind, alert.severity, alert.status, alert.started_us, cause)
    if member == known:
        return  # nothing below would change: most updates of an alert tell the same, and a case has many
    case.members[alert.alert] = member
    case.severity = max(case.severity, alert.severity, key=lambda severity: RANK[severity])
    case.cause = _cause(case)
    if case.open_alerts:
        case.reopened += case.ended_us is not None
        case.ended_us = None
    elif case.ended_us is None:
        case.ended_us = alert.time_us


def _cause(case: Case) -> Cause:
    """What most of those alerts blame that were not withdrawn."""
    blamed = [member.cause for member in case.members.values() if member.status != "withdrawn"]
    parts = Counter((cause.dimension, cause.value) for cause in blamed if _is_part(cause))
    if parts:
        most = max(parts, key=lambda part: (parts[part], part))
        return max(
            (c for c in blamed if (c.dimension, c.value) == most), key=lambda cause: (cause.share, cause.surprise)
        )
    models = case.models
    if len(models) > 1:
        said = f"{listed(models)} show it at the same time, and no part of the traffic stands out."
        return Cause(SHARED, "infrastructure", 1.0, 0.0, said[:TEXT_CHARACTERS_MAX])
    return next((cause for cause in blamed if cause.dimension == DEPLOYMENT), blamed[0] if blamed else case.cause)


def note(case: Case, time_us: int, said: str) -> None:
    """One more entry of the timeline; of too many, the one after the first gives way."""
    case.timeline = [*case.timeline, Moment(time_us, said[:TEXT_CHARACTERS_MAX])]
    if len(case.timeline) > TIMELINE_MAX:
        del case.timeline[1]


def title(case: Case) -> str:
    """One sentence: what, where, and why."""
    what = listed([kind.replace("_", " ") for kind in case.kinds]).capitalize()
    return f"{what} on {listed(case.models)}{_because(case.cause)}."[:TEXT_CHARACTERS_MAX]


def _because(cause: Cause) -> str:
    if _is_part(cause):
        return f": {cause.dimension} {cause.value} explains {100 * cause.share:.0f} % of it"
    if cause.dimension == DEPLOYMENT:
        return f", since version {cause.value} went live"
    return ": shared infrastructure" if cause.dimension == SHARED else ""


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`, `a, b, c and 4 others`."""
    if len(names) == 1:
        return names[0]
    told, left = names[:MODELS_TOLD], len(names) - MODELS_TOLD
    if left > 0:
        return f"{', '.join(told)} and {left} other{'s' if left > 1 else ''}"
    return f"{', '.join(told[:-1])} and {told[-1]}"


def essence(case: Case) -> tuple[Any, ...]:
    """What subscribers are told again for when it changes."""
    return (case.severity, case.cause.dimension, case.cause.value, case.models, case.open_alerts, case.ended_us is None)
