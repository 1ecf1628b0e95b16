"""Alerts against labelled events, by the rules of `replay.score`: what found what, what was false, who spoke first.

An alert finds an event when it opens from its start to three minutes after its end, on a model that is hit. It is false
when no event of its model runs, nor ended within the last five minutes. One alert on each of several models for one
event is one hit.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.judging.metrics import MEASURES
from replay.backtest.inputs import Input
from replay.backtest.labels import ANY, Label
from replay.backtest.model import Detection, Event, Findings, Judgement, Panel, Strip
from replay.backtest.watched import Anomalous, ModelWindows, Watched
from replay.collect import Collected
from replay.score import GRACE_AFTER_US, MATCH_AFTER_US, AlertLife, alert_lives, explains
from topics.fields import MINUTE_US

UNITS: dict[str, tuple[float, str]] = {
    "error_rate": (100.0, "error rate, %"),
    "first_token_us_p99": (1e-6, "first token p99, s"),
    "duration_us_p99": (1e-6, "completion p99, s"),
    "duration_us_p50": (1e-6, "completion p50, s"),
    "requests": (1.0, "requests a window"),
    "tokens_per_s": (1.0, "tokens a second"),
    "cost_microusd": (1e-6, "cost a window, $"),
}
"""What a metric is drawn in: factor, label."""


def judge(source: Input, watched: Watched, labels: Sequence[Label], prefix: str, warm_up_us: int) -> Judgement:
    """Score what a run over windows gave. Before `warm_up_us` from the start nothing counts, neither way."""
    start_us = min(model.starts_us[0] for model in watched.models.values())
    end_us = max(model.ends_us[-1] for model in watched.models.values())
    judged_from_us = start_us + warm_up_us
    placed = [label.at(start_us) for label in labels]
    placed = [label for label in placed if judged_from_us <= label.start_us < end_us]
    anomalies = sorted(watched.anomalies, key=lambda found: (found.end_us, found.model))
    marks: dict[str, dict[str, list[int]]] = {}
    for found in anomalies:
        marks.setdefault(found.model, {}).setdefault(found.metric, []).append(found.start_us)
    strips = [
        _strip(prefix + name, source, model, marks.get(name, {}), bool(labels), judged_from_us)
        for name, model in watched.models.items()
    ]
    events = [_event(number, label, watched, prefix) for number, label in enumerate(placed, 1)]
    lives = _lives(watched)
    span = (judged_from_us, end_us) if labels else (0, -1)
    detections = [_detection(life, events, prefix, span) for life in lives]
    for event in events:
        _find(event, detections)
        _witnesses(event, anomalies, detections, prefix)
    return Judgement(strips, events, detections, _findings(anomalies, events, prefix))


def _lives(watched: Watched) -> list[AlertLife]:
    collected = Collected()
    collected.alerts = watched.within()
    return alert_lives(collected)


def _strip(
    name: str, source: Input, model: ModelWindows, marks: dict[str, list[int]], labelled: bool, judged_from_us: int
) -> Strip:
    times_us = np.frombuffer(model.starts_us, np.int64)
    panels = []
    for measure in MEASURES:
        factor, label = UNITS.get(measure.metric, (1.0, measure.label))
        value, expected, low, high = (np.frombuffer(column) * factor for column in model.columns[measure.metric])
        panels.append(
            Panel(
                measure.metric, label, times_us, value, expected, low, high, sorted(set(marks.get(measure.metric, [])))
            )
        )
    return Strip(
        name=name,
        source=str(source.path),
        kind=source.content,  # type: ignore[arg-type] # traffic, slices or windows here
        rows=len(times_us),
        start_us=model.starts_us[0],
        end_us=model.ends_us[-1],
        step_us=model.ends_us[0] - model.starts_us[0] or MINUTE_US,
        judged_from_us=max(judged_from_us, model.starts_us[0]),
        labelled=labelled,
        panels=panels,
    )


def _event(number: int, label: Label, watched: Watched, prefix: str) -> Event:
    models = _models(label, watched)
    return Event(
        id=f"{prefix}event {number}",
        kind=label.kind,
        target=label.target or ", ".join(label.models),
        start_us=label.start_us,
        end_us=label.end_us,
        strips=[prefix + model for model in models],
        difficulty=label.difficulty,
        cause=label.cause,
    )


def _models(label: Label, watched: Watched) -> list[str]:
    """The models that a label is about: those named, or those that its target uses meanwhile, or all."""
    if label.models:
        return [model for model in label.models if model in watched.models]
    if label.target in watched.models:
        return [label.target]
    users = [name for name, model in watched.models.items() if label.target not in ANY and _uses(label, model)]
    return users or list(watched.models)


def _uses(label: Label, model: ModelWindows) -> bool:
    first, end = bisect_right(model.ends_us, label.start_us), bisect_left(model.starts_us, label.end_us)
    return any(label.target in users for users in model.users[first:end])


def _detection(life: AlertLife, events: Sequence[Event], prefix: str, judged: tuple[int, int]) -> Detection:
    """`judged`: from when to when alerts count."""
    detection = Detection(
        id=prefix + life.alert,
        strip=prefix + life.model,
        kind=life.kind,
        severity=life.severity,
        start_us=life.opened_us,
        end_us=life.resolved_us,
        summary=life.summary,
        confirmations=life.confirmations,
        causes=life.causes,
        provisional=life.provisional,
        withdrawn=life.withdrawn,
    )
    if judged[0] <= life.opened_us <= judged[1]:
        if any(_covers(event, detection, MATCH_AFTER_US) for event in events):
            detection.outcome = "hit"
        else:
            late = any(_covers(event, detection, GRACE_AFTER_US) for event in events)
            detection.outcome = "after" if late else "false"
    return detection


def _covers(event: Event, detection: Detection, after_us: int) -> bool:
    return explains(event, event.strips, detection.start_us, detection.strip, after_us)


def _find(event: Event, detections: Iterable[Detection]) -> None:
    found = [detection for detection in detections if _covers(event, detection, MATCH_AFTER_US)]
    if found:
        event.delay_us = min(detection.start_us for detection in found) - event.start_us
        event.found_by = [detection.id for detection in found]
        event.named = sorted({detection.kind for detection in found})
        if event.cause:
            event.caused = next((one.causes[0] for one in found if one.causes), "") == event.cause


def _witnesses(event: Event, anomalies: Sequence[Anomalous], detections: Sequence[Detection], prefix: str) -> None:
    """Who spoke first of the detectors in the event's windows, and who is named by its alerts."""
    first = bisect_left(anomalies, event.start_us, key=lambda found: found.end_us)
    spoken: list[Anomalous] = []
    for found in anomalies[first:]:
        if found.start_us > event.end_us or (spoken and found.end_us > spoken[0].end_us):
            break
        if prefix + found.model in event.strips:
            spoken.append(found)
    event.first = sorted({found.detector for found in spoken})
    own = [one for one in detections if one.id in event.found_by]
    event.confirmed = sorted({name.rpartition("/")[2] for one in own for name in one.confirmations})


def _findings(anomalies: Sequence[Anomalous], events: Sequence[Event], prefix: str) -> dict[str, Findings]:
    """Windows in which each detector found something, in all and outside of every event (and its grace)."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for event in events:
        for strip in event.strips:
            spans.setdefault(strip, []).append((event.start_us, event.end_us + GRACE_AFTER_US))
    counted: dict[str, Findings] = {}
    for start_us, end_us, model, detector in dict.fromkeys(
        (a.start_us, a.end_us, a.model, a.detector) for a in anomalies
    ):
        found = counted.setdefault(detector, Findings())
        found.total += 1
        found.outside += not any(first < end_us and start_us < last for first, last in spans.get(prefix + model, ()))
    return counted
