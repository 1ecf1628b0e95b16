"""The driver without Kafka: the same rows of the flow as the worker, over logs in memory, in event time, at full speed.

`feed` takes the traffic of a recording, `feed_log` a recorded log verbatim, and `feed_records` typed records of a log
or of a link between two stages: what a worker that holds only the stages after it would read from the link's topic.

A log here is its next offsets and what has yet to be processed; nothing that was processed is kept. Traffic is cut
into as many partitions as a deployment would have, by the partitioner that Kafka's producers use; the driver writes a
tick into every traffic partition each ten seconds of event time, as the worker does for idle ones. What mitigation
writes to control comes back through the relay row, as it does on Kafka.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from pipeline.chain import SAME_PARTITION, Chain, Watch, check_stages, sources
from pipeline.flow import LINKS, LOGS, STAGES
from pipeline.intake import Intake, Raw, Records
from pipeline.settings import Settings
from pipeline.stage import EVERY_PARTITION, Batch, Output
from replay.event import Event
from topics.codec import partition_of
from topics.control import Relayed
from topics.fields import HOUR_US, MINUTE_US, SECOND_US
from topics.traffic import Completion, Request, Tick

BATCH_EVENTS = 1_000
TICK_US = 10 * SECOND_US
STEP_US = MINUTE_US
"""Sparse traffic is processed at least this often in event time, so that a command is not late."""

LOGS_FIRST = ("control", "traffic", "slices")
"""The order in which waiting records are processed: control first, since it steers the rest."""

GAP_US = 24 * HOUR_US
"""A longer gap in the traffic (a clock gone wrong, most likely) is not filled with ticks."""

KEYS_REMEMBERED_MAX = 65_536

Sink = Callable[[str, str, Any], None]
"""Receives every output: topic alias, key, value. Keys `*` and `=` are every partition and the same partition."""


class _Lane:
    """One partition of one log: its chain, the next offset, and the events that wait."""

    def __init__(self, chain: Chain, partition: int, partitions: int):
        self.chain = chain
        self.partition = partition
        self.partitions = partitions
        self.next_offset = 0
        self.offsets: list[int] = []
        self.events: list[Any] = []

    def append(self, event: Any) -> None:
        self.offsets.append(self.next_offset)
        self.events.append(event)
        self.next_offset += 1

    def take(self) -> Batch:
        """At most BATCH_EVENTS of what waits."""
        batch = Batch(self.partition, self.partitions, self.offsets[:BATCH_EVENTS], self.events[:BATCH_EVENTS])
        del self.offsets[:BATCH_EVENTS], self.events[:BATCH_EVENTS]
        return batch


class Offline:
    """Runs `stages` over events (`feed`, then `finish`) or over recorded logs (`feed_log`).

    Outputs go to `sink` in the order they come. `recorded` names logs whose recording already holds what the flow
    writes to them (`traffic` when it holds relayed control events): such outputs reach the sink and go no further.
    `watch` sees what passes between chained stages.
    """

    def __init__(
        self,
        settings: Settings,
        sink: Sink,
        partitions: int = 4,
        stages: Iterable[str] = STAGES,
        recorded: Iterable[str] = (),
        watch: Watch | None = None,
    ) -> None:
        held = check_stages(stages)
        counts = {**dict.fromkeys((*LOGS, *LINKS), partitions), "control": 1}
        read = sorted(sources(held), key=(*LOGS_FIRST, *LINKS).index)
        self._intakes = {source: Intake(source, sources(held)[source][0].stage) for source in read if source in LOGS}
        self._lanes = {
            source: [
                _Lane(Chain(source, held, settings, watch), number, counts[source]) for number in range(counts[source])
            ]
            for source in read
        }
        self._sink = sink
        self._recorded = frozenset(recorded)
        self._lateness_us = settings.slices.lateness_us
        self._pending = 0
        self._time_us = -1
        self._step_at_us = -1
        self._unreadable = 0
        self.events = 0

    def feed(self, events: Iterable[Event]) -> None:
        """Process events in their order; control events and traffic may be mixed. Raw bytes end in dead letters."""
        for event in events:
            self.events += 1
            if isinstance(event, (Request, Completion)) and event.time_us > self._time_us:
                self._ticks_before(event.time_us)
                self._time_us = event.time_us
            self._route(event)
            if self._pending >= BATCH_EVENTS:
                self._run()

    def finish(self) -> None:
        """The stream has ended: close the minute of its last event, and no more, and process all that follows."""
        if self._time_us >= 0:
            self._tick((self._time_us // MINUTE_US + 1) * MINUTE_US + self._lateness_us)
        self._run()

    def feed_log(self, log: str, partition: int, raws: Sequence[Raw]) -> None:
        """Process records of one partition of a recorded log, verbatim: their offsets, no ticks beside their own."""
        lane = self._lanes[log][partition]
        for start in range(0, len(raws), BATCH_EVENTS):
            part = raws[start : start + BATCH_EVENTS]
            batch, dead = self._intakes[log].batch(partition, lane.partitions, Records.of_rows(part))
            self._publish(lane, dead + lane.chain.step(batch, part[-1].offset))
            lane.next_offset = part[-1].offset + 1
        self._run()

    def feed_records(self, source: str, partition: int, records: Iterable[Any]) -> None:
        """Process typed records of one partition of a log (a `Slice`, a `Mark`) or a link (a window in `closed`), each
        at an offset of its own."""
        lane = self._lanes[source][partition]
        for record in records:
            lane.append(record)
            self._pending += 1
            if self._pending >= BATCH_EVENTS:
                self._run()
        self._run()

    def position(self, log: str) -> list[int]:
        """The next offset of each partition of a log."""
        return [lane.next_offset for lane in self._lanes[log]]

    def _route(self, event: Event) -> None:
        if isinstance(event, (Request, Completion)):
            self._append("traffic", event.organisation, event)
        elif isinstance(event, bytes):
            self._append("traffic", SAME_PARTITION, event, self._unreadable % len(self._lanes.get("traffic", "?")))
            self._unreadable += 1
        elif isinstance(event, (Tick, Relayed)):
            self._append("traffic", EVERY_PARTITION, event)
        else:
            self._append("control", EVERY_PARTITION, event)

    def _ticks_before(self, time_us: int) -> None:
        """The round times since the last event, each a tick; of a gap of more than GAP_US only the last."""
        last_us = time_us - time_us % TICK_US
        due_us = self._time_us - self._time_us % TICK_US + TICK_US
        if self._time_us < 0 or last_us - due_us > GAP_US:
            due_us = last_us
        for tick_us in range(due_us, last_us + 1, TICK_US):
            self._tick(tick_us)

    def _tick(self, time_us: int) -> None:
        self._append("traffic", EVERY_PARTITION, Tick(time_us=time_us))
        if time_us >= self._step_at_us:
            self._step_at_us = time_us + STEP_US
            self._run()

    def _append(self, log: str, key: str, event: Any, partition: int = 0) -> None:
        lanes = self._lanes.get(log)
        if lanes is None:
            return
        if key == EVERY_PARTITION:
            chosen = lanes
        elif key == SAME_PARTITION:
            chosen = [lanes[partition]]
        else:
            chosen = [lanes[_partition(key, len(lanes))]]
        for lane in chosen:
            lane.append(event)
        self._pending += len(chosen)

    def _run(self) -> None:
        """Process all that waits and what comes of it, in the order of LOGS_FIRST."""
        while self._pending:
            for source, lanes in self._lanes.items():
                for lane in lanes:
                    if lane.events:
                        self._step(source, lane)

    def _step(self, source: str, lane: _Lane) -> None:
        batch = lane.take()
        self._pending -= len(batch.events)
        last = batch.offsets[-1]
        dead: list[Output] = []
        if any(isinstance(event, bytes) for event in batch.events):
            batch, dead = self._without_bytes(source, batch)
        self._publish(lane, dead + lane.chain.step(batch, last))

    def _without_bytes(self, source: str, batch: Batch) -> tuple[Batch, list[Output]]:
        """Let the intake say what is wrong with raw bytes; they come with the time that the stream has reached."""
        time_us = max(self._time_us, 0)
        raws = [
            Raw(offset, time_us, event)
            for offset, event in zip(batch.offsets, batch.events, strict=True)
            if isinstance(event, bytes)
        ]
        decoded, dead = self._intakes[source].batch(batch.partition, batch.partitions, Records.of_rows(raws))
        kept = [pair for pair in zip(batch.offsets, batch.events, strict=True) if not isinstance(pair[1], bytes)]
        kept += zip(decoded.offsets, decoded.events, strict=True)
        kept.sort(key=lambda pair: pair[0])
        return batch._replace(offsets=[pair[0] for pair in kept], events=[pair[1] for pair in kept]), dead

    def _publish(self, lane: _Lane, outputs: Iterable[Output]) -> None:
        for output in outputs:
            self._sink(output.to, output.key, output.value)
            if output.to in LOGS and output.to not in self._recorded:
                self._append(output.to, output.key, output.value, lane.partition)


@lru_cache(maxsize=KEYS_REMEMBERED_MAX)
def _partition(key: str, partitions: int) -> int:
    return partition_of(key.encode(), partitions)
