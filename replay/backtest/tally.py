"""The numbers: recall, precision, delay, false episodes a day; in all, by kind, by detector, by strip.

    recall = found / events      precision = found / (found + false episodes)      F1 = their harmonic mean
    false a day = false episodes / days of series (or of models) that were scored

Several alerts on one event are one hit; an alert is one false episode, an episode of flagged rows one per started 60.
"""

from collections.abc import Iterable, Sequence
from statistics import median

import numpy as np
from msgspec import Struct

from replay.backtest.model import Detection, Event, Findings, Judgement, Strip
from replay.scenarios.judging import NAMES

RIGHT_NAMES: dict[str, set[str]] = {kind: {kind, *names} for kind, names in NAMES.items()}
"""Kinds of alert that name a kind of event rightly; for a kind that is not here, only its own name."""


class Tally(Struct, frozen=True):
    """None where there is nothing to divide by. Delays are of the events found, in seconds of event time."""

    events: int
    found: int
    detections: int
    false_episodes: int
    days: float
    recall: float | None
    precision: float | None
    f1: float | None
    false_per_day: float | None
    detections_per_day: float | None
    delay_s_median: float | None
    delay_s_p90: float | None


class KindTally(Struct, frozen=True):
    """Events of one kind; where labels say how difficult each is, also of each difficulty (empty: of all). `named`:
    found by an alert of a kind that fits. `causes`: found events whose cause is known; `caused`: it was named first."""

    kind: str
    difficulty: str
    events: int
    found: int
    named: int
    causes: int
    caused: int
    recall: float
    delay_s_median: float | None
    delay_s_p90: float | None


class DetectorTally(Struct, frozen=True):
    """One detector: windows in which it found something, and how many of those lay outside of every event; events in
    which it spoke first (ties count for each); events found whose alerts it confirmed; false alarms it confirmed."""

    detector: str
    windows: int
    windows_outside: int
    first: int
    confirmed: int
    confirmed_false: int


class StripTally(Struct, frozen=True):
    """One model or series."""

    name: str
    source: str
    kind: str
    rows: int
    tally: Tally

    @property
    def wrong(self) -> int:
        """Missed events and false episodes."""
        return self.tally.events - self.tally.found + self.tally.false_episodes


def tally(events: Sequence[Event], detections: Sequence[Detection], days: float, labelled: bool) -> Tally:
    """Count; without labels only detections are counted."""
    delays = [event.delay_us / 1e6 for event in events if event.delay_us is not None]
    found, false = len(delays), sum(one.episodes for one in detections if one.outcome == "false")
    spoken = found + false
    return Tally(
        events=len(events),
        found=found,
        detections=len(detections),
        false_episodes=false,
        days=days,
        recall=found / len(events) if events else None,
        precision=found / spoken if spoken and labelled else None,
        f1=2 * found / (len(events) + spoken) if events else None,
        false_per_day=false / days if days and labelled else None,
        detections_per_day=len(detections) / days if days else None,
        delay_s_median=median(delays) if delays else None,
        delay_s_p90=_p90(delays),
    )


def _p90(values: Sequence[float]) -> float | None:
    return float(np.quantile(values, 0.9)) if values else None


def total(found: Judgement) -> Tally:
    """Of everything."""
    labelled = any(strip.labelled for strip in found.strips)
    return tally(found.events, found.detections, sum(strip.days for strip in found.strips), labelled)


def by_strip(found: Judgement) -> list[StripTally]:
    """Each model and series, the most wrong first. An event of several models counts in each."""
    events: dict[str, list[Event]] = {strip.name: [] for strip in found.strips}
    detections: dict[str, list[Detection]] = {strip.name: [] for strip in found.strips}
    for event in found.events:
        for name in event.strips:
            events[name].append(event)
    for detection in found.detections:
        if detection.strip in detections:
            detections[detection.strip].append(detection)
    tallies = [_of_strip(strip, events[strip.name], detections[strip.name]) for strip in found.strips]
    return sorted(tallies, key=lambda each: (-each.wrong, -each.tally.detections, each.name))


def _of_strip(strip: Strip, events: Sequence[Event], detections: Sequence[Detection]) -> StripTally:
    own = tally(events, detections, strip.days, strip.labelled)
    return StripTally(strip.name, strip.source, strip.kind, strip.rows, own)


def by_kind(events: Iterable[Event]) -> list[KindTally]:
    """Each kind of event, and each of its difficulties where the labels say it."""
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        for difficulty in dict.fromkeys(("", event.difficulty)):
            groups.setdefault((event.kind, difficulty), []).append(event)
    return [_of_kind(*key, own) for key, own in sorted(groups.items(), key=lambda item: _order(item[0]))]


def _order(key: tuple[str, str]) -> tuple[str, int, str]:
    known = ("easy", "medium", "hard")
    return key[0], known.index(key[1]) if key[1] in known else -1, key[1]


def _of_kind(kind: str, difficulty: str, events: Sequence[Event]) -> KindTally:
    delays = [event.delay_us / 1e6 for event in events if event.delay_us is not None]
    return KindTally(
        kind=kind,
        difficulty=difficulty,
        events=len(events),
        found=len(delays),
        named=sum(not RIGHT_NAMES.get(kind, {kind}).isdisjoint(event.named) for event in events),
        causes=sum(event.caused is not None for event in events),
        caused=sum(event.caused is True for event in events),
        recall=len(delays) / len(events),
        delay_s_median=median(delays) if delays else None,
        delay_s_p90=_p90(delays),
    )


def by_detector(found: Judgement) -> list[DetectorTally]:
    """Each detector that spoke anywhere."""
    false = [detection for detection in found.detections if detection.outcome == "false"]
    names = {*found.findings, *(name for event in found.events for name in (*event.first, *event.confirmed))}
    names |= {name for detection in found.detections for name in _detectors(detection)}
    rows = [_of_detector(name, found, false) for name in sorted(names)]
    return sorted(rows, key=lambda row: (-row.first, -row.confirmed, row.detector))


def _of_detector(name: str, found: Judgement, false: Sequence[Detection]) -> DetectorTally:
    findings = found.findings.get(name, Findings())
    return DetectorTally(
        detector=name,
        windows=findings.total,
        windows_outside=findings.outside,
        first=sum(name in event.first for event in found.events if event.delay_us is not None),
        confirmed=sum(name in event.confirmed for event in found.events),
        confirmed_false=sum(name in _detectors(detection) for detection in false),
    )


def _detectors(detection: Detection) -> set[str]:
    return {confirmation.rpartition("/")[2] for confirmation in detection.confirmations}
