"""All lanes of a process: opened when their partitions come, each with the state that its changelog holds."""

import asyncio
import gc
import logging
import time
from collections.abc import Iterable

from pipeline.chain import Chain, sources
from pipeline.changelog import Changelog, FencedError
from pipeline.intake import Intake
from pipeline.lane import Lane
from pipeline.publisher import Publisher
from pipeline.worker_options import WorkerOptions
from topics.table import BY_ALIAS

SHARE_MAX = 0.03  # of the time, for making checkpoints
PAUSE_S_MAX = 1.0  # between two lanes' checkpoints, however long they take
RESTORED_AT_ONCE_MAX = 4  # each may hold a fetch of many MiB

logger = logging.getLogger("tidegate.worker")

Place = tuple[str, int]
"""A source's alias, and a partition of it."""


class Lanes:
    """A lane for each place that this process holds; restored in the background, a few at a time."""

    def __init__(self, options: WorkerOptions, publisher: Publisher) -> None:
        self._options = options
        self._publisher = publisher
        self._intakes = {source: Intake(source, rows[0].stage) for source, rows in sources(options.stages).items()}
        self._held: dict[Place, asyncio.Task[Lane]] = {}
        self._turn = asyncio.Semaphore(RESTORED_AT_ONCE_MAX)

    def open(self, places: Iterable[Place]) -> None:
        """Begin to restore lanes that are not there yet."""
        for place in places:
            if place not in self._held:
                self._held[place] = asyncio.create_task(self._restored(*place))

    async def at(self, place: Place) -> Lane | None:
        """The lane, as soon as it is restored; None when all are closed before that."""
        self.open([place])
        task = self._held[place]
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                return None
            raise

    def restored(self, place: Place) -> Lane | None:
        """The lane, unless it is still being restored."""
        task = self._held.get(place)
        return task.result() if task is not None and task.done() else None

    async def checkpoint(self, interval_s: float) -> None:
        """Write a checkpoint of each, one after the other, so that none waits for all; in about `interval_s`.

        It takes longer when they would take more than SHARE_MAX of the time. Raises FencedError and KafkaError.
        """
        lanes = [lane for place in list(self._held) if (lane := self.restored(place)) is not None]
        for lane in lanes:
            took_s = await lane.checkpoint(at_leisure=True)
            await asyncio.sleep(max(interval_s / len(lanes), min(took_s / SHARE_MAX, PAUSE_S_MAX)))
        if not lanes:
            await asyncio.sleep(interval_s)

    async def close(self) -> None:
        """Write a last checkpoint of each, and hold none any more. What another process has taken is no error."""
        held, self._held = self._held, {}
        closed = await asyncio.gather(*(self._close(task) for task in held.values()), return_exceptions=True)
        failed = [error for error in closed if isinstance(error, BaseException)]
        for (source, partition), error in zip(held, closed, strict=True):
            if isinstance(error, FencedError):
                logger.warning("%s/%d: another worker has gone on from the last checkpoint", source, partition)
                failed.remove(error)
        if failed:
            raise failed[0]

    async def _close(self, task: "asyncio.Task[Lane]") -> None:
        if not task.done():
            task.cancel()
        try:
            lane = await task
        except asyncio.CancelledError:
            return
        await lane.close()

    async def _restored(self, source: str, partition: int) -> Lane:
        async with self._turn:
            began = time.monotonic()
            chain = Chain(source, self._options.stages, self._options.settings)
            changelog = Changelog(self._options.broker, self._options.changelog(source), partition)
            try:
                values, position = await changelog.open()
            except BaseException:
                await changelog.close()
                raise
            chain.restore(values, position, forgetting=self._options.fresh)
            gc.freeze()  # what was restored will mostly stay: the collector need not look at it again and again
        if position < 0:
            logger.info("%s/%d: no state yet", source, partition)
        else:
            took_s = time.monotonic() - began
            what = f"{source}/{partition}: state restored up to offset {position}"
            logger.info("%s: %d keys in %.1f s", what, len(values), took_s)
        partitions = self._options.partitions[BY_ALIAS[source].name]
        return Lane(chain, self._intakes[source], self._publisher, partition, partitions, changelog)
