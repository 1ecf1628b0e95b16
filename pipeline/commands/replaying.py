"""One replay, over Kafka or offline, watched and collected: what `tidegate replay` and `tidegate demo` share."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.commands.board import Board
from pipeline.commands.shared import UserError
from pipeline.kafka_admin import require_topics
from pipeline.latest_time import latest_time_us
from pipeline.observer import Observer
from pipeline.publisher import Publisher
from pipeline.settings import Settings
from replay.collect import Collected
from replay.context import bad_deployments, context, interleaved
from replay.event import Event
from replay.incidents import DefaultPlan, Incident, default_incidents, read_specs, resolve
from replay.inject import Injector
from replay.kafka import KafkaReplay
from replay.offline import Offline
from replay.sources import Source, open_source, synthetic
from replay.synthesis import Synthesis
from topics.codec import rfc3339
from topics.fields import SECOND_US
from topics.table import BY_ALIAS

STALLED_S = 30.0
QUIET_S = 1.5
POLL_S = 0.1
BOARD_EVERY_EVENTS = 2_000
SYNTHETIC = "synthetic"
OFFLINE_PARTITIONS = 4


@dataclass(frozen=True)
class Plan:
    """What to replay: a source with incidents in it. `left_out`: default incident kinds that found no room."""

    source: Source
    incidents: tuple[Incident, ...]
    left_out: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Ran:
    """What came of a run. `decisions` counts each request's decision once; `repeated`: those that came again."""

    injector: Injector
    collected: Collected
    requests: int
    unreadable: int
    decisions: int
    repeated: int
    elapsed_s: float
    settled: bool

    @property
    def balanced(self) -> bool:
        """Every request has its decision."""
        return self.decisions == self.requests


def find_source(name: str, form: str, seed: int, spec: Synthesis | None, speed: float | None, live: bool) -> Source:
    """The recording to replay. `live`: moved in time so that the replay's end is about now."""
    if spec is not None:
        return synthetic(spec, _start_us(spec.duration_s * SECOND_US, speed))
    found = open_source(Path(name), form, seed)
    return open_source(Path(name), found.format, seed, _start_us(found.duration_us, speed)) if live else found


def _start_us(duration_us: int, speed: float | None) -> int:
    takes_us = 0 if speed is None else int(duration_us / speed)
    return time.time_ns() // 1000 + takes_us - duration_us


async def check_topic(address: str, source: Source) -> int:
    """How many partitions traffic has. UserError where it already holds events later than the recording's start."""
    counts = await require_topics(address)
    traffic = BY_ALIAS["traffic"]
    latest_us = await latest_time_us(address, traffic)
    if latest_us > source.start_us:
        raise UserError(
            f"the traffic topic already holds events up to {rfc3339(latest_us)[:19]}, and this recording, moved to end "
            f"now, begins at {rfc3339(source.start_us)[:19]}: windows would take it for late. Replay it offline "
            "(--to offline), or into a fresh broker (`tidegate broker up --data NEW_DIR --port 0`)"
        )
    return counts[traffic.name]


def plan(source: Source, incidents: str, seed: int) -> Plan:
    """Place incidents: `default`, `none`, or a file of JSON lines."""
    if incidents == "none":
        chosen = DefaultPlan((), ())
    elif incidents == "default":
        chosen = default_incidents(source.duration_us, source.models)
    else:
        chosen = DefaultPlan(read_specs(Path(incidents)), ())
    return Plan(source, resolve(chosen.specs, source), chosen.left_out, seed)


def _events(planned: Plan, injector: Injector, with_context: bool) -> Iterator[Event]:
    source = planned.source
    events = injector.apply(source.events())
    if not with_context:
        return events
    end_us = source.start_us + source.duration_us
    return chain(
        context(source.models, source.start_us, end_us), interleaved(events, bad_deployments(planned.incidents))
    )


def offline(planned: Plan, settings: Settings, board: Board, with_context: bool) -> Ran:
    """Run the flow over the recording without Kafka."""
    began = time.monotonic()
    injector, collected = Injector(planned.incidents, planned.seed), Collected()

    def sink(alias: str, key: str, value: Any) -> None:
        collected(alias, key, value)
        board.received(alias, value)

    recorded = ("traffic",) if planned.source.relayed else ()
    driver = Offline(settings, sink, OFFLINE_PARTITIONS, recorded=recorded)
    counted = _Counted(board, _events(planned, injector, with_context))
    driver.feed(counted)
    driver.finish()
    requests, decisions = counted.counts["request"], collected.counts["decisions"]
    dead = counted.counts["unreadable"]
    return Ran(injector, collected, requests, dead, decisions, 0, time.monotonic() - began, True)


class _Counted:
    """Counts events by kind as they pass, and lets the board know."""

    def __init__(self, board: Board, events: Iterator[Event]) -> None:
        self.counts: Counter[str] = Counter()
        self._board = board
        self._events = events

    def __iter__(self) -> Iterator[Event]:
        time_us = 0
        for number, event in enumerate(self._events):
            kind = "unreadable" if isinstance(event, bytes) else str(type(event).__struct_config__.tag)
            self.counts[kind] += 1
            time_us = getattr(event, "time_us", time_us) if kind in ("request", "completion") else time_us
            if number % BOARD_EVERY_EVENTS == 0:
                self._board.sent(self.counts, time_us)
            yield event
        self._board.sent(self.counts, time_us)


async def over_kafka(
    planned: Plan,
    address: str,
    board: Board,
    speed: float | None,
    with_context: bool,
    heard: Sequence[Callable[[str, Any], None]] = (),
) -> Ran:
    """Send the recording to Kafka, watch what the workers make of it, and wait until all of it has come back."""
    began = time.monotonic()
    injector, collected = Injector(planned.incidents, planned.seed), Collected()

    def receive(alias: str, value: Any) -> None:
        collected(alias, "", value)
        for hear in (board.received, *heard):
            hear(alias, value)

    observer, publisher = Observer(address, receive), Publisher(address, "tidegate-replay")
    await publisher.start()
    try:
        await observer.start()
        sender = KafkaReplay(publisher, board.sent, None if speed is None else observer.is_behind)
        await sender.run(_events(planned, injector, with_context), speed)
        settled = await _settle(observer, sender)
    finally:
        await observer.stop()
        await publisher.stop()
    once, repeated = observer.decisions.once, observer.decisions.repeated
    sent = sender.counts
    return Ran(
        injector, collected, sent["request"], sent["unreadable"], once, repeated, time.monotonic() - began, settled
    )


async def _settle(observer: Observer, sender: KafkaReplay) -> bool:
    """Wait for the last decision and the last window, then until nothing more comes. False: the pipeline stalled."""
    seen, changed_at = -1, time.monotonic()
    while True:
        observer.check()
        now, total = time.monotonic(), sum(observer.counts.values())
        if total != seen:
            seen, changed_at = total, now
        closed = observer.windows_until_us.values()
        complete = observer.decisions.once >= sender.counts["request"] and (
            not sender.counts["request"] or (bool(closed) and max(closed) >= sender.closing_us)
        )
        if now - changed_at > (QUIET_S if complete else STALLED_S):
            return complete
        await asyncio.sleep(POLL_S)
