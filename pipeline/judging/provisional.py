"""The life of a provisional alert: raised on seconds of evidence, then confirmed by a minute window, or withdrawn.

    Sudden ──► open (provisional) ──first window that speaks for the family──► update (provisional no more) ──► as any
                 │  '──a graver Sudden──► update (provisional)
                 '──`withdraw_after` windows closed since then that do not speak for it──► withdrawn

One window is enough to confirm, and a leading anomaly in it: the sequential test has already given its own evidence. A
family whose alert is open needs none; an alert resolved a moment ago comes back as itself, by an update; a finding
that begins with another family's alert and is no graver is that incident showing elsewhere.

Sensitivity holds here as for windows: what was found must be out by k times the test's threshold, but errors beyond
the hard limit of 5 % always speak. For traffic and answers it only delays: evidence of `SPEAKS_AFTER_US` speaks at any
k. What has been raised is confirmed at k = 1. What a maintenance or an announced launch explains raises nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.judging import sensitivity
from pipeline.judging.alerts import Open, Status, note
from pipeline.judging.context import Context, announced
from pipeline.judging.families import FAMILIES, RANK, Family, direction, kind, severity
from pipeline.judging.grading import LAUNCHED
from pipeline.judging.sensitivity import SensitivityParams
from pipeline.judging.watches import Model, Watch
from topics.fields import MINUTE_US, Severity
from topics.links import Sudden
from topics.records import Anomaly, Judged

ERRORS_SPEAK = 0.05
SPEAKS_AFTER_US = MINUTE_US  # a test that rings is told of for as long (FastParams.told_moments)


class Step(NamedTuple):
    """What is to be published of the alert that `watch` holds open."""

    family: Family
    watch: Watch
    status: Status
    lead: Anomaly


class Raising(NamedTuple):
    """Alerting's settings that matter here, in windows."""

    fold_windows: int
    reopen_windows: int
    sensitivity: SensitivityParams


def raised_by(model: Model, sudden: Sudden, known: Context, params: Raising) -> Iterator[Step]:
    """Open provisional alerts, or make them graver."""
    if sudden.suppressed:
        return
    for lead, started_us in zip(sudden.anomalies, sudden.started_us, strict=True):
        family = next(family for family in FAMILIES if (lead.metric, direction(lead)) in family.leads)
        watch = model.watches[family.name]
        lasted_us = sudden.time_us - started_us
        if not _speaks(watch, family, lead, lasted_us, params) or _explained(family, sudden, lead, known):
            continue
        graded = severity(family, sudden)
        if watch.open is not None:
            status = _graver(watch.open, graded)
        elif (host := host_of(model, family, model.windows, graded, params.fold_windows)) is not None:
            note(host, [lead])
            continue
        else:
            status = _raise(model, family, watch, sudden, graded, started_us, params, lead)
        if status is not None:
            yield Step(family, watch, status, lead)


def _speaks(watch: Watch, family: Family, lead: Anomaly, lasted_us: int, params: Raising) -> bool:
    k = sensitivity.in_force(watch.sensitivity, params.sensitivity)
    hard = lead.actual > ERRORS_SPEAK if family.name == "errors" else lasted_us >= SPEAKS_AFTER_US
    return hard or sensitivity.reach(lead) >= k


def _explained(family: Family, sudden: Sudden, lead: Anomaly, known: Context) -> bool:
    if not known.launches or family.name not in LAUNCHED:
        return False
    span = (lead.window_start_us, sudden.time_us)
    return announced(known, sudden.model, span, LAUNCHED[family.name], [lead]) is not None


def _graver(alert: Open, graded: Severity) -> Status | None:
    if not alert.provisional or RANK[graded] <= RANK[alert.severity]:
        return None
    alert.severity = graded
    return "update"


def _raise(
    model: Model,
    family: Family,
    watch: Watch,
    sudden: Sudden,
    graded: Severity,
    started_us: int,
    params: Raising,
    lead: Anomaly,
) -> Status:
    again = watch.closed if model.windows - watch.closed_at <= params.reopen_windows else None
    watch.began, watch.began_us, watch.counted, watch.quiet, watch.closed = model.windows, started_us, 0, 0, None
    if again is not None:
        again.severity, again.told, again.reopened = graded, 0, again.reopened + 1
        alert = again
    else:
        alert = Open("", kind(family, sudden, gradual=False), graded, started_us, windows=0)
        alert.provisional, alert.raised_us = True, sudden.time_us
    note(alert, [lead])
    watch.open = alert
    return "update" if again is not None else "open"


def unheard(watch: Watch, alert: Open, judged: Judged, withdraw_after: int) -> bool:
    """Take in a window without a word for a provisional alert; whether that withdraws it."""
    alert.unheard += judged.window.end_us >= alert.raised_us
    if alert.unheard < withdraw_after:
        return False
    watch.began, watch.counted = -1, 0
    return True


def host_of(model: Model, family: Family, began: int, graded: Severity, fold_windows: int) -> Open | None:
    """The open alert of another family that began about then and is no less grave."""
    for other in FAMILIES:
        host = model.watches[other.name]
        if other is family or host.open is None or RANK[graded] > RANK[host.open.severity]:
            continue
        if abs(began - host.began) <= fold_windows:
            return host.open
    return None
