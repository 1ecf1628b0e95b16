"""One partition of one source in a worker: its chain, and what has yet to be acknowledged on either side."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pipeline.chain import Chain
from pipeline.checkpoint import Item, batches
from pipeline.intake import Intake, Raw
from pipeline.publisher import Publisher, Ready

UNACKNOWLEDGED_BATCHES_MAX = 64
DIRTY_KEYS_MAX = 20_000  # more changed keys than this are not left for the next interval


def _last_time_us(events: Sequence[Any]) -> int | None:
    """A relayed event has none: the time of whoever steers is not that of the log it was copied into."""
    return next((event.time_us for event in reversed(events) if hasattr(event, "time_us")), None)


class Delivered(Protocol):
    """A batch as the consumer delivered it; `ack` lets its offset be committed."""

    def ack(self) -> bool: ...


class Lane:
    """Steps batches through a chain and checkpoints it: outputs acknowledged, then state, then the source offset.

    After a crash at any point the events since the last checkpoint are computed again, to the same outputs with the
    same ids.
    """

    def __init__(
        self,
        chain: Chain,
        intake: Intake,
        publisher: Publisher,
        partition: int,
        partitions: int,
        changelog: str,
        unfinished: Iterable[list[Item]] = (),
    ) -> None:
        """`unfinished`: what the process before this one died before writing (see pipeline.checkpoint)."""
        self.chain = chain
        self.partition = partition
        self.closed = False
        self.time_us: int | None = None  # of the last event that had a time of its own
        self._intake = intake
        self._publisher = publisher
        self._partitions = partitions
        self._changelog = changelog
        self._unfinished = list(unfinished)
        self._unacknowledged: list[asyncio.Future[Any]] = []
        self._processed: list[Delivered] = []
        self._stepping = asyncio.Lock()  # a snapshot may not fall between a step and the hand-over of its outputs
        self._checkpointing = asyncio.Lock()

    async def handle(self, delivered: Delivered, raws: list[Raw]) -> int:
        """Process one delivered batch; how many of its records were new (the rest were before a crash or rebalance)."""
        async with self._stepping:
            if self.closed:
                return 0
            fresh = [raw for raw in raws if raw.offset > self.chain.position]
            if fresh:
                await self._step(fresh)
            self._processed.append(delivered)
        if len(self._processed) >= UNACKNOWLEDGED_BATCHES_MAX or self._dirty() > DIRTY_KEYS_MAX:
            await self.checkpoint()
        return len(fresh)

    async def _step(self, fresh: list[Raw]) -> None:
        try:
            batch, dead = self._intake.batch(self.partition, self._partitions, fresh)
            self.time_us = _last_time_us(batch.events) or self.time_us
            outputs = self.chain.step(batch, fresh[-1].offset)
            self._unacknowledged += await self._publisher.publish(self.partition, dead + outputs)
        except BaseException:
            self.closed = True  # the state is ahead of what was published: it must never be written
            raise

    def _dirty(self) -> int:
        return sum(len(state.dirty) for state in self.chain.states.values())

    async def checkpoint(self) -> None:
        """Make everything processed so far durable, in the order that makes a crash harmless."""
        async with self._checkpointing:
            async with self._stepping:
                if not self._processed or self.closed:
                    return
                processed, self._processed = self._processed, []
                unacknowledged, self._unacknowledged = self._unacknowledged, []
                changed, position = self.chain.snapshot(), self.chain.position
            try:
                await asyncio.gather(*unacknowledged)
                await self._write(changed, position)
            except BaseException:
                self.closed = True  # what was taken out of the state is written nowhere: no later checkpoint is whole
                raise
            for delivered in processed:
                delivered.ack()

    async def _write(self, changed: list[Item], position: int) -> None:
        for batch in [*self._unfinished, *batches(changed, position)]:
            await asyncio.gather(*await self._publisher.send_whole([self._ready(*item) for item in batch]))
        self._unfinished.clear()

    async def close(self) -> None:
        """A last checkpoint; from here on this lane processes and writes nothing."""
        await self.checkpoint()
        self.closed = True

    def _ready(self, key: str, raw: bytes | None) -> Ready:
        return Ready(self._changelog, self.partition, f"{self.partition}|{key}".encode(), raw)
