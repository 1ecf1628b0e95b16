"""One CSV series through the detector of `tidegate detect`, row by row; then its flagged rows against its labels.

By the rules of `detectors.judge`: an event is hit if a flagged row lies in it; a flagged row outside every event and
more than ten rows after one is false; false rows at most ten apart are one episode, which counts once per started 60
rows. Rows of the warm-up are run, not scored.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from detectors.drift import Drift, Drifts
from detectors.judge import AFTER_EVENT_ROWS, EPISODE_GAP_ROWS, EPISODE_ROWS, runs_of
from detectors.series import SeriesDetector, SeriesParams
from replay.backtest.inputs import Input
from replay.backtest.labels import Label, of_series
from replay.backtest.model import Detection, Event, Findings, Judgement, Panel, Review, Strip, Times
from replay.backtest.two_fold import Scored
from replay.event import ReplayError
from replay.readers.series import Columns, points
from topics.fields import MINUTE_US

ROWS_MAX = 20_000_000
"""Rows of one file: about a gigabyte in memory."""

REPORT_ROWS = 2_000

Advance = Callable[[int, int], None]
"""Told how many rows were judged, and how many bytes of input they were."""


class _Rows:
    """A file's rows with what the detector said of each."""

    def __init__(self) -> None:
        self.times_us, self.values = array("q"), array("d")
        self.expected, self.low, self.high = array("d"), array("d"), array("d")
        self.scores = array("f")
        self.marked: list[bool] = []
        self.flagged: list[int] = []
        self.voices: dict[int, list[str]] = {}  # of a flagged row: the members who would have flagged it alone
        self.drifts: list[Drift] = []
        self.labelled = False


def run(
    source: Input, params: SeriesParams, labels: Sequence[Label], warm_up: float, columns: Columns, advance: Advance
) -> Judgement:
    """Judge one file. `warm_up` is the share of its rows that is not scored. Raises ReplayError."""
    rows = _judged(source, params, columns, advance)
    if not rows.times_us:
        raise ReplayError(f"{source.path} has no rows: there is nothing to judge")
    times_us = np.frombuffer(rows.times_us, np.int64)
    own = of_series(labels, source.name, int(times_us[0]))
    marked, kinds = _marked(rows, times_us, own)
    start = int(len(times_us) * warm_up)
    labelled = rows.labelled or bool(labels)
    strip = _strip(source, rows, times_us, start, labelled)
    events = _events(strip, rows, times_us, marked, kinds, start) if labelled else []
    found = Judgement(strips=[strip], events=events, drifts=[_review(strip.name, drift) for drift in rows.drifts])
    found.detections = _detections(strip, rows, times_us, marked, start)
    for detection in found.detections:
        if detection.outcome == "hit":
            _credit(detection, events)
    found.findings = _findings(rows, found.detections, times_us)
    if labelled:
        found.scores[strip.name] = Scored(
            source.group, np.frombuffer(rows.scores, np.float32), marked, start, strip.days
        )
    return found


def _judged(source: Input, params: SeriesParams, columns: Columns, advance: Advance) -> _Rows:
    rows, detector, drifts, pending = _Rows(), SeriesDetector(params), Drifts(), 0
    for number, point in enumerate(points(source.path, columns)):
        verdict, flag = detector.judge(point.time_us, point.value)
        rows.times_us.append(point.time_us)
        rows.values.append(math.nan if point.value is None else point.value)
        for column, value in ((rows.expected, verdict.expected), (rows.low, verdict.low), (rows.high, verdict.high)):
            column.append(math.nan if value is None else value)
        rows.scores.append(verdict.score)
        rows.marked.append(bool(point.marked))
        rows.labelled = rows.labelled or point.marked is not None
        if flag:
            rows.flagged.append(number)
            rows.voices[number] = _loud(detector.voices, params.threshold)
        if (drift := drifts.step(point.time_us, detector.loudest)) is not None:
            rows.drifts.append(drift)
        pending += point.bytes_read
        if (number + 1) % REPORT_ROWS == 0:
            advance(REPORT_ROWS, pending)
            pending = 0
        if number >= ROWS_MAX:
            raise ReplayError(f"{source.path} has more than {ROWS_MAX:,} rows: cut it into pieces")
    advance(len(rows.times_us) % REPORT_ROWS, pending)
    return rows


def _review(name: str, one: Drift) -> Review:
    return Review(name, one.time_us, one.row, one.since_us, one.before, one.after, one.sentence)


def _loud(voices: Mapping[str, float], threshold: float) -> list[str]:
    """The members that spoke for an alarm: those beyond the threshold by themselves, or else the loudest."""
    most = max(voices.values(), default=0.0)
    return sorted(name for name, voice in voices.items() if voice >= min(threshold, most))


def _strip(source: Input, rows: _Rows, times_us: Times, start: int, labelled: bool) -> Strip:
    steps = np.diff(times_us)
    panel = Panel(
        metric="value",
        label="value",
        times_us=times_us,
        values=np.frombuffer(rows.values, np.float64),
        expected=np.frombuffer(rows.expected, np.float64),
        low=np.frombuffer(rows.low, np.float64),
        high=np.frombuffer(rows.high, np.float64),
        marks_us=[int(times_us[row]) for row in rows.flagged],
    )
    return Strip(
        name=source.name,
        source=str(source.path),
        kind="series",
        rows=len(times_us),
        start_us=int(times_us.min()),
        end_us=int(times_us.max()),
        step_us=int(np.median(steps)) if len(steps) else MINUTE_US,
        judged_from_us=int(times_us[min(start, len(times_us) - 1)]),
        labelled=labelled,
        panels=[panel],
        group=source.group,
    )


