"""The driver over Kafka: writes a stream of events into the traffic and control topics, paced by event time.

A tick goes into every traffic partition each TICK_US of event time, and one follows the last event that closes its
minute, so that windows close in partitions where nothing happens. A record's timestamp is its event time: what is too
far off is judged against that.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

from pipeline.publisher import Publisher, Ready
from replay.event import Event, is_traffic, time_of
from topics.codec import encoder, partition_of
from topics.fields import HOUR_US, MINUTE_US, SECOND_US
from topics.table import BY_ALIAS
from topics.traffic import Tick

TICK_US = 10 * SECOND_US
GAP_US_MAX = 24 * HOUR_US
CLOSING_US = 10 * SECOND_US  # beyond the last minute: more than the lateness that slices allow for
CHUNK_EVENTS_MAX = 1_000
CHUNK_WALL_S = 0.05
UNACKNOWLEDGED_MAX = 500
BEHIND_S_MAX = 30.0  # a pipeline that stands still is waited for no longer
KEYS_REMEMBERED_MAX = 100_000

Progress = Callable[[Counter[str], int], None]
"""Called now and then with the counts so far by kind of event, and the event time reached."""


def _never(_: int) -> bool:
    return False


class Pace:
    """Which event time may be sent by now: `speed` event seconds a second of wall time; None: no limit."""

    def __init__(self, speed: float | None, start_us: int) -> None:
        self._speed = speed
        self._start_us = start_us
        self._began = time.monotonic()

    def wait_s(self, time_us: int) -> float:
        """Seconds until an event of this time is due; 0 when it is."""
        if self._speed is None:
            return 0.0
        due = self._began + (time_us - self._start_us) / SECOND_US / self._speed
        return max(0.0, due - time.monotonic())


class KafkaReplay:
    """Sends events; `counts` says how many of each kind, `time_us` how far it has come."""

    def __init__(
        self, publisher: Publisher, progress: Progress | None = None, behind: Callable[[int], bool] | None = None
    ) -> None:
        """`behind(requests sent)`: whether the pipeline is so far behind that sending should wait for it."""
        self.counts: Counter[str] = Counter()
        self.time_us = 0
        self._publisher = publisher
        self._progress = progress
        self._behind = behind or _never
        self._traffic = BY_ALIAS["traffic"]
        self._control = BY_ALIAS["control"]
        self._encode = {"traffic": encoder(self._traffic), "control": encoder(self._control)}
        self._partitions = 0
        self._known: dict[str, int] = {}
        self._raw_lines = count()
        self._next_tick_us = 0
        self._unacknowledged: list[asyncio.Future[Any]] = []

    async def run(self, events: Iterable[Event], speed: float | None) -> Counter[str]:
        """Send all events in the order given; returns when the broker has acknowledged every one."""
        self._partitions = self._publisher.partitions(self._traffic.alias)
        pace: Pace | None = None
        chunk: list[Ready] = []
        for event in events:
            time_us = time_of(event) if is_traffic(event) else None
            if time_us is not None:
                if pace is None or abs(time_us - self.time_us) > GAP_US_MAX:
                    pace = self._begin(speed, time_us)
                if chunk and (wait_s := pace.wait_s(time_us)) > CHUNK_WALL_S / 10:
                    await self._send(chunk)
                    chunk = []
                    await asyncio.sleep(max(wait_s, CHUNK_WALL_S))
                chunk.extend(self._ticks_before(time_us))
                self.time_us = max(self.time_us, time_us)
            chunk.append(self._ready(event))
            if len(chunk) >= CHUNK_EVENTS_MAX:
                await self._send(chunk)
                chunk = []
        if self.time_us:
            chunk.extend(self._tick(self.closing_us + CLOSING_US))
        await self._send(chunk)
        await asyncio.gather(*self._unacknowledged)
        return self.counts

    @property
    def closing_us(self) -> int:
        """The end of the last event's minute: windows will be closed up to here."""
        return (self.time_us // MINUTE_US + 1) * MINUTE_US

    def _begin(self, speed: float | None, time_us: int) -> Pace:
        """From here on; anew after a pause of days, or at a clock that is days off, which must not be waited for."""
        self.time_us = time_us
        self._next_tick_us = time_us - time_us % TICK_US + TICK_US
        return Pace(speed, time_us)

    async def _send(self, chunk: list[Ready]) -> None:
        self._unacknowledged += await self._publisher.send(chunk)
        if len(self._unacknowledged) > UNACKNOWLEDGED_MAX:
            await asyncio.gather(*self._unacknowledged)
            self._unacknowledged.clear()
        if self._progress:
            self._progress(self.counts, self.time_us)
        await asyncio.sleep(0)
        await self._wait_for_pipeline()

    async def _wait_for_pipeline(self) -> None:
        gives_up_at = time.monotonic() + BEHIND_S_MAX
        while self._behind(self.counts["request"]):
            if time.monotonic() > gives_up_at:
                self._behind = _never
            await asyncio.sleep(CHUNK_WALL_S)

    def _ticks_before(self, time_us: int) -> Iterator[Ready]:
        while self._next_tick_us and self._next_tick_us <= time_us:
            yield from self._tick(self._next_tick_us)
            self._next_tick_us += TICK_US

    def _tick(self, time_us: int) -> Iterator[Ready]:
        tick = self._encode["traffic"](Tick(time_us=time_us))
        for partition in range(self._partitions):
            yield Ready(self._traffic.name, partition, None, tick, time_us // 1000)

    def _ready(self, event: Event) -> Ready:
        if isinstance(event, bytes):
            self.counts["unreadable"] += 1
            return Ready(
                self._traffic.name, next(self._raw_lines) % self._partitions, None, event, self.time_us // 1000
            )
        kind = type(event).__struct_config__.tag
        self.counts[str(kind)] += 1
        time_ms = (time_of(event) or self.time_us) // 1000
        if not is_traffic(event):
            key = event.id.encode()  # type: ignore[union-attr]
            return Ready(self._control.name, 0, key, self._encode["control"](event), time_ms)
        organisation = getattr(event, "organisation", "")
        key = organisation.encode() or None
        return Ready(self._traffic.name, self._partition(organisation), key, self._encode["traffic"](event), time_ms)

    def _partition(self, organisation: str) -> int:
        found = self._known.get(organisation)
        if found is None:
            if len(self._known) >= KEYS_REMEMBERED_MAX:
                self._known.clear()
            found = self._known[organisation] = partition_of(organisation.encode(), self._partitions)
        return found
