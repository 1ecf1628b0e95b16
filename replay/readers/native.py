"""Our own format: JSON lines of traffic and control events, as they travel on the topics.

A line that does not decode is passed on as it is, so that it ends in dead letters with its reason, as it would when
produced to Kafka. Lines keep their order: it is the log's order, and a late event in it is part of the recording.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from replay.event import Event, Events, ReplayError, time_of
from replay.readers.lines import numbered
from topics.control import ControlEvent, Relayed
from topics.fields import TIME_US_MAX
from topics.traffic import Request, TrafficEvent

NAMES_MAX = 100_000
"""Models and organisations that are counted; the names beyond them are replayed but never found busiest."""

_decode = msgspec.json.Decoder(TrafficEvent | ControlEvent).decode


@dataclass(frozen=True)
class NativeSurvey:
    """What one pass finds. `relayed`: the recording holds relayed control events, so the relay must not run again."""

    requests: int
    events: int
    first_us: int
    last_us: int
    models: tuple[str, ...]
    organisations: tuple[str, ...]
    relayed: bool


def read(path: Path) -> Events:
    """The file's events in its order; undecodable lines as bytes."""
    for _, raw in numbered(path):
        try:
            yield _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield raw


def survey(path: Path) -> NativeSurvey:
    """Read the file once: its length in time, its busiest models and organisations."""
    models: Counter[str] = Counter()
    organisations: Counter[str] = Counter()
    requests = count = 0
    first_us, last_us, relayed = TIME_US_MAX, 0, False
    for event in read(path):
        count += 1
        relayed = relayed or isinstance(event, Relayed)
        if isinstance(event, Request):
            requests += 1
            _count(models, event.model)
            _count(organisations, event.organisation)
        if _is_timed_traffic(event) and (time_us := time_of(event)) is not None:
            first_us, last_us = min(first_us, time_us), max(last_us, time_us)
    if last_us < first_us:
        raise ReplayError(
            f"{path} holds no traffic event. Expected JSON lines with a type; if it is a foreign trace, name its"
            " --format"
        )
    return NativeSurvey(requests, count, first_us, last_us, _ranked(models), _ranked(organisations), relayed)


def _is_timed_traffic(event: Event) -> bool:
    return isinstance(event, TrafficEvent) and not isinstance(event, Relayed)


def _count(counter: Counter[str], name: str) -> None:
    if name in counter or len(counter) < NAMES_MAX:
        counter[name] += 1


def _ranked(counter: Counter[str]) -> tuple[str, ...]:
    return tuple(name for name, _ in counter.most_common())


def lines(events: Iterator[Event]) -> Iterator[bytes]:
    """The same format the other way round: one line an event, without the line end."""
    encode = msgspec.json.Encoder().encode
    return (event if isinstance(event, bytes) else encode(event) for event in events)
