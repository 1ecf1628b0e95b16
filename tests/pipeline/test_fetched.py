"""Reading by the record batch finds what aiokafka's own reading finds, wherever in the log it begins."""

import asyncio
import gc

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fetched import AHEAD_RECORDS_MIN, CRC, fetched_records
from pipeline.intake import Raw
from pipeline.kafka_admin import admin
from tests.pipeline.packing import found_in, packed

PLACE = TopicPartition("with-aborted", 0)
FEW = TopicPartition("few", 0)


def row(offset: int) -> Raw:
    return Raw(offset, 1_000_000 + 1_000 * offset, b"value %d" % offset)


OFFSETS = st.integers(0, 60)


@given(st.sets(OFFSETS, min_size=1), st.integers(1, 20), OFFSETS, st.integers(-1, 61), st.integers(1, 9), st.booleans())
def test_however_it_is_packed_and_parted_the_same_records_come_out(
    offsets: set[int], batch: int, begin: int, position: int, size: int, compressed: bool
) -> None:
    log = sorted(offsets)
    batches = [packed([row(offset) for offset in log[at : at + batch]], compressed) for at in range(0, len(log), batch)]
    found = found_in(b"".join(batches), begin)
    assert found.covers == range(begin, max(begin, log[-1] + 1))
    parts = list(found.after(position).parts(size))
    assert all(len(part.offsets) == size for part in parts[:-1])
    assert all(0 < len(part.offsets) <= size for part in parts)
    records = [each for part in parts for each in zip(part.offsets, part.times_ms, part.values, strict=True)]
    wanted = [row(offset) for offset in log if offset >= begin and offset > position]
    assert records == [(raw.offset, raw.time_us // 1000, raw.value) for raw in wanted]
    if wanted:
        assert found.last_offset == log[-1]


@pytest.mark.parametrize("at", [CRC, CRC + 4, CRC + 40, -1])
def test_a_batch_with_a_flipped_bit_is_refused(at: int) -> None:
    first = packed([row(0), row(1)])
    raw = bytearray(first + packed([row(2), row(3)]))
    assert found_in(bytes(raw)).last_offset == 3
    raw[len(first) + at if at > 0 else at] ^= 1
    with pytest.raises(CorruptRecordException, match="packed"):
        found_in(bytes(raw))


def test_a_batch_of_before_kafka_0_11_has_another_checksum() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    builder.append(0, 1_000, b"key", b"value")
    raw = bytearray(builder.build())
    found = found_in(bytes(raw))
    (part,) = found.parts(9)
    assert (part.values, found.last_offset) == ([b"value"], 0)
    raw[-1] ^= 1
    with pytest.raises(CorruptRecordException):
        found_in(bytes(raw))


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
                found += [offset for batch in batches.values() for part in batch.parts(3) for offset in part.offsets]
            else:
                found += [record.offset for record in (await consumer.getmany(timeout_ms=100)).get(PLACE, [])]
    return found


@pytest.mark.broker
def test_from_every_offset_on_it_is_what_aiokafka_reads(broker: str) -> None:
    """Also from the marker of an aborted transaction on, when nothing of the transaction itself is read."""

    async def run() -> None:
        end = await fill(broker)
        for begin in range(end):
            expected = await read(broker, begin, end, by_batch=False)
            assert expected[-1] == end - 1
            assert await read(broker, begin, end, by_batch=True) == expected, begin

    asyncio.run(run())


@pytest.mark.broker
def test_little_is_not_followed_by_a_fetch_until_more_is_asked_for(broker: str) -> None:
    async def run() -> tuple[list[int], bool, list[int], bool]:
        async with admin(broker) as client:
            await client.create_topics([NewTopic(FEW.topic, 1, 1)])
        async with (
            AIOKafkaProducer(bootstrap_servers=broker) as producer,
            AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, fetch_max_wait_ms=5_000) as consumer,
        ):
            consumer.assign([FEW])
            consumer.seek(FEW, 0)
            fetcher = consumer._fetcher
            fetcher._prefetch_backoff = 60.0  # else it fetches anyway when nobody has come for 0.1 s

            async def poll() -> list[int]:
                batches = await fetched_records(fetcher, [FEW], 10.0, {FEW.topic}, {})
                await asyncio.sleep(0.1)
                return [offset for batch in batches.values() for part in batch.parts(3) for offset in part.offsets]

            await producer.send_and_wait(FEW.topic, b"one", partition=0)
            while FEW not in fetcher._records:  # noqa: ASYNC110 - aiokafka tells of it by no event
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)  # the fetcher has seen that the answer lies there: from now on it waits
            little, asks_on = await poll(), bool(fetcher._in_flight)
            for _ in range(2 * AHEAD_RECORDS_MIN):
                await producer.send(FEW.topic, b"many", partition=0)
            await producer.flush()
            return little, asks_on, await poll(), bool(fetcher._in_flight)

    little, asked_after_little, much, asked_after_much = asyncio.run(run())
    assert little == [0]
    assert not asked_after_little
    assert much == list(range(1, 2 * AHEAD_RECORDS_MIN + 1))
    assert asked_after_much


@pytest.mark.broker
def test_nothing_that_was_fetched_waits_for_the_collector(broker: str) -> None:
    """Each answer of the broker holds up to a fetch's bytes, some hundred times a second."""

    async def run() -> int:
        async with admin(broker) as client:
            await client.create_topics([NewTopic("dropped", 1, 1)])
        async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
            for _ in range(5):
                await producer.send_and_wait("dropped", b"value", partition=0)
        place = TopicPartition("dropped", 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, max_partition_fetch_bytes=1)
        async with consumer:
            consumer.assign([place])
            consumer.seek(place, 0)
            fetches = 0
            while await consumer.position(place) < 5:
                fetches += len(await fetched_records(consumer._fetcher, [place], 1.0, {place.topic}, {}))
            return fetches

    gc.collect()
    before = [found for found in gc.get_objects() if type(found) is PartitionRecords]
    gc.disable()
    try:
        assert asyncio.run(run()) == 5
        left = [found for found in gc.get_objects() if type(found) is PartitionRecords]
    finally:
        gc.enable()
    assert len(left) == len(before)
