"""Fills a topic fast: records encoded beforehand, appended to record batches, many requests in flight."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from aiokafka import AIOKafkaProducer

from bench.traffic import Record
from topics.table import BY_ALIAS

TRAFFIC = BY_ALIAS["traffic"].name
BATCH_BYTES = 512 * 1024
IN_FLIGHT_MAX = 32


class Loader:
    """A producer for one topic. `counts`: partition -> how many records it was given so far."""

    def __init__(self, address: str, topic: str = TRAFFIC) -> None:
        self.counts: Counter[int] = Counter()
        self._topic = topic
        self._address = address
        self._producer: Any = None

    async def __aenter__(self) -> "Loader":
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._address, acks="all", enable_idempotence=True, max_batch_size=2 * BATCH_BYTES
        )
        await self._producer.start()
        await self._producer.client.set_topics([self._topic])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    async def send(self, records: Iterable[Record], batch_bytes: int = BATCH_BYTES) -> None:
        """All of them, in order per partition; returns when the broker has them."""
        sent: list[Any] = []
        for partition, builder in self._batches(records, batch_bytes):
            sent.append(await self._producer.send_batch(builder, self._topic, partition=partition))
            if len(sent) >= IN_FLIGHT_MAX:
                await asyncio.gather(*sent)
                sent = []
        await asyncio.gather(*sent)

    def _batches(self, records: Iterable[Record], batch_bytes: int) -> Iterator[tuple[int, Any]]:
        builders: dict[int, Any] = {}
        for partition, key, value, time_ms in records:
            builder = builders.get(partition)
            if builder is None:
                builder = builders[partition] = self._producer.create_batch()
            builder.append(timestamp=time_ms, key=key, value=value)
            self.counts[partition] += 1
            if builder.size() > batch_bytes:
                builder.close()
                yield partition, builders.pop(partition)
        for partition, builder in builders.items():
            builder.close()
            yield partition, builder
