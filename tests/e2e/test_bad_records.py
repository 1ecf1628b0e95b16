"""Bad records in a real topic end in dead letters with reason and offset, and their neighbours are decided."""

import asyncio
from pathlib import Path

from aiokafka import AIOKafkaProducer

from pipeline.commands.follow import records
from pipeline.intake import Raw
from pipeline.observer import Observer
from pipeline.packed import UNPACKED_BYTES_MAX
from tests.e2e.runs import WorkerProcess, once, read, worker
from tests.pipeline.packing import with_bad_header
from tests.pipeline.test_intake import BAD, NOW_US, changed
from topics.fields import SECOND_US
from topics.table import BY_ALIAS, RECORD_BYTES_MAX

TRAFFIC = BY_ALIAS["traffic"].name


async def send_good_and_bad(address: str) -> dict[int, str]:
    """A good record before, between and after all bad ones, in one partition; the bad ones' names by offset."""
    bad: dict[int, str] = {}
    async with AIOKafkaProducer(bootstrap_servers=address, max_request_size=RECORD_BYTES_MAX) as producer:

        async def send(value: bytes | None) -> int:
            sent = await producer.send_and_wait(TRAFFIC, value, key=b"acme", partition=1, timestamp_ms=NOW_US // 1000)
            return int(sent.offset)

        await send(changed(id="good-first"))
        for number, (name, (value, _, _)) in enumerate(BAD.items()):
            bad[await send(value)] = name
            await send(changed(id=f"good-{number}", time_us=NOW_US + number * SECOND_US // 10))
    return bad


async def watched(address: str) -> dict[int, str]:
    observer = Observer(address)
    await observer.start()
    bad = await send_good_and_bad(address)
    async with asyncio.timeout(60):
        while observer.decisions.once < len(BAD) + 1 or observer.counts["dead-letters"] < len(BAD):
            observer.check()
            await asyncio.sleep(0.1)
    await observer.stop()
    return bad


def test_bad_records_harm_nobody(fresh_broker: str, tmp_path: Path) -> None:
    with worker(fresh_broker, tmp_path):
        bad = asyncio.run(watched(fresh_broker))
    letters = [found.value for found in read(fresh_broker, "dead-letters")]
    assert {letter.offset: BAD[bad[letter.offset]][1] for letter in letters} == {
        letter.offset: letter.field for letter in letters
    }
    assert sorted(letter.offset for letter in letters) == sorted(bad)
    assert {(letter.topic, letter.partition, letter.stage) for letter in letters} == {(TRAFFIC, 1, "quota")}
    decided = {decision.request for decision in once(read(fresh_broker, "decisions")).values()}
    assert decided == {"good-first", *(f"good-{number}" for number in range(len(BAD)))}


COMPRESSIONS = ("gzip", "snappy", "lz4", "zstd", None)


def good(name: str, number: int) -> bytes:
    return changed(id=f"{name}-{number}", time_us=NOW_US + number * SECOND_US // 10)


async def send_batches(address: str) -> int:
    """Batches in every compression, each three requests, between them one of names that are not UTF-8, and one, of a
    few KB, that would be larger than all limits when decompressed; the offset of that."""
    larger = 2 * UNPACKED_BYTES_MAX
    swelling = -1
    for number, compression in enumerate(COMPRESSIONS):
        async with AIOKafkaProducer(
            bootstrap_servers=address, compression_type=compression, max_request_size=larger
        ) as producer:

            async def send(value: bytes, producer: AIOKafkaProducer = producer) -> int:
                sent = await producer.send_and_wait(
                    TRAFFIC, value, key=b"acme", partition=1, timestamp_ms=NOW_US // 1000
                )
                return int(sent.offset)

            for again in range(3):
                await send(good(f"{compression}", 3 * number + again))
            if compression == "zstd":
                swelling = await send(bytes(UNPACKED_BYTES_MAX))
            batch = producer.create_batch()
            batch.append(key=b"acme", value=b"", timestamp=NOW_US // 1000)
            batch.close()
            batch._buffer = bytearray(with_bad_header([Raw(0, NOW_US, good(f"after {compression}", 3 * number + 2))]))
            await (await producer.send_batch(batch, TRAFFIC, partition=1))
    return swelling


async def watched_batches(address: str) -> int:
    observer = Observer(address)
    await observer.start()
    swelling = await send_batches(address)
    async with asyncio.timeout(60):
        while observer.decisions.once < 4 * len(COMPRESSIONS) or observer.counts["dead-letters"] < 1:
            observer.check()
            await asyncio.sleep(0.1)
    await observer.stop()
    return swelling


async def followed(address: str) -> int:
    return len([record async for record in records(address, BY_ALIAS["traffic"], from_start=True, to_end=True)])


async def decided_after(address: str, running: WorkerProcess) -> None:
    """A worker that begins among such batches reads the time for its first tick there, and decides what comes."""
    running.stop()
    held = await followed(address)
    observer = Observer(address)
    await observer.start()
    running.start()
    async with asyncio.timeout(60):
        while await followed(address) == held:  # noqa: ASYNC110 - the log tells of a tick by nothing else
            await asyncio.sleep(0.1)
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        await producer.send_and_wait(TRAFFIC, good("last", 0), key=b"acme", partition=1, timestamp_ms=NOW_US // 1000)
    async with asyncio.timeout(60):
        while observer.decisions.once < 1:
            observer.check()
            await asyncio.sleep(0.1)
    await observer.stop()
    assert running.process is not None
    assert running.process.poll() is None


def test_batches_in_every_compression_and_two_that_aiokafka_does_not_read(fresh_broker: str, tmp_path: Path) -> None:
    with worker(fresh_broker, tmp_path) as running:
        swelling = asyncio.run(watched_batches(fresh_broker))
        assert asyncio.run(followed(fresh_broker)) >= 4 * len(COMPRESSIONS) + 1
        asyncio.run(decided_after(fresh_broker, running))
    (letter,) = [found.value for found in read(fresh_broker, "dead-letters")]
    assert (letter.topic, letter.partition, letter.offset, letter.field) == (TRAFFIC, 1, swelling, "")
    assert letter.reason.startswith(f"a record batch that cannot be read from offset {swelling} to its end, {swelling}")
    decided = {decision.request for decision in once(read(fresh_broker, "decisions")).values()}
    sent = {f"{name}-{3 * number + again}" for number, name in enumerate(COMPRESSIONS) for again in range(3)}
    assert decided == sent | {"last-0"} | {f"after {name}-{3 * number + 2}" for number, name in enumerate(COMPRESSIONS)}
