"""Moves on traffic partitions where nothing happens: an event time, logged, so that every replay sees the same."""

import time
from collections.abc import Iterable

from pipeline.latest_time import latest_time_us
from pipeline.publisher import Publisher, Ready
from topics.codec import encoder
from topics.fields import SECOND_US
from topics.table import BY_ALIAS
from topics.traffic import Tick

TRAFFIC = BY_ALIAS["traffic"]


class StreamClock:
    """Event time of the traffic as this worker has seen it, going on by the wall clock once it stands still."""

    def __init__(self) -> None:
        self._time_us: int | None = None
        self._seen_at = 0.0

    def saw(self, time_us: int, now: float) -> None:
        if self._time_us is None or time_us > self._time_us:
            self._time_us, self._seen_at = time_us, now

    def at(self, now: float) -> int | None:
        """The event time to assume at `now` (monotonic seconds); None before the first event."""
        return None if self._time_us is None else self._time_us + int((now - self._seen_at) * SECOND_US)


class Ticks:
    """Knows when each traffic partition last had a batch; writes a tick to those where that was long ago."""

    def __init__(self, broker: str, publisher: Publisher, idle_s: float) -> None:
        self._broker = broker
        self._publisher = publisher
        self._idle_s = idle_s
        self._clock = StreamClock()
        self._last_batch_at: dict[int, float] = {}
        self._encode = encoder(TRAFFIC)

    def saw(self, partition: int, time_us: int | None) -> None:
        """A batch came; `time_us` is the time of its last event."""
        now = time.monotonic()
        self._last_batch_at[partition] = now
        if time_us is not None:
            self._clock.saw(time_us, now)

    async def send(self, held: Iterable[int]) -> None:
        """Tick those of the partitions held that are idle."""
        now = time.monotonic()
        idle = [at for at in sorted(held) if now - self._last_batch_at.get(at, 0.0) > self._idle_s]
        if not idle:
            return
        time_us = self._clock.at(now) or await self._time_of_others(now)
        if time_us is not None:
            tick = self._encode(Tick(time_us=time_us))
            await self._publisher.send([Ready(TRAFFIC.name, at, None, tick, time_us // 1000) for at in idle])

    async def _time_of_others(self, now: float) -> int | None:
        """A worker whose partitions have never held anything takes the time from those of the others."""
        latest_us = await latest_time_us(self._broker, TRAFFIC)
        if latest_us < 0:
            return None
        self._clock.saw(latest_us, now)
        return latest_us
