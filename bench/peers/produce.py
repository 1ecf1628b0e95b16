"""Puts a work's events into a topic as JSON, by the record batch, and its closing events once all else is consumed."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.peers.work import Columns, Work, chunks, model_name, organisation_name
from topics.codec import partition_of

BATCH_BYTES = 512 * 1024
IN_FLIGHT_MAX = 32

EVENT = (
    '{"type":"completion","id":"req-%08d","time_us":%d,"organisation":"%s","gen_ai.response.model":"%s",'
    '"gen_ai.usage.input_tokens":%d,"gen_ai.usage.output_tokens":%d,"gen_ai.usage.cache_read.input_tokens":0,'
    '"gen_ai.response.time_to_first_chunk":0.25,"gen_ai.client.operation.duration":%d.%06d,"error.type":"%s"}'
)

Record = tuple[int, bytes, bytes, int]
"""Partition, key, value, timestamp in milliseconds: the event's own time."""


async def produce_input(address: str, work: Work) -> None:
    """Create `work.topic` unless it is there, and fill it; returns when the broker has everything."""
    await create_topic(address, work.topic, work.partitions)
    await _send(address, work.topic, records(work))


async def produce_closing(address: str, work: Work) -> None:
    """One event of every model in every partition, behind the grace: whatever counts time by what arrives now closes.

    To be sent when a peer has consumed everything else. A peer's clock is the latest time it has seen, and partitions
    are not read evenly: sent at once, the closing events of a short partition would make a longer one's events late.
    """
    await _send(address, work.topic, closing(work))


async def create_topic(address: str, name: str, partitions: int) -> None:
    """Create a topic; one that exists is left as it is."""
    client = AIOKafkaAdminClient(bootstrap_servers=address)
    await client.start()
    try:
        if name not in await client.list_topics():
            await client.create_topics([NewTopic(name, partitions, 1)])
        while not await _has_leaders(client, name):  # noqa: ASYNC110 - another process decides, no event of ours
            await asyncio.sleep(0.1)  # the broker tells of new leaders only when asked
    finally:
        await client.close()


async def _has_leaders(client: AIOKafkaAdminClient, name: str) -> bool:
    found = (await client.describe_topics([name]))[0]
    return found["error_code"] == 0 and all(partition["leader"] >= 0 for partition in found["partitions"])


def records(work: Work) -> Iterator[Record]:
    """The events as they are sent."""
    names = _Names(work)
    for columns in chunks(work):
        yield from _encoded(columns, names)


def closing(work: Work) -> Iterator[Record]:
    """The closing events, keyed as the others are: where the key is the model, a peer may count time by key."""
    for name in map(model_name, range(work.models)):
        value = (EVENT % (0, work.closing_us, "closing", name, 1, 1, 1, 0, "")).encode()
        key = name.encode() if work.keyed_by == "model" else b"closing"
        yield from ((partition, key, value, work.closing_us // 1000) for partition in range(work.partitions))


class _Names:
    """Each organisation's or model's name, key and partition, worked out once."""

    def __init__(self, work: Work) -> None:
        self.organisations = [organisation_name(number) for number in range(work.organisations)]
        self.models = [model_name(number) for number in range(work.models)]
        self.by_model = work.keyed_by == "model"
        self.keys = [name.encode() for name in (self.models if self.by_model else self.organisations)]
        self.partitions = [partition_of(key, work.partitions) for key in self.keys]


def _encoded(columns: Columns, names: _Names) -> Iterator[Record]:
    rows = zip(*(column.tolist() for column in columns[1:]), strict=True)
    for number, (time_us, organisation, model, given, made, duration_us, failed) in enumerate(rows, columns.first):
        key = model if names.by_model else organisation
        seconds, micros = divmod(duration_us, 1_000_000)
        error = "timeout" if failed else ""
        who, what = names.organisations[organisation], names.models[model]
        value = EVENT % (number, time_us, who, what, given, made, seconds, micros, error)
        yield names.partitions[key], names.keys[key], value.encode(), time_us // 1000


async def _send(address: str, topic: str, events: Iterable[Record]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=address, acks="all", enable_idempotence=True, max_batch_size=2 * BATCH_BYTES
    )
    await producer.start()
    try:
        sent: list[Any] = []
        for partition, batch in _batches(producer, events):
            sent.append(await producer.send_batch(batch, topic, partition=partition))
            if len(sent) >= IN_FLIGHT_MAX:
                await asyncio.gather(*sent)
                sent = []
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def _batches(producer: Any, events: Iterable[Record]) -> Iterator[tuple[int, Any]]:
    builders: dict[int, Any] = {}
    for partition, key, value, time_ms in events:
        builder = builders.get(partition)
        if builder is None:
            builder = builders[partition] = producer.create_batch()
        builder.append(key=key, value=value, timestamp=time_ms, headers=[])
        if builder.size() > BATCH_BYTES:
            builder.close()
            yield partition, builders.pop(partition)
    for partition, builder in builders.items():
        builder.close()
        yield partition, builder
