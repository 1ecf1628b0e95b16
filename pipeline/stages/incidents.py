"""Incidents: alerts of one cause, across models, metrics, tiers and regions, told as one story. Reads the control log.

    control (one order for all)    alert a opens ─► opened      b joins ─► updated      a and b resolve ─► resolved
                                     └ within `reopen_us` of that, c of the same cause or a again ─► updated, the same

Which alerts belong together, and what the cause is: pipeline.judging.grouping. An update is published when an alert
joins or ends, the severity rises, or another cause is blamed; an incident of nothing but alerts that were taken back
is *withdrawn*. Time is that of the alerts. An incident that no alert has spoken of for `silent_us` is resolved: its
alerts' model has gone.

State keys: `case/<incident>` (one for each that is open, or could be reopened; at most `incidents_max`), `names` (alert
to incident), `cursor`.
"""

from typing import Any, ClassVar

from msgspec import Struct

from pipeline.judging import grouping
from pipeline.judging.coordinates import Cursor, next_id
from pipeline.judging.grouping import ENDED, Case, GroupingParams
from pipeline.stage import Batch, Output, State
from topics.fields import HOUR_US
from topics.records import Alert, Incident

NAMES = "names"


class IncidentsParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`grouping`: which alerts belong together. `silent_us` in event time. `incidents_max`: the oldest gives way."""

    grouping: GroupingParams = GroupingParams()
    silent_us: int = 12 * HOUR_US
    incidents_max: int = 500

    def __post_init__(self) -> None:
        if self.incidents_max < 1 or self.silent_us < self.grouping.reopen_us:
            raise ValueError("incidents_max must be at least 1, and silent_us not below grouping.reopen_us")


class Names(Struct, tag="names"):
    """Alert -> its incident, of those remembered; `time_us`: the latest time of an alert; `cases`: oldest first."""

    incidents: dict[str, str] = {}
    cases: list[str] = []
    time_us: int = 0


class Incidents:
    """The stage; see the top of this file."""

    values: ClassVar[Any] = Case | Names | Cursor

    def __init__(self, params: IncidentsParams) -> None:
        self.params = params

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        outputs: list[Output] = []
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            if isinstance(event, Alert):
                outputs += _Turn(self.params, state, batch.partition, offset).hear(event)
        return outputs


class _Turn:
    """One alert's work on the cases."""

    def __init__(self, params: IncidentsParams, state: State[Any], partition: int, offset: int) -> None:
        self.params = params
        self.state = state
        self.partition = partition
        self.offset = offset
        self.names: Names = state.get(NAMES) or Names()
        self.outputs: list[Output] = []

    def hear(self, alert: Alert) -> list[Output]:
        self.names.time_us = max(self.names.time_us, alert.time_us)
        self._forget()
        case = self._of(alert)
        if case is not None:
            self._take(case, alert)
        elif alert.status not in ENDED:
            self._take(self._join(alert) or self._open(alert), alert)
        self.state.put(NAMES, self.names)
        return self.outputs

    def _of(self, alert: Alert) -> Case | None:
        name = self.names.incidents.get(alert.alert)
        return self.state.get(f"case/{name}") if name else None

    def _join(self, alert: Alert) -> Case | None:
        """The case that it belongs to most; of equals the oldest."""
        cases: list[Case] = [self.state.values[f"case/{name}"] for name in self.names.cases]
        strengths = [grouping.belongs(case, alert, self.params.grouping) for case in cases]
        strongest = max(strengths, default=0)
        return cases[strengths.index(strongest)] if strongest else None

    def _open(self, alert: Alert) -> Case:
        while len(self.names.cases) >= self.params.incidents_max:
            self._drop(self.names.cases[0])
        name = next_id(self.state, self.partition, self.offset, prefix="i")
        self.names.cases.append(name)
        return Case(name, alert.started_us, alert.time_us)

    def _take(self, case: Case, alert: Alert) -> None:
        new, ended = not case.members, case.ended_us is not None
        joins = alert.alert not in case.members
        before = () if joins else grouping.essence(case)
        grouping.take(case, alert)
        self.names.incidents[alert.alert] = case.incident
        self.state.put(f"case/{case.incident}", case)
        if not joins and grouping.essence(case) == before:
            return
        grouping.note(case, alert.time_us, alert.summary)
        if new:
            status = "opened"
        elif case.ended_us is None or ended:
            status = "updated"
        else:
            status = _ending(case)
        self._publish(case, status, alert.time_us)

    def _publish(self, case: Case, status: Any, time_us: int) -> None:
        """Under the incident's own name first, then under further coordinates."""
        id_ = case.incident if status == "opened" else next_id(self.state, self.partition, self.offset, prefix="i")
        incident = Incident(
            id=id_,
            time_us=time_us,
            incident=case.incident,
            status=status,
            severity=case.severity,
            title=grouping.title(case),
            started_us=case.started_us,
            cause=case.cause,
            models=case.models,
            kinds=case.kinds,
            alerts=list(case.members),
            open_alerts=case.open_alerts,
            ended_us=case.ended_us,
            reopened=case.reopened,
            timeline=case.timeline,
        )
        self.outputs.append(Output(self.offset, "incidents", case.incident, incident))

    def _forget(self) -> None:
        """Let go of what can no longer be reopened; resolve what nobody has spoken of for long."""
        for name in list(self.names.cases):
            case: Case = self.state.values[f"case/{name}"]
            if case.ended_us is not None and self.names.time_us - case.ended_us > self.params.grouping.reopen_us:
                self._drop(name)
            elif case.ended_us is None and self.names.time_us - case.heard_us > self.params.silent_us:
                case.ended_us = self.names.time_us
                for member in case.members.values():
                    member.status = member.status if member.status in ENDED else "resolved"
                grouping.note(case, self.names.time_us, "Nothing has been heard of its alerts for long.")
                self._publish(case, "resolved", self.names.time_us)
                self._drop(name)

    def _drop(self, name: str) -> None:
        case: Case = self.state.values[f"case/{name}"]
        for alert in case.members:
            self.names.incidents.pop(alert, None)
        self.names.cases.remove(name)
        self.state.drop(f"case/{name}")


def _ending(case: Case) -> str:
    taken_back = all(member.status == "withdrawn" for member in case.members.values())
    return "withdrawn" if taken_back else "resolved"
