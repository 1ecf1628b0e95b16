"""The state of one lane in its changelog topic: read when a partition comes, written by one process at a time.

A checkpoint is one Kafka transaction: it is there whole or not at all, whatever its size. Its transactional id is the
lane's, the same in whichever process: opening it makes the broker refuse whoever held the lane before (a process that
was stopped or cut off and goes on as if nothing had happened), and end what that one had begun. So what is read after
opening is final.

Faust's tables are not used: nobody can be shut out from them, and they are read back record by record, which takes
minutes for a million keys (docs/decisions/0006).
"""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, OutOfOrderSequenceNumber, ProducerFenced

from pipeline.chain import Item
from pipeline.fetched import fetched_records
from topics.table import RECORD_BYTES_MAX

POSITION = b"position"
BATCH_BYTES_MAX = 1024 * 1024
ITEMS_AT_ONCE_MAX = 256  # are put into a batch before others have their turn
FETCH_BYTES_MAX = 16 * 1024 * 1024
TRANSACTION_MS_MAX = 30_000
FETCH_S_MAX = 1.0

_encode = msgspec.msgpack.Encoder().encode
_decode_position = msgspec.msgpack.Decoder(int).decode


class FencedError(Exception):
    """Another process holds this lane now; what this one has computed since is the other's to compute."""


class Changelog:
    """One partition of a changelog topic."""

    def __init__(self, broker: str, topic: str, partition: int) -> None:
        self._place = TopicPartition(topic, partition)
        self._broker = broker
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> tuple[dict[str, bytes], int]:
        """Shut out whoever had it before; the state that the last checkpoint left, and the position it stands for.

        The position is -1 when there is no checkpoint.
        """
        topic, partition = self._place
        producer = AIOKafkaProducer(
            bootstrap_servers=self._broker,
            client_id=f"{topic}-{partition}",
            transactional_id=f"{topic}-{partition}",
            transaction_timeout_ms=TRANSACTION_MS_MAX,
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=RECORD_BYTES_MAX,
            request_timeout_ms=TRANSACTION_MS_MAX,
        )
        try:
            await producer.start()
            await producer.client.set_topics([topic])
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        latest = await _latest(self._broker, self._place)
        position = _decode_position(latest.pop(POSITION)) if POSITION in latest else -1
        return {key.decode(): raw for key, raw in latest.items()}, position

    async def write(self, changed: Collection[Item], position: int) -> None:
        """A checkpoint: what changed since the one before, and the offset that it stands for. Raises FencedError."""
        assert self._producer is not None, "open() comes first"
        try:
            await self._producer.begin_transaction()
            sent = [
                await self._producer.send_batch(batch, self._place.topic, partition=self._place.partition)
                for batch in await self._batches([*changed, (POSITION.decode(), _encode(position))])
            ]
            await asyncio.gather(*sent)  # first: aiokafka would commit what did arrive when a part has failed
            await self._producer.commit_transaction()
        except (ProducerFenced, InvalidProducerEpoch, OutOfOrderSequenceNumber) as error:
            raise FencedError(f"{self._place.topic}/{self._place.partition}: another process holds it now") from error

    async def _batches(self, items: Collection[Item]) -> list[Any]:
        assert self._producer is not None
        batches = [self._producer.create_batch()]
        for number, (key, raw) in enumerate(items):
            if number % ITEMS_AT_ONCE_MAX == 0:
                await asyncio.sleep(0)
            if batches[-1].append(timestamp=None, key=key.encode(), value=raw) is None:
                batches.append(self._producer.create_batch())
                batches[-1].append(timestamp=None, key=key.encode(), value=raw)
        return batches

    async def close(self) -> None:
        """Stop writing."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()


async def _latest(broker: str, place: TopicPartition) -> dict[bytes, bytes]:
    """The last value of each key, of committed transactions only."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
        fetch_max_wait_ms=int(FETCH_S_MAX * 1000 / 2),
    )
    latest: dict[bytes, bytes] = {}
    await consumer.start()
    try:
        begin = (await consumer.beginning_offsets([place]))[place]
        end = (await consumer.end_offsets([place]))[place]
        consumer.assign([place])
        consumer.seek(place, begin)  # at once: else the first fetch would wait at the log's end for what never comes
        while await consumer.position(place) < end:
            found = await fetched_records(consumer._fetcher, [place], FETCH_S_MAX, {place.topic}, {})
            if place in found:
                _lay_over(latest, found[place].unpacked())
    finally:
        await consumer.stop()
    return latest


def _lay_over(latest: dict[bytes, bytes], records: Iterable[Any]) -> None:
    for record in records:
        if record.value is None:
            latest.pop(record.key, None)
        else:
            latest[record.key] = record.value
