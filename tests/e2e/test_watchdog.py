"""A worker whose partition is never fetched again, or whose commits stand still, says so and starts anew."""

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.kafka_admin import create_topics
from pipeline.publisher import Publisher, Ready
from tests.e2e.runs import PARTITIONS, once, read_async
from topics.codec import encoder
from topics.table import BY_ALIAS
from topics.traffic import Request

TRAFFIC = BY_ALIAS["traffic"]
RESTART_S_MAX = 60.0


async def produce_until_restarted(address: str, log: Path) -> int:
    """Requests to every partition, some each second, until the worker's log tells of a new start; how many."""
    publisher, sent, encode = Publisher(address), 0, encoder(TRAFFIC)
    await publisher.start()
    async with asyncio.timeout(RESTART_S_MAX):
        while "starts anew" not in log.read_text(errors="replace"):  # noqa: ASYNC240 - a small file
            now_us = time.time_ns() // 1000
            requests = [
                Request(
                    id=f"r-{sent + number}", time_us=now_us, organisation="o", model="m", input_tokens=1, max_tokens=1
                )
                for number in range(PARTITIONS)
            ]
            await publisher.send([Ready(TRAFFIC.name, at, None, encode(each)) for at, each in enumerate(requests)])
            sent += len(requests)
            await asyncio.sleep(0.25)
    await publisher.stop()
    return sent


async def decided_when_all_are(address: str, sent: int) -> list[str]:
    """The requests that decisions are about, once there are as many as were sent."""
    async with asyncio.timeout(RESTART_S_MAX):
        while len(decisions := once(await read_async(address, "decisions"))) < sent:  # noqa: ASYNC110 - of others
            await asyncio.sleep(0.5)
    return [decision.request for decision in decisions.values()]


@pytest.mark.parametrize(("fault", "reason"), [("fetch", "traffic.v1.*not fetched"), ("commit", "not committed")])
def test_a_deaf_worker_starts_anew(fresh_broker: str, tmp_path: Path, fault: str, reason: str) -> None:
    asyncio.run(create_topics(fresh_broker, PARTITIONS, 1))
    log = tmp_path / "worker.log"
    program = [sys.executable, "-m", "tests.e2e.deaf", fault, str(tmp_path / "once")]
    with log.open("wb") as sink:
        worker = subprocess.Popen(
            [*program, "worker", "--broker", fresh_broker, "--stuck-after", "4"], stdout=sink, stderr=sink
        )
    try:
        sent = asyncio.run(produce_until_restarted(fresh_broker, log))
        decided = asyncio.run(decided_when_all_are(fresh_broker, sent))
        assert worker.poll() is None, "the same process goes on, as a new program"
    finally:
        worker.terminate()
        worker.wait(30)
        print(log.read_text(errors="replace")[-5000:])  # noqa: T201 - pytest shows it when the test fails
    assert sorted(decided) == sorted(f"r-{number}" for number in range(sent))
    assert sum("starts anew" in line for line in log.read_text().splitlines()) == 1
    assert re.search(reason, log.read_text())
