"""Watches the output topics from a moment on: counts, and hands every record to whoever asked."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer

from topics.codec import decoder
from topics.records import Decision
from topics.table import BY_ALIAS, BY_NAME, RECORD_BYTES_MAX

OUTPUTS = (
    "decisions",
    "windows",
    "anomalies",
    "alerts",
    "incidents",
    "commands",
    "jobs",
    "invalidations",
    "dead-letters",
)

BEHIND_MAX = 2_000
"""A replay with a pace waits for workers that are further behind, or commands would come long after their cause."""

Receive = Callable[[str, Any], None]
"""Called with a topic alias and a decoded record."""


class DecisionCount:
    """Counts decisions once each.

    Within a partition, those that one stage wrote for one traffic partition come in the order of its log: quota writes
    the throttled ones and safety the others, perhaps in another process.
    """

    def __init__(self) -> None:
        self.once = 0
        self.repeated = 0
        self.outcomes: Counter[str] = Counter()
        self._last: dict[tuple[int, int, bool], int] = {}

    def add(self, partition: int, decision: Decision) -> bool:
        """Whether this decision is the first of its request."""
        source, offset = coordinate(decision.id)
        writer = (partition, source, decision.outcome == "throttled")
        if offset <= self._last.get(writer, -1):
            self.repeated += 1
            return False
        self._last[writer] = offset
        self.once += 1
        self.outcomes[decision.outcome] += 1
        return True


def coordinate(identifier: str) -> tuple[int, int]:
    """(partition, offset) of the record that caused an output, out of the output's id."""
    partition, offset, *_ = identifier.lstrip("abcdefghijklmnopqrstuvwxyz-/").split("-")
    return int(partition), int(offset)


class Observer:
    """A consumer of its own, without a group: it disturbs nobody. Call `start` before the records of interest come."""

    def __init__(self, broker: str, receive: Receive | None = None, aliases: Iterable[str] = OUTPUTS) -> None:
        self.decisions = DecisionCount()
        self.counts: Counter[str] = Counter()
        self.windows_until_us: dict[str, int] = {}
        self._receive = receive
        self._decoders = {BY_ALIAS[alias].name: decoder(BY_ALIAS[alias]) for alias in aliases}
        self._consumer = AIOKafkaConsumer(
            *self._decoders,
            bootstrap_servers=broker,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            max_partition_fetch_bytes=RECORD_BYTES_MAX,
            fetch_max_wait_ms=100,
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe from the present end of every topic on."""
        await self._consumer.start()
        places = self._consumer.assignment()
        await self._consumer.seek_to_end(*places)
        for place in places:
            await self._consumer.position(place)
        self._task = asyncio.create_task(self._watch())

    def is_behind(self, requests: int) -> bool:
        """Whether more than BEHIND_MAX of so many requests have no decision yet. Raises what stopped the watching."""
        self.check()
        return requests - self.decisions.once > BEHIND_MAX

    def check(self) -> None:
        """Raise what went wrong while watching, if anything did."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Stop watching; what went wrong while watching is raised here."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(asyncio.CancelledError):  # aiokafka's own tasks, when the broker has gone
            await self._consumer.stop()

    async def _watch(self) -> None:
        while True:
            found = await self._consumer.getmany(timeout_ms=100, max_records=5_000)
            records = [record for records in found.values() for record in records]
            records.sort(key=lambda record: record.timestamp)  # as they were written; stable within a partition
            for record in records:
                alias, decode = BY_NAME[record.topic].alias, self._decoders[record.topic]
                self._take(alias, record.partition, decode(record.value))
            await asyncio.sleep(0)

    def _take(self, alias: str, partition: int, value: Any) -> None:
        if alias == "decisions" and not self.decisions.add(partition, value):
            return
        self.counts[alias] += 1
        if alias == "windows":
            self.windows_until_us[value.model] = max(self.windows_until_us.get(value.model, 0), value.end_us)
        if self._receive:
            self._receive(alias, value)
