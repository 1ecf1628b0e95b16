"""Bad records in a real topic end in dead letters with reason and offset, and their neighbours are decided."""

import asyncio
from pathlib import Path

from aiokafka import AIOKafkaProducer

from pipeline.observer import Observer
from tests.e2e.runs import once, read, worker
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
