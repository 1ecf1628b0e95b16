"""One partition of one source in a worker: its chain, and what has yet to be acknowledged on either side."""

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from pipeline.chain import Chain, Item
from pipeline.fetched import Fetched
from pipeline.intake import Intake, Records
from pipeline.publisher import Publisher
from pipeline.stage import Output

STEP_RECORDS_MAX = 256  # at once through all stages, so that what one leaves is in the processor's cache for the next
STEPS_IN_A_ROW_MAX = 2  # without letting others run
UNACKNOWLEDGED_BATCHES_MAX = 4_096
DIRTY_KEYS_MAX = 200_000  # more changed keys than this are not left for the next interval
ENCODE_S_MAX = 0.0005  # without a step between
ENCODE_SHARE = 0.1  # of the time, while a checkpoint is being made at leisure
LEFT_KEYS_MAX = 64  # are encoded with the position


class Delivered(Protocol):
    """A batch as the consumer delivered it; `ack` lets its offset be committed."""

    def ack(self) -> bool: ...


class Writes(Protocol):
    """Where checkpoints go: pipeline.changelog.Changelog."""

    async def write(self, changed: Collection[Item], position: int) -> None:
        """All of it, or nothing."""
        ...

    async def close(self) -> None:
        """Write no more."""
        ...


class GapError(Exception):
    """A delivery that begins at `begin`, behind the record at `wanted` that should come next."""

    def __init__(self, begin: int, wanted: int) -> None:
        super().__init__(f"what came begins at offset {begin}, and offset {wanted} was to come")
        self.begin = begin
        self.wanted = wanted


class Lane:
    """Steps batches through a chain and checkpoints it: outputs acknowledged, then state, then the source offset.

    After a crash at any point the events since the last checkpoint are computed again, to the same outputs with the
    same ids.
    """

    def __init__(
        self, chain: Chain, intake: Intake, publisher: Publisher, partition: int, partitions: int, changelog: Writes
    ) -> None:
        self.chain = chain
        self.partition = partition
        self.closed = False
        self.time_us: int | None = None  # of the last event that had a time of its own
        self.written = chain.position  # the position of the last checkpoint
        self.busy = False  # a batch is being processed
        self._wanted = chain.position + 1  # all before has been processed, or holds no record
        self._intake = intake
        self._publisher = publisher
        self._partitions = partitions
        self._changelog = changelog
        self._unacknowledged: list[asyncio.Future[Any]] = []
        self._processed: list[Delivered] = []
        self._encoded: dict[str, bytes | None] = {}  # for the next checkpoint
        self._stepping = asyncio.Lock()  # a snapshot may not fall between a step and the hand-over of its outputs
        self._checkpointing = asyncio.Lock()
        self._urgent = 0  # checkpoints that wait and are not at leisure

    async def handle(self, delivered: Delivered, fetched: Fetched) -> int:
        """Process one delivered batch; how many of its records were new (the rest were before a crash or rebalance).

        GapError: records before it have not come, so it is left alone.
        """
        async with self._stepping:
            if self.closed:
                return 0
            if fetched.covers.start > self._wanted:
                raise GapError(fetched.covers.start, self._wanted)
            new = await self._step(fetched.after(self.chain.position))
            self._processed.append(delivered)
            self.chain.position = max(self.chain.position, fetched.covers.stop - 1)  # which may hold no record
            self._wanted = max(self._wanted, self.chain.position + 1)
        if len(self._processed) >= UNACKNOWLEDGED_BATCHES_MAX or self.chain.changed > DIRTY_KEYS_MAX:
            await self.checkpoint()
        return new

    def has_had(self, fetched: Fetched) -> bool:
        """Whether all of it lies behind what the state accounts for, as after a rebalance, and none of it is new."""
        return fetched.covers.stop <= self.chain.position + 1

    def pass_over(self, begin: int) -> None:
        """Nothing before `begin` will ever come."""
        self._wanted = begin

    async def _step(self, fresh: Fetched) -> int:
        self.busy = True
        new = 0
        try:
            for number, part in enumerate(fresh.parts(STEP_RECORDS_MAX)):
                if number and number % STEPS_IN_A_ROW_MAX == 0:
                    await asyncio.sleep(0)  # a fetch may take seconds: what was published leaves meanwhile
                self._unacknowledged += await self._publisher.publish(self.partition, self._outputs(part))
                new += len(part.offsets)
        except BaseException:
            self.closed = True  # the state is ahead of what was published: it must never be written
            raise
        finally:
            self.busy = False
        return new

    def _outputs(self, records: Records) -> list[Output]:
        batch, dead = self._intake.batch(self.partition, self._partitions, records)
        self.time_us = _last_time_us(batch.events) or self.time_us
        return dead + self.chain.step(batch, records.offsets[-1])

    async def checkpoint(self, at_leisure: bool = False) -> float:
        """Make everything processed so far durable, in the order that makes a crash harmless.

        `at_leisure`: encode most of it beforehand, so that little must stand still; until one comes that is not.
        Seconds for which nothing else could be done meanwhile.
        """
        self._urgent += not at_leisure
        try:
            return await self._checkpoint()
        finally:
            self._urgent -= not at_leisure

    async def _checkpoint(self) -> float:
        async with self._checkpointing:
            took_s = await self._encode_ahead()
            async with self._stepping:
                if not self._processed or self.closed:
                    return took_s
                began = time.perf_counter()
                processed, self._processed = self._processed, []
                unacknowledged, self._unacknowledged = self._unacknowledged, []
                changed, self._encoded = self._encoded, {}
                changed.update(self.chain.changes())
                position = self.chain.position
                took_s += time.perf_counter() - began
            try:
                await asyncio.gather(*unacknowledged)
                await self._changelog.write(changed.items(), position)
            except BaseException:
                self.closed = True  # what was taken out of the state is written nowhere: no later checkpoint is whole
                raise
            self.written = position
            for delivered in processed:
                delivered.ack()
            return took_s

    async def _encode_ahead(self) -> float:
        """Encode nearly all that has changed, a little at a time between steps; the seconds it took.

        What changes again meanwhile is encoded again: only what is left then has to stand still.
        """
        took_s, due = 0.0, self.chain.changed
        while due > LEFT_KEYS_MAX and not self._urgent:
            async with self._stepping:
                if self.closed:
                    break
                began = time.perf_counter()
                for key, value in self.chain.changes():
                    self._encoded[key] = value
                    due -= 1
                    if time.perf_counter() - began > ENCODE_S_MAX:
                        break
                took_s += time.perf_counter() - began
            await asyncio.sleep(ENCODE_S_MAX / ENCODE_SHARE)
        return took_s

    async def close(self) -> None:
        """A last checkpoint; from here on this lane processes and writes nothing."""
        try:
            await self.checkpoint()
        finally:
            self.closed = True
            await self._changelog.close()


def _last_time_us(events: Sequence[Any]) -> int | None:
    """A relayed event has none: the time of whoever steers is not that of the log it was copied into."""
    return next((event.time_us for event in reversed(events) if hasattr(event, "time_us")), None)
