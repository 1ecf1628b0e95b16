"""Scoring: what of the injected incidents was found, how soon and by what, what was done about it, what was false.

An alert finds an incident when it opens within [start, end + MATCH_AFTER_US] and is about the incident's model; for a
token surge, about a model that the surging organisation uses. An alert is false when it opens while no incident of its
model runs, a grace of GRACE_AFTER_US after the end included (recovery may be noticed as well). Alerts that open after
the recording's last request are told apart: that traffic stops there is no incident of the service.
"""

from collections.abc import Container, Iterable, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from replay.collect import Collected
from replay.incidents import KINDS, Incident
from replay.inject import Touched
from topics.control import Command
from topics.fields import MINUTE_US
from topics.records import Alert, Cause

MATCH_AFTER_US = 3 * MINUTE_US
GRACE_AFTER_US = 5 * MINUTE_US


class Answer(Struct, frozen=True):
    """What obeyed a command: `by` scheduler, cache or quota."""

    by: str
    what: str
    time_us: int
    detail: str = ""


class CommandLife(Struct, frozen=True):
    """A command with its states (state, time in microseconds) and the answers to it."""

    command: str
    action: str
    target: str
    model: str
    severity: str
    reason: str
    states: list[tuple[str, int]]
    answers: list[Answer]


class AlertLife(Struct, frozen=True):
    """An alert from opening to end. `resolved_us` None: still open when the run ended."""

    alert: str
    kind: str
    severity: str  # the highest it reached
    model: str
    organisation: str
    opened_us: int
    resolved_us: int | None
    windows: int
    confirmations: list[str]
    summary: str
    commands: list[CommandLife]
    provisional: bool = False  # opened by the fast path
    confirmed_us: int | None = None  # when a minute window confirmed it
    withdrawn: bool = False  # `resolved_us` is when
    causes: list[str] = []  # dimension=value, as last told, the likeliest first


class Told(Struct, frozen=True):
    """An incident as the pipeline told it, at its last step. `ended_us` None: still open when the run ended."""

    incident: str
    status: str
    severity: str
    title: str
    cause: Cause
    opened_us: int
    ended_us: int | None
    models: list[str]
    alerts: list[str]
    reopened: int


class IncidentScore(Struct, frozen=True):
    """One injected incident and the alerts that found it, first to open first."""

    kind: str
    target: str
    start_us: int
    end_us: int
    strength: float
    says: str  # the strength in words
    events_touched: int
    models: list[str]
    alerts: list[AlertLife]
    delay_us: int | None  # from the incident's start to the first alert; None: missed

    @property
    def detected(self) -> bool:
        return bool(self.alerts)

    @property
    def named_rightly(self) -> bool:
        """Whether an alert that found it also has its kind."""
        return any(alert.kind == self.kind for alert in self.alerts)

    @property
    def commands(self) -> list[CommandLife]:
        return [command for alert in self.alerts for command in alert.commands]


class Score(Struct, frozen=True):
    """The whole judgement, ready for JSON."""

    incidents: list[IncidentScore]
    false_alarms: list[AlertLife]
    related: list[AlertLife]  # opened in the grace after an incident: recovery noticed
    after_end: list[AlertLife]
    told: list[Told] = []

    @property
    def detected(self) -> int:
        return sum(incident.detected for incident in self.incidents)


def score(incidents: Sequence[Incident], touched: Sequence[Touched], collected: Collected, end_us: int) -> Score:
    """Judge a run. `touched` is the injector's, in the incidents' order; `end_us` the last request's time."""
    lives = alert_lives(collected)
    within = [life for life in lives if life.opened_us <= end_us]
    scores = [_incident(incident, what, within) for incident, what in zip(incidents, touched, strict=True)]
    found = {life.alert for row in scores for life in row.alerts}
    rest = [life for life in within if life.alert not in found]
    related = [life for life in rest if any(_explains(row, life, GRACE_AFTER_US) for row in scores)]
    return Score(
        incidents=scores,
        false_alarms=[life for life in rest if life not in related],
        related=related,
        after_end=[life for life in lives if life.opened_us > end_us],
        told=told(collected),
    )


def told(collected: Collected) -> list[Told]:
    """Every incident that the pipeline told of, as it last stood, in order of opening."""
    first: dict[str, int] = {}
    last: dict[str, Told] = {}
    for step in collected.incidents.values():
        opened_us = first.setdefault(step.incident, step.time_us)
        last[step.incident] = Told(
            incident=step.incident,
            status=step.status,
            severity=step.severity,
            title=step.title,
            cause=step.cause,
            opened_us=opened_us,
            ended_us=step.ended_us,
            models=step.models,
            alerts=step.alerts,
            reopened=step.reopened,
        )
    return sorted(last.values(), key=lambda one: (one.opened_us, one.incident))


