"""Traffic, slices or windows through the rows of the flow that run live, from where the recording enters to alerting.

    traffic   slices → windows → detection → alerting, and relay for the control events in the recording
    slices             windows → detection → alerting
    windows                      detection → alerting     (revision 0, as live; corrections only into the picture)

Quota, safety, mitigation, incidents and what follows commands are left off: no alert hangs on them. The driver is
`replay.offline.Offline`, the same as of `tidegate replay --to offline`, and what passes from detection to alerting is
watched for the forecasts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from pipeline.flow import FLOW
from pipeline.settings import Settings
from pipeline.stage import Output
from replay.backtest.alerts import judge
from replay.backtest.inputs import Input
from replay.backtest.labels import Label
from replay.backtest.model import Judgement
from replay.backtest.watched import Watched
from replay.event import Event, ReplayError
from replay.offline import Offline
from replay.readers.lines import numbered
from replay.sources import open_source
from topics.records import Judged, Mark, MetricWindow, Slice

LEFT_OFF = frozenset(("quota", "safety", "mitigation", "scheduler", "cache", "incidents"))
ENTRANCES = {"traffic": ("traffic", "control"), "slices": ("slices",), "windows": ("closed",)}
"""The logs, or the link, at which each kind of recording enters the flow. Only traffic brings control events along."""


def stages(content: str) -> tuple[str, ...]:
    """The rows of the flow that judge a recording: all that its records reach, without those left off.

    >>> stages("windows"), stages("traffic")
    (('detection', 'alerting'), ('slices', 'windows', 'detection', 'alerting', 'relay'))
    """
    reached, held = {*ENTRANCES[content]}, []
    for row in (row for row in FLOW if row.stage not in LEFT_OFF):
        steers = row.reads == "control" and content != "traffic"
        if row.reads in reached and not steers:
            held.append(row.stage)
            reached |= {row.passes, *row.writes}
    return tuple(held)


PARTITIONS = {"traffic": 4, "slices": 1, "windows": 1}
BAD_LINES_NAMED = 3
REPORT_RECORDS = 500

Advance = Callable[[int, int], None]


def run(
    source: Input,
    settings: Settings,
    labels: Sequence[Label],
    seed: int,
    prefix: str,
    advance: Advance,
    warm_up_us: int = 0,
) -> Judgement:
    """Judge one recording, from an empty state. `prefix` goes before the names of its models."""
    settings = replace(settings, detection=replace(settings.detection, forecasts=True))
    watched, notes = Watched(), list[str]()
    if source.content == "traffic":
        opened = open_source(source.path, seed=seed)
        driver = _driver(source, settings, watched, ("traffic",) if opened.relayed else ())
        size = source.path.stat().st_size / max(opened.events_hint, 1)
        driver.feed(watched.last_of_requests(_told(opened.events(), size, advance)))
        driver.finish()
    elif source.content == "slices":
        driver = _driver(source, settings, watched, ("slices",))
        slices = _decoded(source.path, Slice | Mark, notes, advance)
        driver.feed_records("slices", 0, watched.last_of_requests(slices))
    else:
        driver = _driver(source, settings, watched, ())
        windows = _decoded(source.path, MetricWindow, notes, advance)
        driver.feed_records("closed", 0, watched.first_of_each(windows))
    if not watched.models:
        raise ReplayError(f"{source.path}: no window came of it: there is nothing to judge")
    found = judge(source, watched, labels, prefix, warm_up_us)
    found.notes = [*notes, *watched.notes(source.path)]
    return found


def _driver(source: Input, settings: Settings, watched: Watched, recorded: Iterable[str]) -> Offline:
    def watch(link: str, passed: Sequence[Output]) -> None:
        if link == "judged":
            for output in passed:
                if type(output.value) is Judged:
                    watched.judged(output.value)

    held = stages(source.content)
    return Offline(settings, watched.sink, PARTITIONS[source.content], held, recorded=recorded, watch=watch)


def _told(events: Iterator[Event], size: float, advance: Advance) -> Iterator[Event]:
    """The events as they are; every so often `advance` hears how many there were."""
    number = 0
    for number, event in enumerate(events, 1):
        if number % REPORT_RECORDS == 0:
            advance(REPORT_RECORDS, round(REPORT_RECORDS * size))
        yield event
    advance(number % REPORT_RECORDS, round(number % REPORT_RECORDS * size))


def _decoded(path: Path, wanted: Any, notes: list[str], advance: Advance) -> Iterator[Any]:
    """The records of a file of JSON lines; lines that are none are left out, counted and the first few named."""
    decode = msgspec.json.Decoder(wanted).decode
    bad = number = size = 0
    for number, (line_number, line) in enumerate(numbered(path), 1):
        size += len(line) + 1
        if number % REPORT_RECORDS == 0:
            advance(REPORT_RECORDS, size)
            size = 0
        try:
            yield decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            bad += 1
            if bad <= BAD_LINES_NAMED:
                notes.append(f"left out: {path}, line {line_number}: {error}")
    advance(number % REPORT_RECORDS, size)
    if bad > BAD_LINES_NAMED:
        notes.append(f"left out: {bad - BAD_LINES_NAMED:,} more lines of {path} that are no records")
