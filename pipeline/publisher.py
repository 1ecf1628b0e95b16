"""Sends outputs by the record batch: about a microsecond a record where a send per record costs a hundred."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from pipeline.stage import EVERY_PARTITION, SAME_PARTITION, Output
from topics.codec import content_type, encoder, partition_of
from topics.table import BY_ALIAS, BY_NAME, RECORD_BYTES_MAX

BATCH_BYTES_MAX = 512 * 1024
WHOLE_BATCH_BYTES_MAX = RECORD_BYTES_MAX - 64 * 1024  # a record batch counts as one message against the topic's limit
KEYS_REMEMBERED_MAX = 65_536


class Ready(NamedTuple):
    """An encoded record with its place. `time_ms` None: the moment of sending.

    Kafka keeps records by this time: one of a deployment of last week, dated so, could be gone before it is read.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    time_ms: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Publisher:
    """A producer that keeps order per partition (idempotent, so that a retry neither repeats nor overtakes).

    `topics`: the names of all that it will ever send to; they must exist.
    """

    def __init__(self, broker: str, client_id: str = "tidegate", topics: Iterable[str] = BY_NAME) -> None:
        self._broker = broker
        self._topics = frozenset(topics)
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._encoders = {alias: encoder(topic) for alias, topic in BY_ALIAS.items()}
        self._headers = {
            alias: (("content-type", content_type(topic).encode()),) if topic.cloudevent else ()
            for alias, topic in BY_ALIAS.items()
        }
        self._partitions: dict[str, int] = {}

    async def start(self) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._broker,
            client_id=self._client_id,
            enable_idempotence=True,
            acks="all",
            max_batch_size=WHOLE_BATCH_BYTES_MAX,
            max_request_size=RECORD_BYTES_MAX,
            compression_type=None,
            request_timeout_ms=30_000,
        )
        await self._producer.start()
        # Name them all: aiokafka asks for all topics when it begins, and afterwards only for those named so far, so
        # that one sent to before would lose its leader for good while batches for it wait.
        await self._producer.client.set_topics(self._topics)

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has; remembered."""
        if topic not in self._partitions:
            assert self._producer is not None, "start() comes first"
            self._partitions[topic] = len(await self._producer.partitions_for(topic))
        return self._partitions[topic]

    async def publish(self, partition: int, outputs: Iterable[Output]) -> list["asyncio.Future[Any]"]:
        """Hand outputs caused in `partition` to the producer; the futures are done when the broker has them."""
        return await self.send([ready for output in outputs for ready in await self._place(partition, output)])

    async def _place(self, partition: int, output: Output) -> list[Ready]:
        topic = BY_ALIAS[output.to]
        value = self._encoders[output.to](output.value)
        headers = self._headers[output.to]
        if output.key == SAME_PARTITION:
            return [Ready(topic.name, partition, None, value, None, headers)]
        count = await self.partitions(topic.name)
        if output.key == EVERY_PARTITION:
            return [Ready(topic.name, each, None, value, None, headers) for each in range(count)]
        key = output.key.encode()
        return [Ready(topic.name, _partition(key, count), key, value, None, headers)]

    async def send(self, records: Iterable[Ready]) -> list["asyncio.Future[Any]"]:
        """Hand encoded records to the producer, in order per partition."""
        assert self._producer is not None, "start() comes first"
        now_ms = int(time.time() * 1000)
        builders: dict[tuple[str, int], Any] = {}
        futures: list[asyncio.Future[Any]] = []
        for record in records:
            place = (record.topic, record.partition)
            builder = builders.get(place) or builders.setdefault(place, self._producer.create_batch())
            if builder.size() > BATCH_BYTES_MAX or not _append(builder, record, now_ms):
                futures.append(await self._submit(builder, place))
                builders[place] = self._producer.create_batch()
                _append(builders[place], record, now_ms)
        for place, builder in builders.items():
            futures.append(await self._submit(builder, place))
        return futures

    async def send_whole(self, records: Sequence[Ready]) -> list["asyncio.Future[Any]"]:
        """Records of one partition as one record batch: there all together or not at all. ValueError: too large."""
        assert self._producer is not None, "start() comes first"
        builder = self._producer.create_batch()
        now_ms = int(time.time() * 1000)
        for record in records:
            if not _append(builder, record, now_ms):
                raise ValueError(f"{len(records)} records for {record.topic} do not fit into one record batch")
        return [await self._submit(builder, (records[0].topic, records[0].partition))] if records else []

    async def _submit(self, builder: Any, place: tuple[str, int]) -> "asyncio.Future[Any]":
        assert self._producer is not None
        builder.close()
        topic, partition = place
        future: asyncio.Future[Any] = await self._producer.send_batch(builder, topic, partition=partition)
        return future


def _append(builder: Any, record: Ready, now_ms: int) -> bool:
    """Whether there was room."""
    time_ms = now_ms if record.time_ms is None else record.time_ms
    metadata = builder.append(key=record.key, value=record.value, timestamp=time_ms, headers=list(record.headers))
    return metadata is not None


@lru_cache(maxsize=KEYS_REMEMBERED_MAX)
def _partition(key: bytes, partitions: int) -> int:
    return partition_of(key, partitions)
