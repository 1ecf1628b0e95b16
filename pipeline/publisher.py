"""Sends outputs by the record batch: about a microsecond a record where a send per record costs a hundred."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

from aiokafka import AIOKafkaProducer

from pipeline.stage import EVERY_PARTITION, SAME_PARTITION, Output
from topics.codec import content_type, encoder, partition_of
from topics.table import BY_ALIAS, BY_NAME, RECORD_BYTES_MAX

BATCH_BYTES_MAX = 512 * 1024  # a single larger record still makes a batch of its own
KEYS_REMEMBERED_MAX = 1_000_000
Headers = tuple[tuple[str, bytes], ...]


class Ready(NamedTuple):
    """An encoded record with its place. `time_ms` None: the moment of sending.

    Kafka keeps records by this time: one of a deployment of last week, dated so, could be gone before it is read.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    time_ms: int | None = None
    headers: Headers = ()


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
            max_batch_size=BATCH_BYTES_MAX,
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

    async def publish(self, partition: int, outputs: Sequence[Output]) -> list["asyncio.Future[Any]"]:
        """Hand outputs caused in `partition` to the producer; the futures are done when the broker has them."""
        batches = _Batches(self._new_batch())
        by_alias: dict[str, list[Output]] = {}
        for output in outputs:
            by_alias.setdefault(output.to, []).append(output)
        for alias, found in by_alias.items():
            self._fill(batches, alias, await self.partitions(BY_ALIAS[alias].name), partition, found)
        return await self._submit(batches)

    def _fill(self, batches: "_Batches", alias: str, count: int, source: int, outputs: list[Output]) -> None:
        """Outputs of one topic, which has `count` partitions, in their order."""
        name, encode, headers = BY_ALIAS[alias].name, self._encoders[alias], list(self._headers[alias])
        now_ms = int(time.time() * 1000)
        for output in outputs:
            key, value = output.key, encode(output.value)
            if key == SAME_PARTITION:
                batches.add(name, source, None, value, now_ms, headers)
            elif key == EVERY_PARTITION:
                for each in range(count):
                    batches.add(name, each, None, value, now_ms, headers)
            else:
                encoded, place = _placed(key, count)
                batches.add(name, place, encoded, value, now_ms, headers)

    async def send(self, records: Iterable[Ready]) -> list["asyncio.Future[Any]"]:
        """Hand encoded records to the producer, in order per partition."""
        batches = _Batches(self._new_batch())
        now_ms = int(time.time() * 1000)
        for record in records:
            time_ms = now_ms if record.time_ms is None else record.time_ms
            batches.add(record.topic, record.partition, record.key, record.value, time_ms, list(record.headers))
        return await self._submit(batches)

    def _new_batch(self) -> Callable[[], Any]:
        assert self._producer is not None, "start() comes first"
        return cast(Callable[[], Any], self._producer.create_batch)

    async def _submit(self, batches: "_Batches") -> list["asyncio.Future[Any]"]:
        assert self._producer is not None
        return [
            await self._producer.send_batch(builder, topic, partition=partition)
            for (topic, partition), builder in batches.closed()
        ]


class _Batches:
    """Record batches being filled, one a partition, and those that are full."""

    def __init__(self, new_batch: Callable[[], Any]) -> None:
        self._new_batch = new_batch
        self._full: list[tuple[tuple[str, int], Any]] = []
        self._open: dict[tuple[str, int], Any] = {}

    def add(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        time_ms: int,
        headers: list[tuple[str, bytes]],
    ) -> None:
        place = (topic, partition)
        builder = self._open.get(place)
        if builder is None:
            builder = self._open[place] = self._new_batch()
        if builder.append(timestamp=time_ms, key=key, value=value, headers=headers) is None:  # no room
            self._full.append((place, builder))
            builder = self._open[place] = self._new_batch()
            builder.append(timestamp=time_ms, key=key, value=value, headers=headers)

    def closed(self) -> list[tuple[tuple[str, int], Any]]:
        """All batches, in the order in which each partition must get them."""
        batches = [*self._full, *self._open.items()]
        for _, builder in batches:
            builder.close()
        return batches


@lru_cache(maxsize=KEYS_REMEMBERED_MAX)
def _placed(key: str, partitions: int) -> tuple[bytes, int]:
    encoded = key.encode()
    return encoded, partition_of(encoded, partitions)
