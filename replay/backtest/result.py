"""What `backtest.json` holds. Every field is described in docs/backtest.md; times are RFC 3339, durations seconds."""

from typing import Any

import msgspec
from msgspec import Struct

from detectors.judge import Events
from pipeline.settings import Settings
from replay.backtest import changes, tally
from replay.backtest.model import Detection, Event, Judgement, Review
from replay.backtest.two_fold import TwoFold, two_fold
from topics.codec import rfc3339


class Configuration(Struct, frozen=True):
    """One side: its name, `A` or `B`, and where its settings come from."""

    name: str
    source: str
    settings: Settings


class EventRow(Struct, frozen=True):
    """An event of the labels and what became of it."""

    id: str
    kind: str
    target: str
    strips: list[str]
    start: str
    end: str
    difficulty: str
    found: bool
    delay_s: float | None
    delay_rows: int | None
    found_by: list[str]
    named: list[str]
    first: list[str]
    confirmed: list[str]
    cause: str
    cause_named: bool | None


class DetectionRow(Struct, frozen=True):
    """An alert, or an episode of flagged rows. `end` None: open at the end of the recording."""

    id: str
    strip: str
    kind: str
    severity: str
    start: str
    end: str | None
    outcome: str
    episodes: int
    confirmations: list[str]
    summary: str
    causes: list[str]
    provisional: bool
    withdrawn: bool


class DriftRow(Struct, frozen=True):
    """A series is no longer what it was: for review, and in no other figure."""

    strip: str
    time: str
    row: int
    since: str
    before: float
    after: float
    summary: str


class Fold(Struct, frozen=True):
    """Event figures with one way of choosing the threshold (a cut on the detector's score)."""

    cuts: list[float]
    events: int
    found: int
    false_episodes: int
    recall: float
    precision: float
    f1: float
    false_per_day: float


class TwoFoldRows(Struct, frozen=True):
    """`two_fold`: the cuts chosen on the first half of the groups and on the second, each scored on the other half."""

    groups: list[int]
    shipped: Fold
    two_fold: Fold


class Run(Struct, frozen=True):
    """All figures of one configuration."""

    name: str
    config: str
    total: tally.Tally
    kinds: list[tally.KindTally]
    alert_kinds: dict[str, dict[str, int]]
    detectors: list[tally.DetectorTally]
    strips: list[tally.StripTally]
    two_fold: TwoFoldRows | None
    events: list[EventRow]
    detections: list[DetectionRow]
    drifts: list[DriftRow] = []


class Result(Struct, frozen=True):
    """`runs`: A, and B with --against; then `changes` says what is different."""

    version: str
    inputs: list[dict[str, Any]]
    labelled: bool
    warm_up: float
    warm_up_hours: float
    rows: int
    wall_s: float
    cpu_s: float
    rows_per_s: float
    notes: list[str]
    runs: list[Run]
    changes: changes.Changes | None


def run_of(configuration: Configuration, found: Judgement) -> Run:
    """The figures of one configuration."""
    folds = two_fold(list(found.scores.values()))
    return Run(
        name=configuration.name,
        config=configuration.source,
        total=tally.total(found),
        kinds=tally.by_kind(found.events),
        alert_kinds=_alert_kinds(found),
        detectors=tally.by_detector(found),
        strips=tally.by_strip(found),
        two_fold=None if folds is None else _folds(folds),
        events=[_event(event) for event in found.events],
        detections=[_detection(detection) for detection in found.detections],
        drifts=[_drift(drift) for drift in found.drifts],
    )


def encoded(result: Result) -> bytes:
    """The file's bytes."""
    return msgspec.json.format(msgspec.json.encode(result), indent=1)


def _alert_kinds(found: Judgement) -> dict[str, dict[str, int]]:
    """How many detections of each kind had which outcome."""
    kinds: dict[str, dict[str, int]] = {}
    for detection in found.detections:
        outcomes = kinds.setdefault(detection.kind, {})
        outcomes[detection.outcome] = outcomes.get(detection.outcome, 0) + 1
    return dict(sorted(kinds.items()))


def _folds(folds: TwoFold) -> TwoFoldRows:
    return TwoFoldRows(list(folds.groups), _fold([0.5], folds.shipped), _fold(list(folds.cuts), folds.chosen))


def _fold(cuts: list[float], events: Events) -> Fold:
    return Fold(
        cuts=cuts,
        events=events.events,
        found=events.hit,
        false_episodes=events.false_episodes,
        recall=events.recall,
        precision=events.precision,
        f1=events.merit,
        false_per_day=events.false_episodes / events.days if events.days else 0.0,
    )


def _event(event: Event) -> EventRow:
    return EventRow(
        id=event.id,
        kind=event.kind,
        target=event.target,
        strips=event.strips,
        start=rfc3339(event.start_us),
        end=rfc3339(event.end_us),
        difficulty=event.difficulty,
        found=event.delay_us is not None,
        delay_s=None if event.delay_us is None else event.delay_us / 1e6,
        delay_rows=event.delay_rows,
        found_by=event.found_by,
        named=event.named,
        first=event.first,
        confirmed=event.confirmed,
        cause=event.cause,
        cause_named=event.caused,
    )


def _drift(one: Review) -> DriftRow:
    return DriftRow(one.strip, rfc3339(one.time_us), one.row, rfc3339(one.since_us), one.before, one.after, one.summary)


def _detection(one: Detection) -> DetectionRow:
    return DetectionRow(
        id=one.id,
        strip=one.strip,
        kind=one.kind,
        severity=one.severity,
        start=rfc3339(one.start_us),
        end=None if one.end_us is None else rfc3339(one.end_us),
        outcome=one.outcome,
        episodes=one.episodes,
        confirmations=one.confirmations,
        summary=one.summary,
        causes=one.causes,
        provisional=one.provisional,
        withdrawn=one.withdrawn,
    )