def alert_lives(collected: Collected) -> list[AlertLife]:
    """Every alert of the run, with its commands and their answers, in order of opening."""
    steps: dict[str, list[Alert]] = {}
    for alert in collected.alerts.values():
        steps.setdefault(alert.alert, []).append(alert)
    commands: dict[str, list[CommandLife]] = {}
    for alert_id, life in _command_lives(collected):
        commands.setdefault(alert_id, []).append(life)
    lives = [_alert_life(own, commands.get(name, [])) for name, own in steps.items()]
    return sorted(lives, key=lambda life: (life.opened_us, life.alert))


_SEVERITIES = ("info", "warning", "critical")


def _alert_life(steps: list[Alert], commands: list[CommandLife]) -> AlertLife:
    first, last = steps[0], steps[-1]
    confirmed = next(
        (step for step in steps if first.provisional and step.status == "update" and not step.provisional), None
    )
    return AlertLife(
        alert=first.alert,
        kind=last.kind,
        severity=max((step.severity for step in steps), key=_SEVERITIES.index),
        model=first.model,
        organisation=next((step.organisation for step in steps if step.organisation), ""),
        opened_us=first.time_us,
        resolved_us=last.time_us if last.status in ("resolved", "withdrawn") else None,
        windows=last.windows,
        confirmations=sorted({name for step in steps for name in step.confirmations}),
        summary=first.summary,
        commands=commands,
        provisional=first.provisional,
        confirmed_us=confirmed.time_us if confirmed else None,
        withdrawn=last.status == "withdrawn",
        causes=next((named for step in reversed(steps) if (named := _causes(step))), []),
    )


def _causes(step: Alert) -> list[str]:
    return [f"{cause.dimension}={cause.value}" for cause in step.causes]


def _command_lives(collected: Collected) -> Iterable[tuple[str, CommandLife]]:
    """Each command with the alert it answers, in order of first appearance."""
    steps: dict[str, list[Command]] = {}
    for command in collected.commands.values():
        steps.setdefault(command.command, []).append(command)
    for own in steps.values():
        first = own[0]
        yield (
            first.alert,
            CommandLife(
                command=first.command,
                action=first.action,
                target=first.target,
                model=first.model,
                severity=first.severity,
                reason=first.reason,
                states=[(step.state, step.time_us) for step in own],
                answers=list(_answers(own, collected)),
            ),
        )


def _answers(steps: list[Command], collected: Collected) -> Iterable[Answer]:
    names = {steps[0].command, *(step.id for step in steps)}
    for job in collected.jobs.values():
        if job.command in names:
            yield Answer("scheduler", job.kind, job.time_us, job.detail)
    for invalidated in collected.invalidations.values():
        if invalidated.command in names:
            what = f"entries of {invalidated.model} below epoch {invalidated.epoch} dropped"
            yield Answer("cache", what, invalidated.time_us, invalidated.detail)
    if steps[0].action == "throttle":
        yield from _quota_answer(steps, collected)


def _quota_answer(steps: list[Command], collected: Collected) -> Iterable[Answer]:
    """The quota has no topic of its own for this: its answer is the decisions, from the command until its end."""
    issued = [step for step in steps if step.state == "issued"]
    if not issued:
        return
    ended_us = next((step.time_us for step in steps if step.state in ("reversed", "expired")), issued[-1].expires_us)
    refused = collected.throttled_between(steps[0].target, issued[0].time_us, ended_us)
    yield Answer("quota", f"{refused:,} requests of {steps[0].target} throttled", issued[0].time_us)


def _incident(incident: Incident, touched: Touched, lives: list[AlertLife]) -> IncidentScore:
    bare = IncidentScore(
        kind=incident.kind,
        target=incident.target,
        start_us=incident.start_us,
        end_us=incident.end_us,
        strength=incident.strength,
        says=KINDS[incident.kind].says(incident.strength),
        events_touched=touched.events,
        models=sorted(touched.models) if KINDS[incident.kind].hits_organisation else [incident.target],
        alerts=[],
        delay_us=None,
    )
    alerts = [life for life in lives if _explains(bare, life, MATCH_AFTER_US)]
    delay_us = alerts[0].opened_us - incident.start_us if alerts else None
    return replace(bare, alerts=alerts, delay_us=delay_us)


def _explains(incident: IncidentScore, life: AlertLife, after_us: int) -> bool:
    return explains(incident, incident.models, life.opened_us, life.model, after_us)


class Span(Protocol):
    """What has a beginning and an end in event time."""

    @property
    def start_us(self) -> int: ...
    @property
    def end_us(self) -> int: ...


def explains(span: Span, models: Container[str], opened_us: int, model: str, after_us: int) -> bool:
    """Whether an alert that opened on `model` is about an incident of `models`, or about the `after_us` after it."""
    return span.start_us <= opened_us <= span.end_us + after_us and model in models
