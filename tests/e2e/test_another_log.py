"""A topic that was deleted and created anew while the state of the former one was kept."""

import asyncio
import subprocess
import time
from pathlib import Path

from pipeline.kafka_admin import admin, create_topics, partition_counts
from pipeline.publisher import Publisher, Ready
from tests.e2e.runs import PARTITIONS, caught_up, worker
from topics.codec import encoder
from topics.table import BY_ALIAS
from topics.traffic import Request

TRAFFIC = BY_ALIAS["traffic"]
SAYS_S_MAX = 60.0


async def produce(address: str, requests: int) -> None:
    publisher, encode = Publisher(address), encoder(TRAFFIC)
    await publisher.start()
    for number in range(requests):
        request = Request(
            id=f"r-{number}",
            time_us=time.time_ns() // 1000,
            organisation="o",
            model="m",
            input_tokens=1,
            max_tokens=1,
        )
        await publisher.send([Ready(TRAFFIC.name, number % PARTITIONS, None, encode(request))])
    await publisher.stop()


async def produce_and_wait(address: str) -> None:
    await produce(address, 100 * PARTITIONS)
    await caught_up(address)


async def create_anew(address: str) -> None:
    async with admin(address) as client:
        await client.delete_topics([TRAFFIC.name])
    async with asyncio.timeout(30):
        while TRAFFIC.name in await partition_counts(address):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
    await create_topics(address, PARTITIONS, 1)
    await produce(address, PARTITIONS)


def test_a_worker_refuses_a_log_that_its_state_is_not_of(fresh_broker: str, tmp_path: Path) -> None:
    with worker(fresh_broker, tmp_path, "--agents", "quota,safety") as running:
        asyncio.run(produce_and_wait(fresh_broker))
        assert running.stop() == 0
        asyncio.run(create_anew(fresh_broker))
        running.start()
        assert running.process is not None
        try:
            assert running.process.wait(SAYS_S_MAX) == 1
        except subprocess.TimeoutExpired:
            running.kill()
            raise
    said = (tmp_path / "worker.log").read_text()
    assert f"{TRAFFIC.name}/" in said
    assert "deleted and created anew" in said
    assert "Traceback" not in said
