"""How things stand, put together from what the topics hold: pure, so that it can be tested without a broker."""

from collections.abc import Iterable

from msgspec import Struct

from topics.control import Command, Deployment, Launch, Maintenance
from topics.fields import HOUR_US
from topics.records import Alert, FamilyThreshold, Incident, MetricWindow, Thresholds

OBSERVE_US = 24 * HOUR_US
"""How long a deployment is observed by default (`detection.observe_us`); a worker's settings are not known here."""

OVER = ("resolved", "withdrawn")


class ModelStatus(Struct, frozen=True):
    """One model. `age_us`: since the end of its last window; None where no window has closed (or none is kept)."""

    model: str
    windows: int
    since_us: int | None = None
    last_end_us: int | None = None
    age_us: int | None = None
    alerts_open: int = 0
    alerts_today: int = 0
    alerts_a_day: int = 0
    thresholds: list[FamilyThreshold] = []
    deployed: str = ""  # the version that is being observed
    observed_until_us: int | None = None


class OpenAlert(Struct, frozen=True):
    """An alert as last told."""

    alert: str
    severity: str
    kind: str
    model: str
    started_us: int
    summary: str
    provisional: bool = False


class OpenIncident(Struct, frozen=True):
    """An incident as last told. `alerts`: of them, `alerts_open` are open still."""

    incident: str
    severity: str
    started_us: int
    title: str
    cause: str
    alerts: int
    alerts_open: int


class Standing(Struct, frozen=True):
    """A command that holds now, or waits until `expires_us` for somebody's answer."""

    command: str
    action: str
    target: str
    reason: str
    waits: bool
    expires_us: int


class Announced(Struct, frozen=True):
    """A maintenance or a launch that is not over; `what` says which, and how much."""

    what: str
    whom: str
    start_us: int
    end_us: int
    reason: str


class Lag(Struct, frozen=True):
    """Records of a source that a group of workers has yet to read. `workers`: members of the group now."""

    group: str
    source: str
    workers: int
    records: int


class Status(Struct, frozen=True):
    """All of it, at `time_us` of this machine's clock."""

    time_us: int
    models: list[ModelStatus]
    incidents: list[OpenIncident]
    alerts: list[OpenAlert]
    commands: list[Standing]
    announced: list[Announced]
    lags: list[Lag]


def standing(
    now_us: int,
    windows: Iterable[MetricWindow],
    incidents: Iterable[Incident],
    alerts: Iterable[Alert],
    commands: Iterable[Command],
    thresholds: Iterable[Thresholds],
    control: Iterable[object],
    lags: list[Lag],
) -> Status:
    """The status at `now_us`; records of each topic in the order in which they were written."""
    newest = _newest(windows)
    told = {each.model: each for each in thresholds}
    still = _still_open(alerts)
    said = list(control)
    versions = {event.model: event for event in said if isinstance(event, Deployment)}
    names = sorted({*newest, *told, *(alert.model for alert in still)})
    return Status(
        time_us=now_us,
        models=[_model(name, now_us, newest.get(name), told.get(name), still, versions.get(name)) for name in names],
        incidents=_open_incidents(incidents),
        alerts=[
            OpenAlert(each.alert, each.severity, each.kind, each.model, each.started_us, each.summary, each.provisional)
            for each in still
        ],
        commands=_standing_commands(commands, now_us),
        announced=[each for event in said if (each := _announced(event)) and each.end_us > now_us],
        lags=lags,
    )


def _newest(windows: Iterable[MetricWindow]) -> dict[str, MetricWindow]:
    newest: dict[str, MetricWindow] = {}
    for window in windows:
        if window.model not in newest or window.end_us > newest[window.model].end_us:
            newest[window.model] = window
    return newest


def _still_open(alerts: Iterable[Alert]) -> list[Alert]:
    """The alerts whose last step did not end them, oldest first."""
    last = {alert.alert: alert for alert in alerts}
    return sorted((a for a in last.values() if a.status not in OVER), key=lambda a: (a.started_us, a.alert))


def _open_incidents(incidents: Iterable[Incident]) -> list[OpenIncident]:
    last = {each.incident: each for each in incidents}
    return [
        OpenIncident(
            incident=each.incident,
            severity=each.severity,
            started_us=each.started_us,
            title=each.title,
            cause=each.cause.explanation,
            alerts=len(each.alerts),
            alerts_open=each.open_alerts,
        )
        for each in sorted(last.values(), key=lambda each: (each.started_us, each.incident))
        if each.status not in OVER
    ]


def _standing_commands(commands: Iterable[Command], now_us: int) -> list[Standing]:
    """Those that were issued or ask for an answer, oldest first, and have not run out."""
    last = {each.command: each for each in commands}
    return [
        Standing(
            command=each.command,
            action=each.action,
            target=each.target,
            reason=each.reason,
            waits=each.state == "pending_approval",
            expires_us=each.expires_us,
        )
        for each in sorted(last.values(), key=lambda each: (each.time_us, each.command))
        if each.state in ("issued", "pending_approval") and each.expires_us > now_us
    ]


def _model(
    name: str,
    now_us: int,
    window: MetricWindow | None,
    told: Thresholds | None,
    still: list[Alert],
    deployment: Deployment | None,
) -> ModelStatus:
    until_us = deployment.time_us + OBSERVE_US if deployment else 0
    observed = deployment is not None and until_us > now_us
    return ModelStatus(
        model=name,
        windows=_windows(window, told),
        since_us=told.since_us if told else None,
        last_end_us=window.end_us if window else None,
        age_us=max(now_us - window.end_us, 0) if window else None,
        alerts_open=sum(alert.model == name for alert in still),
        alerts_today=told.alerts_today if told else 0,
        alerts_a_day=told.alerts_a_day if told else 0,
        thresholds=told.families if told else [],
        deployed=deployment.version if deployment and observed else "",
        observed_until_us=until_us if observed else None,
    )


def _windows(window: MetricWindow | None, told: Thresholds | None) -> int:
    """As last told, and one for each window's length since: a known model has one a minute, with zeros if need be."""
    if told is None:
        return 0
    since = 0 if window is None else (window.end_us - told.time_us) // max(window.end_us - window.start_us, 1)
    return told.windows + max(since, 0)


def _announced(event: object) -> Announced | None:
    if isinstance(event, Maintenance):
        return Announced("maintenance", event.model or "every model", event.start_us, event.end_us, event.reason)
    if isinstance(event, Launch):
        whom = event.model or "every model"
        whom += f", organisation {event.organisation}" if event.organisation else ""
        return Announced(f"launch × {event.factor:g}", whom, event.start_us, event.end_us, event.reason)
    return None
