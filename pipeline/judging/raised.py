"""Which alerts a partition has raised: how many today, against the noise budget, and whom a verdict on one concerns."""

from typing import Any

from msgspec import Struct

from pipeline.stage import State
from topics.control import Feedback

_RAISED, _TODAY = "raised", "today"


class Concerned(Struct):
    """Whom a verdict on an alert concerns, the verdict given so far, and when (-1: none)."""

    model: str
    family: str
    verdict: str = ""
    judged_us: int = -1


class Raised(Struct, tag="raised"):
    """The alerts raised last, by name, oldest first."""

    alerts: dict[str, Concerned] = {}


class Today(Struct, tag="today"):
    """Alerts of all models that this partition has counted on `day` (since 1970, UTC)."""

    day: int = -1
    alerts: int = 0


def remember(state: State[Any], alert: str, model: str, family: str, remembered_max: int) -> None:
    """An alert has opened; the oldest one gives way when there are too many."""
    raised: Raised = state.get(_RAISED) or Raised()
    raised.alerts[alert] = Concerned(model, family)
    for oldest in list(raised.alerts)[:-remembered_max]:
        del raised.alerts[oldest]
    state.put(_RAISED, raised)


def concerned(state: State[Any], feedback: Feedback) -> Concerned | None:
    """Whom a verdict moves. None: a mere note, an alert that is not (or no longer) known here, or said before."""
    raised: Raised | None = state.get(_RAISED)
    found = raised.alerts.get(feedback.alert) if raised else None
    return None if found is None or feedback.verdict in ("note", found.verdict) else found


def keep_verdict(state: State[Any], feedback: Feedback, time_us: int) -> None:
    """Note what was said of an alert that `concerned` has found."""
    raised: Raised = state.values[_RAISED]
    found = raised.alerts[feedback.alert]
    found.verdict, found.judged_us = feedback.verdict, time_us
    state.put(_RAISED, raised)


def count(state: State[Any], day: int) -> int:
    """Count one alert; how many of this day that makes."""
    today: Today = state.get(_TODAY) or Today()
    if day > today.day:
        today.day, today.alerts = day, 0
    today.alerts += 1
    state.put(_TODAY, today)
    return today.alerts
