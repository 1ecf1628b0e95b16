"""Outputs on the real broker: in order, acknowledged together, and an error where the broker takes none."""

import asyncio
import contextlib
import itertools
import os
import signal
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from pipeline.broker import Broker, temporary_broker
from pipeline.commands.shared import UserError, run_async
from pipeline.kafka_admin import create_topics, partition_counts
from pipeline.publisher import BATCH_BYTES_MAX, ROUND_RECORDS_MAX, Publisher, PublishError, Ready
from pipeline.stage import EVERY_PARTITION, SAME_PARTITION, Output
from topics.codec import decoder, partition_of
from topics.records import DeadLetter
from topics.table import BY_ALIAS, RECORD_BYTES_MAX
from topics.traffic import Request, Tick

pytestmark = pytest.mark.broker

TOPIC = BY_ALIAS["dead-letters"]


def letter(number: int, topic: str) -> DeadLetter:
    return DeadLetter(
        id=f"d-{number}", time_us=number, topic=topic, partition=0, offset=number, stage="test", field="", reason="",
        size_bytes=0,
    )  # fmt: skip


async def published(broker: str, rounds: list[list[Output]]) -> None:
    publisher = Publisher(broker)
    await publisher.start()
    try:
        sent = [future for outputs in rounds for future in await publisher.publish(1, outputs)]
        await asyncio.gather(*sent)
    finally:
        await publisher.stop()


async def found(broker: str, topic: str) -> dict[int, list[Any]]:
    """What each partition holds, in order."""
    places = [TopicPartition(topic, number) for number in range((await partition_counts(broker))[topic])]
    held: dict[int, list[Any]] = {place.partition: [] for place in places}
    async with AIOKafkaConsumer(bootstrap_servers=broker) as consumer:
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                held[place.partition] += records
    return held


def test_order_within_a_partition_is_kept_over_rounds(broker: str) -> None:
    """Small rounds that linger, and one that is so large that it leaves at once."""
    names = [f"order-{number % 7}" for number in range(3 * ROUND_RECORDS_MAX)]
    outputs = [Output(n, "dead-letters", name, letter(n, name)) for n, name in enumerate(names)]
    cuts = [0, 1, 3, 10, 10 + ROUND_RECORDS_MAX + 5, 2 * ROUND_RECORDS_MAX + 20, len(outputs)]

    async def run() -> dict[int, list[Any]]:
        await create_topics(broker, 4, 1)
        await published(broker, [outputs[start:end] for start, end in itertools.pairwise(cuts)])
        return await found(broker, TOPIC.name)

    decode, ours = decoder(TOPIC), frozenset(names)
    held = asyncio.run(run())
    for partition, records in held.items():
        kept = [decode(record.value) for record in records if record.key.decode() in ours]
        places = [n for n, name in enumerate(names) if partition_of(name.encode(), len(held)) == partition]
        assert [value.offset for value in kept] == places


def test_where_outputs_go(broker: str) -> None:
    """To the partition of the same number, or to all; what has a key, where its key belongs."""

    async def run() -> dict[int, list[Any]]:
        await create_topics(broker, 4, 1)
        outputs = [
            Output(0, "traffic", SAME_PARTITION, Tick(time_us=11)),
            Output(0, "traffic", EVERY_PARTITION, Tick(time_us=12)),
        ]
        await published(broker, [outputs])
        return await found(broker, BY_ALIAS["traffic"].name)

    decode = decoder(BY_ALIAS["traffic"])
    ticks = {
        partition: [decode(record.value) for record in records] for partition, records in asyncio.run(run()).items()
    }
    for partition, values in ticks.items():
        times = [value.time_us for value in values if isinstance(value, Tick) and value.time_us in (11, 12)]
        assert times == ([11, 12] if partition == 1 else [12])


def request(prompt: str) -> Request:
    return Request(id="r", time_us=1, organisation="o", model="m", input_tokens=1, prompt=prompt)


def test_a_record_larger_than_a_batch_is_a_batch(broker: str) -> None:
    async def run() -> dict[int, list[Any]]:
        await create_topics(broker, 4, 1)
        large = request("x" * (BATCH_BYTES_MAX + 1_000))
        await published(broker, [[Output(0, "traffic", "large", each) for each in (request("a"), large, request("b"))]])
        return await found(broker, BY_ALIAS["traffic"].name)

    decode = decoder(BY_ALIAS["traffic"])
    held = asyncio.run(run())
    records = held[partition_of(b"large", len(held))]
    assert [len(decode(r.value).prompt) for r in records if r.key == b"large"] == [1, BATCH_BYTES_MAX + 1_000, 1]


