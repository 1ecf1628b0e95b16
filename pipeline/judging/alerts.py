"""An open alert, what confirms it, and the record and the sentence that tell of it."""

from typing import Literal

from msgspec import Struct

from pipeline.judging.families import RECOMMENDED, Family, confirming_breaks, is_witness, leading
from pipeline.judging.metrics import BY_METRIC, COMBINED
from topics.control import Launch
from topics.fields import SECOND_US, TEXT_CHARACTERS_MAX, Severity
from topics.links import Sudden
from topics.records import Alert, Anomaly, Cause, Judged

CONFIRMATIONS_MAX = 32

Status = Literal["open", "update", "resolved", "withdrawn"]


class Open(Struct):
    """An alert that is open. `windows` anomalous so far, `told` since it was last published; `reopened` how often.

    `counted`: it was of a severity that pages somebody, and has been counted in the noise budget. `provisional` while
    no minute window has confirmed it, raised at `raised_us`; `unheard`: the windows closed since then without a word.
    """

    alert: str
    kind: str
    severity: Severity
    started_us: int
    windows: int
    told: int = 0
    organisation: str = ""
    confirmations: list[str] = []
    reopened: int = 0
    counted: bool = False
    provisional: bool = False
    raised_us: int = 0
    unheard: int = 0
    causes: list[Cause] = []


def confirm(alert: Open, family: Family, judged: Judged) -> None:
    """Add this window's witnesses, and the organisation when one explains it."""
    found = [f"{a.metric}/{a.detector}" for a in judged.anomalies if is_witness(family, a)]
    found += [f"{metric}/pelt" for metric in confirming_breaks(family, judged)]
    new = [confirmation for confirmation in dict.fromkeys(found) if confirmation not in alert.confirmations]
    alert.confirmations = [*alert.confirmations, *new][:CONFIRMATIONS_MAX]
    named = [anomaly.organisation for anomaly in judged.anomalies if anomaly.organisation]
    if named and family.name == "tokens":
        alert.organisation = alert.organisation or named[0]


def note(alert: Open, leads: list[Anomaly]) -> None:
    """Add the fast path's witnesses."""
    found = [f"{lead.metric}/{lead.detector}" for lead in leads]
    new = [confirmation for confirmation in found if confirmation not in alert.confirmations]
    alert.confirmations = [*alert.confirmations, *new][:CONFIRMATIONS_MAX]


def record(id_: str, status: Status, family: Family, alert: Open, judged: Judged, notes: list[str]) -> Alert:
    """The alert record of one step in its life; `notes` are further sentences of its summary."""
    cause = [alert.causes[0].explanation] if alert.causes and status != "resolved" else []
    summary = " ".join([_summary(status, family, alert, judged), *cause, *notes])
    return Alert(
        id=id_,
        time_us=judged.window.end_us,
        alert=alert.alert,
        status=status,
        severity=alert.severity,
        kind=alert.kind,
        model=judged.window.model,
        started_us=alert.started_us,
        windows=alert.windows,
        summary=summary[:TEXT_CHARACTERS_MAX],
        organisation=alert.organisation,
        metrics=_metrics(judged),
        confirmations=alert.confirmations,
        recommended=list(RECOMMENDED[alert.kind]),
        provisional=alert.provisional,
        causes=alert.causes,
    )


def sudden_record(id_: str, status: Status, alert: Open, sudden: Sudden, lead: Anomaly, notes: list[str]) -> Alert:
    """The alert record of a step that was taken on seconds of evidence."""
    seconds = max((sudden.time_us - alert.started_us) // SECOND_US, 1)
    what = f"{alert.kind.replace('_', ' ')} on {sudden.model}".capitalize()
    said = f"Provisional, on {seconds} s of evidence: {what}" if alert.provisional else f"{what} is back"
    return Alert(
        id=id_,
        time_us=sudden.time_us,
        alert=alert.alert,
        status=status,
        severity=alert.severity,
        kind=alert.kind,
        model=sudden.model,
        started_us=alert.started_us,
        windows=alert.windows,
        summary=" ".join([f"{said}: {lead.explanation}", *notes])[:TEXT_CHARACTERS_MAX],
        organisation=alert.organisation,
        metrics=_metrics(sudden),
        confirmations=alert.confirmations,
        recommended=list(RECOMMENDED[alert.kind]),
        provisional=alert.provisional,
        causes=alert.causes,
    )


def notes(alert: Open, k: float, why: str, launch: Launch | None, resolves_after: int) -> list[str]:
    """Further sentences for the summary: how sensitive its family is and why, what was announced, that it flaps."""
    said = []
    if k > 1.0:
        said.append(f"Findings speak from {k:.3g} times their threshold on: {why}.")
    if launch is not None:
        reason = f": {launch.reason}" if launch.reason else ""
        said.append(f"A launch of up to {launch.factor:g} times the usual was announced{reason}.")
    if alert.reopened:
        said.append(f"It came back {alert.reopened} times, so it resolves after {resolves_after} quiet windows.")
    return said


def _metrics(judged: Judged | Sudden) -> dict[str, float]:
    """What was anomalous, and what was expected of it."""
    named: dict[str, float] = {}
    for anomaly in judged.anomalies:
        named.setdefault(anomaly.metric, anomaly.actual)
        named.setdefault(f"{anomaly.metric}_expected", anomaly.expected)
    return named


def _summary(status: str, family: Family, alert: Open, judged: Judged) -> str:
    what = f"{alert.kind.replace('_', ' ')} on {judged.window.model}".capitalize()
    if status == "resolved":
        return f"{what} is over after {alert.windows} anomalous windows."
    if status == "withdrawn":
        return f"{what} is withdrawn: {alert.unheard} minute windows since then do not confirm it."
    lead = max(leading(family, judged), key=lambda a: (a.score, a.metric))
    whose = f", most of it by organisation {alert.organisation}" if alert.organisation else ""
    if lead.metric == COMBINED:
        return f"{what}: {lead.explanation}"
    measure = BY_METRIC[lead.metric]
    return (
        f"{what}{whose}: {measure.label} {measure.show(lead.actual)} where {measure.show(lead.expected)} is usual, "
        f"in {alert.windows} windows so far."
    )
