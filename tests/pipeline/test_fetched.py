"""Reading by the record batch finds what aiokafka's own reading finds, wherever in the log it begins."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from pipeline.fetched import fetched_records
from pipeline.kafka_admin import admin

pytestmark = pytest.mark.broker

PLACE = TopicPartition("with-aborted", 0)


async def fill(address: str) -> int:
    """Transactions of one producer, two of them aborted, with another's records between; the end of the log."""
    async with admin(address) as client:
        await client.create_topics([NewTopic(PLACE.topic, 1, 1)])
    async with (
        AIOKafkaProducer(bootstrap_servers=address) as plain,
        AIOKafkaProducer(bootstrap_servers=address, transactional_id="aborts") as aborts,
    ):
        for kept in (True, False, True, False, True):
            await aborts.begin_transaction()
            for number in range(2):
                await aborts.send_and_wait(*PLACE[:1], f"kept: {kept}, {number}".encode(), partition=0)
            await plain.send_and_wait(PLACE.topic, b"between", partition=0)
            await (aborts.commit_transaction() if kept else aborts.abort_transaction())
        await plain.send_and_wait(PLACE.topic, b"last", partition=0)
        last = await plain.send_and_wait(PLACE.topic, b"last", partition=0)
        return int(last.offset) + 1


async def read(address: str, begin: int, end: int, by_batch: bool) -> list[int]:
    """The offsets of the records that a reader of committed records finds from `begin` on."""
    found: list[int] = []
    consumer = AIOKafkaConsumer(
        bootstrap_servers=address, isolation_level="read_committed", enable_auto_commit=False, fetch_max_wait_ms=50
    )
    async with consumer:
        consumer.assign([PLACE])
        consumer.seek(PLACE, begin)
        while await consumer.position(PLACE) < end:
            if by_batch:
                batches = await fetched_records(consumer._fetcher, [PLACE], 0.1, {PLACE.topic}, {})
                found += [record.offset for batch in batches.values() for record in batch.records]
            else:
                found += [record.offset for record in (await consumer.getmany(timeout_ms=100)).get(PLACE, [])]
    return found


def test_from_every_offset_on_it_is_what_aiokafka_reads(broker: str) -> None:
    """Also from the marker of an aborted transaction on, when nothing of the transaction itself is read."""

    async def run() -> None:
        end = await fill(broker)
        for begin in range(end):
            expected = await read(broker, begin, end, by_batch=False)
            assert expected[-1] == end - 1
            assert await read(broker, begin, end, by_batch=True) == expected, begin

    asyncio.run(run())