def test_what_goes_to_every_partition_keeps_its_place(broker: str) -> None:
    """Also where it was the one for which a batch had no room, and what follows would still fit there."""
    lengths = (BATCH_BYTES_MAX - 20_000, 40_000, 7)

    async def run() -> list[Any]:
        await create_topics(broker, 4, 1)
        keys = (SAME_PARTITION, EVERY_PARTITION, SAME_PARTITION)
        outputs = [Output(0, "traffic", key, request("y" * length)) for key, length in zip(keys, lengths, strict=True)]
        await published(broker, [outputs])
        return (await found(broker, BY_ALIAS["traffic"].name))[1]

    decode = decoder(BY_ALIAS["traffic"])
    prompts = [value.prompt for record in asyncio.run(run()) if isinstance(value := decode(record.value), Request)]
    assert tuple(len(prompt) for prompt in prompts if prompt.startswith("y")) == lengths


def test_what_the_broker_refuses_is_raised_by_its_future(broker: str) -> None:
    """A record over the topic's limit: the lane that waits for it must not take it for published."""

    async def run() -> None:
        await create_topics(broker, 4, 1)
        await published(broker, [[Output(0, "traffic", "huge", request("x" * (RECORD_BYTES_MAX + 1)))]])

    with pytest.raises((KafkaError, ValueError)):
        asyncio.run(run())


def test_nothing_is_sent_behind_what_was_not(broker: str) -> None:
    """The broker itself would take it from a producer that it does not know yet. A reader who has seen what is behind
    drops what comes again from the checkpoint before it, as repeated."""

    async def run() -> dict[int, list[Any]]:
        await create_topics(broker, 4, 1)
        publisher = Publisher(broker)
        await publisher.start()
        huge = await publisher.publish(0, [Output(0, "traffic", "behind", request("x" * (RECORD_BYTES_MAX + 1)))])
        with pytest.raises(KafkaError):
            await asyncio.gather(*huge)
        with pytest.raises(PublishError, match="MessageSizeTooLarge"):
            await publisher.publish(0, [Output(1, "traffic", "behind", request("behind"))])
        with pytest.raises(PublishError, match="MessageSizeTooLarge"):
            await publisher.send([Ready(BY_ALIAS["traffic"].name, 0, b"behind", b"{}")])
        await publisher.stop()
        return await found(broker, BY_ALIAS["traffic"].name)

    assert not [r for records in asyncio.run(run()).values() for r in records if r.key == b"behind"]


def test_a_round_that_finds_no_room_is_the_last() -> None:
    """While no broker answers, rounds wait for those before them until their time is over. What is in the producer by
    then may still arrive; what comes behind a round that was given up may not."""

    async def run(broker: Broker) -> tuple[list[Any], list[str]]:
        await create_topics(broker.address, 1, 1)
        publisher, sent = Publisher(broker.address, patience_s=1.0), []
        await publisher.start()
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            for number in range(20):
                with contextlib.suppress(PublishError):
                    sent += await publisher.publish(0, [Output(number, "traffic", "k", request(f"{number}"))])
                await asyncio.sleep(0.1)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        ended = await asyncio.gather(*sent, return_exceptions=True)
        with contextlib.suppress(PublishError):
            await publisher.stop()
        records = (await found(broker.address, BY_ALIAS["traffic"].name))[0]
        return ended, [decoder(BY_ALIAS["traffic"])(record.value).prompt for record in records]

    with temporary_broker() as broker:
        ended, prompts = asyncio.run(run(broker))
    assert any(isinstance(each, KafkaTimeoutError) for each in ended)
    assert prompts == [f"{number}" for number in range(len(prompts))]


def test_topics_are_created_when_every_partition_takes_records(caplog: pytest.LogCaptureFixture) -> None:
    """Else whoever sends at once is told some hundred times that a leader is none."""

    async def run(address: str) -> None:
        await create_topics(address, 64, 1)
        publisher = Publisher(address)
        await publisher.start()
        topic = BY_ALIAS["traffic"].name
        await asyncio.gather(*await publisher.send([Ready(topic, number, None, b"{}") for number in range(64)]))
        await publisher.stop()

    with temporary_broker() as started:
        asyncio.run(run(started.address))
    assert not [record for record in caplog.records if record.name.startswith("aiokafka")]


def test_a_command_says_in_one_line_what_was_not_sent() -> None:
    async def refused() -> None:
        raise PublishError("not sent, because the broker went away")

    with pytest.raises(UserError, match="not sent, because the broker went away"):
        run_async(refused())
