"""The oracle: what a recorded traffic log must have led to, by code of its own.

Input is Kafka's traffic topic as it lies there, control events that were relayed into it included: (partition, offset)
orders everything. Nothing here imports a stage, a driver or a record type of the pipeline.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.oracle.quota_model import QuotaModel, Verdict
from tests.oracle.reading import Log, Record
from tests.oracle.window_model import Cell, Counted, WindowModel

FUTURE_US_MAX = 5 * 60_000_000
PAST_US_MAX = 7 * 24 * 3600 * 1_000_000
TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.request.max_tokens")
NEEDED = {
    "request": ("id", "time_us", "organisation", "gen_ai.request.model", TOKENS[0]),
    "completion": ("id", "time_us", "organisation", "gen_ai.response.model", TOKENS[0], TOKENS[1]),
    "tick": ("time_us",),
    "relayed": ("offset", "event"),
}

Coordinate = tuple[int, int]
"""(partition, offset) in the traffic log."""


@dataclass
class Expected:
    """What must have come of a traffic log.

    `prompts`: of admitted requests, which the content check may still block. `settled`: organisation -> tokens charged
    by its completions. `dead`: records that were no events, or came too late for the windows. `closed_us`: minutes that
    end up to here are closed.
    """

    decisions: dict[Coordinate, Verdict]
    prompts: dict[Coordinate, str]
    settled: Counter[str]
    cells: dict[Cell, Counted]
    dead: set[Coordinate]
    closed_us: int
    uncorrected: int
    events: Counter[str]


def expect(traffic: Log) -> Expected:
    """Follow every partition from its first record to its last."""
    windows = WindowModel(len(traffic))
    found = Expected({}, {}, Counter(), windows.cells, set(), 0, 0, Counter())
    for partition, records in sorted(traffic.items()):
        quota = QuotaModel()
        for record in records:
            event = event_of(record)
            if event is None:
                found.events["unreadable"] += 1
                found.dead.add((partition, record.offset))
            else:
                _take(found, quota, windows, (partition, record.offset), event)
        found.settled.update(quota.settled)
    found.closed_us = windows.reached_us
    found.uncorrected = sum(time.uncorrected for time in windows.times)
    return found


def _take(
    found: Expected, quota: QuotaModel, windows: WindowModel, place: Coordinate, event: Mapping[str, Any]
) -> None:
    found.events[event["type"]] += 1
    verdict = quota.take(event)
    if verdict is not None:
        found.decisions[place] = verdict
        found.prompts[place] = event.get("prompt", "")
    if not windows.take(place[0], event):
        found.events["too late"] += 1
        found.dead.add(place)


def event_of(record: Record) -> dict[str, Any] | None:
    """The event that a record holds; None where it holds none, or one whose clock is wrong."""
    try:
        event = msgspec.json.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(event, dict) or any(name not in event for name in NEEDED.get(event.get("type", ""), ("?",))):
        return None
    if any(event.get(name, 0) < 0 for name in TOKENS):
        return None
    if event["type"] == "relayed":
        return event
    ahead_us = event["time_us"] - record.time_us
    return event if -PAST_US_MAX <= ahead_us <= FUTURE_US_MAX else None