def _marked(rows: _Rows, times_us: Times, labels: Sequence[Label]) -> tuple[list[bool], list[tuple[int, int, Label]]]:
    """Which rows are marked, by the file's own column and by the labels; and the rows of each label, end exclusive."""
    marked, spans = rows.marked, []
    moments = times_us.tolist()
    for label in labels:
        first, end = bisect_left(moments, label.start_us), bisect_right(moments, label.end_us)
        if first < end:
            marked[first:end] = [True] * (end - first)
            spans.append((first, end, label))
    return marked, spans


def _events(
    strip: Strip,
    rows: _Rows,
    times_us: Times,
    marked: Sequence[bool],
    spans: Sequence[tuple[int, int, Label]],
    start: int,
) -> list[Event]:
    """One event a run of marked rows; it is called what the label that begins it is called."""
    events = []
    for number, (first, end) in enumerate((run for run in runs_of(marked) if run[1] > start), 1):
        label = next((label for begin, stop, label in spans if begin < end and stop > first), None)
        cut = max(first, start)
        hit = next((row for row in rows.flagged if cut <= row < end), None)
        events.append(
            Event(
                id=f"{strip.name}#{number}",
                kind=label.kind if label else "labelled",
                target=strip.name,
                start_us=int(times_us[cut]),
                end_us=int(times_us[end - 1]),
                strips=[strip.name],
                difficulty=label.difficulty if label else "",
                delay_us=None if hit is None else int(times_us[hit] - times_us[cut]),
                delay_rows=None if hit is None else hit - cut,
                first=[] if hit is None else rows.voices[hit],
            )
        )
    return events


def _detections(strip: Strip, rows: _Rows, times_us: Times, marked: Sequence[bool], start: int) -> list[Detection]:
    """Flagged rows as episodes, each of one outcome."""
    runs = runs_of(marked)

    def outcome(row: int) -> str:
        if not strip.labelled or row < start:
            return "unjudged"
        if any(first <= row < end for first, end in runs):
            return "hit"
        return "after" if any(end <= row < end + AFTER_EVENT_ROWS for _, end in runs) else "false"

    episodes: list[tuple[int, int, str]] = []
    for row in rows.flagged:
        own = outcome(row)
        if episodes and episodes[-1][2] == own and row - episodes[-1][1] <= EPISODE_GAP_ROWS:
            episodes[-1] = (episodes[-1][0], row, own)
        else:
            episodes.append((row, row, own))
    return [_detection(strip, rows, times_us, number, *episode) for number, episode in enumerate(episodes, 1)]


def _detection(
    strip: Strip, rows: _Rows, times_us: Times, number: int, first: int, last: int, outcome: str
) -> Detection:
    worst = max(range(first, last + 1), key=lambda row: rows.scores[row])
    return Detection(
        id=f"{strip.name}!{number}",
        strip=strip.name,
        kind="anomaly",
        severity="warning",
        start_us=int(times_us[first]),
        end_us=int(times_us[last]),
        summary=_sentence(rows, worst),
        confirmations=[f"value/{name}" for name in _spoken(rows, first, last)],
        outcome=outcome,  # type: ignore[arg-type] # one of Outcome's words
        episodes=math.ceil((last - first + 1) / EPISODE_ROWS),
    )


def _spoken(rows: _Rows, first: int, last: int) -> list[str]:
    return sorted({name for row in rows.flagged if first <= row <= last for name in rows.voices[row]})


def _sentence(rows: _Rows, row: int) -> str:
    value = f"value {rows.values[row]:.6g}"
    if math.isnan(rows.expected[row]):
        return f"{value}, score {rows.scores[row]:.2f}."
    return (
        f"{value}, expected {rows.expected[row]:.6g} ({rows.low[row]:.6g} to {rows.high[row]:.6g}), "
        f"score {rows.scores[row]:.2f}."
    )


def _findings(rows: _Rows, detections: Sequence[Detection], times_us: Times) -> dict[str, Findings]:
    """In how many flagged rows each member spoke, and in how many of those outside of every event."""
    false = [(one.start_us, one.end_us or one.start_us) for one in detections if one.outcome == "false"]
    counted: dict[str, Findings] = {}
    for row, names in rows.voices.items():
        outside = any(start_us <= times_us[row] <= end_us for start_us, end_us in false)
        for name in names:
            found = counted.setdefault(name, Findings())
            found.total += 1
            found.outside += outside
    return counted


def _credit(detection: Detection, events: Sequence[Event]) -> None:
    for event in events:
        if detection.start_us <= event.end_us and event.start_us <= (detection.end_us or detection.start_us):
            event.found_by.append(detection.id)
            names = {name.rpartition("/")[2] for name in detection.confirmations}
            event.confirmed = sorted(names.union(event.confirmed))
