"""The batch transport in a Faust application of its own, on the real broker."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from pipeline.fetched import seek_to_committed
from pipeline.kafka_admin import admin
from tests.pipeline.transport_app import BUFFERED_MAX

pytestmark = pytest.mark.broker

PARTITIONS = 2
WAIT_S_MAX = 60.0
GROUP = "transport-test"
TOPICS = ("batched", "plain", "slow", "uncommitted")


@pytest.fixture(scope="module")
def address(broker: str) -> str:
    async def create() -> None:
        async with admin(broker) as client:
            compact = {"cleanup.policy": "compact"}
            await client.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=compact) for name in TOPICS])

    asyncio.run(create())
    return broker


@contextlib.asynccontextmanager
async def producer(address: str, transactional_id: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=address, transactional_id=transactional_id) as started:
        yield started


@contextlib.contextmanager
def application(address: str, output: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "tests.pipeline.transport_app", address, str(output)])
    try:
        yield
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(30)


def told(output: Path, topic: str) -> list[dict[str, Any]]:
    lines = output.read_text().splitlines() if output.exists() else []
    return [line for line in map(json.loads, lines) if line["topic"] == topic]


def offsets(lines: list[dict[str, Any]], partition: int) -> list[int]:
    return [offset for line in lines if line["partition"] == partition for offset in line["offsets"]]


async def until_committed(address: str, topic: str) -> dict[int, int]:
    """Wait until the group has committed beyond the last record of each partition; the commits."""
    places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with (
        asyncio.timeout(WAIT_S_MAX),
        AIOKafkaConsumer(bootstrap_servers=address, group_id=GROUP, enable_auto_commit=False) as consumer,
    ):
        ends = await consumer.end_offsets(places)
        while True:
            at = {place: await consumer.committed(place) or 0 for place in places}
            if all(at[place] >= ends[place] for place in places):
                return {place.partition: offset for place, offset in at.items()}


async def fill(address: str) -> dict[int, list[int]]:
    """Records, transactions that were committed and aborted, records again; the offsets that hold events."""
    held: dict[int, list[int]] = {number: [] for number in range(PARTITIONS)}

    async def send(to: AIOKafkaProducer, count: int, word: str, keep: bool = True) -> None:
        for partition in range(PARTITIONS):
            for number in range(count):
                key = f"{word}-{number}".encode()
                sent = await to.send_and_wait("batched", word.encode(), key, partition=partition)
                if keep:
                    held[partition].append(sent.offset)

    async with producer(address) as plain, producer(address, "fill") as transactional:
        await send(plain, 20, "before")
        async with transactional.transaction():
            await send(transactional, 10, "committed")
        await transactional.begin_transaction()
        await send(transactional, 10, "aborted", keep=False)
        await transactional.abort_transaction()
        await send(plain, 20, "after")
        for partition in range(PARTITIONS):
            await plain.send_and_wait("plain", b"one by one", b"k", partition=partition)
    return held


def test_batches_and_plain_topics_side_by_side(address: str, tmp_path: Path) -> None:
    """In order, each record once, none of an aborted transaction; the commit is behind the last, also after a stop."""
    held, output = asyncio.run(fill(address)), tmp_path / "told"
    with application(address, output):
        first = asyncio.run(until_committed(address, "batched"))
        asyncio.run(until_committed(address, "plain"))
    lines = told(output, "batched")
    assert {number: offsets(lines, number) for number in held} == held
    assert not [value for line in lines for value in line["values"] if "aborted" in value]
    assert sorted(line["partition"] for line in told(output, "plain")) == list(range(PARTITIONS))
    assert first == {number: found[-1] + 1 for number, found in held.items()}

    async def one_more() -> None:
        async with producer(address) as plain:
            for partition in range(PARTITIONS):
                held[partition].append(
                    (await plain.send_and_wait("batched", b"more", b"k", partition=partition)).offset
                )

    asyncio.run(one_more())
    with application(address, output):
        asyncio.run(until_committed(address, "batched"))
    lines = told(output, "batched")
    assert {number: offsets(lines, number) for number in held} == held, "a restart goes on behind what was committed"


def test_a_slow_reader_holds_the_fetching_back(address: str, tmp_path: Path) -> None:
    """What is fetched and not processed is bounded, whatever lies in the log."""

    async def fill_slow() -> None:
        async with producer(address) as plain:
            for number in range(3_000):
                await plain.send("slow", bytes(10_000), str(number).encode(), partition=number % PARTITIONS)
            await plain.flush()

    asyncio.run(fill_slow())
    output = tmp_path / "told"
    with application(address, output):
        asyncio.run(until_committed(address, "slow"))
    lines = told(output, "slow")
    for partition in range(PARTITIONS):
        assert offsets(lines, partition) == list(range(1_500))
    outstanding = [int(line["values"][0]) for line in lines]
    assert max(outstanding) <= BUFFERED_MAX + 2  # in the buffer, in the agent's hand, and one before the buffer


def test_seeking_back_without_any_commit_goes_to_the_beginning(address: str) -> None:
    """aiokafka's own leaves the position where it is, so that what was fetched and thrown away never comes again."""

    async def run() -> list[int]:
        places = [TopicPartition("uncommitted", number) for number in range(PARTITIONS)]
        async with producer(address) as plain:
            for place in places:
                for number in range(3):
                    await plain.send_and_wait("uncommitted", b"value", str(number).encode(), partition=place.partition)
        consumer = AIOKafkaConsumer(
            "uncommitted",
            bootstrap_servers=address,
            group_id="nothing committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        async with consumer:
            read = 0
            while read < 3 * PARTITIONS:
                read += sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
            await consumer.commit({places[0]: 2})
            await seek_to_committed(consumer)
            return [await consumer.position(place) for place in places]

    assert asyncio.run(run()) == [2, 0]
