"""A stage a hundred times slower than it is: the worker's memory stays bounded, and nothing is dropped."""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from pipeline.kafka_admin import admin, create_topics
from pipeline.publisher import Publisher, Ready
from pipeline.worker_options import GROUP
from tests.e2e.runs import PARTITIONS, WorkerProcess, once, read, read_async
from topics.codec import encoder
from topics.table import BY_ALIAS
from topics.traffic import Request

TRAFFIC = BY_ALIAS["traffic"]
REQUESTS = 16_000
PROMPT_CHARACTERS = 10_000
FACTOR = 100
WATCHED_S = 15.0
DECIDED_S_MAX = 120.0
GROWTH_MB_MAX = 120  # the backlog is 160 MB: fetched are at most 8 + 4 batches of 1 MiB, as bytes and decoded


async def produce(address: str) -> None:
    """A backlog of long prompts."""
    words, draw = ["please", "summarise", "the", "quarterly", "report", "for", "Tuesday"], random.Random(1)
    encode = encoder(TRAFFIC)
    publisher = Publisher(address)
    await publisher.start()
    now_us = time.time_ns() // 1000
    for start in range(0, REQUESTS, 1_000):
        prompts = [" ".join(draw.choices(words, k=PROMPT_CHARACTERS // 6))[:PROMPT_CHARACTERS] for _ in range(20)]
        requests = [
            Request(
                id=f"r-{number}",
                time_us=now_us,
                organisation=f"o-{number % 50}",
                model="m",
                input_tokens=1,
                max_tokens=1,
                prompt=prompts[number % 20],
            )
            for number in range(start, start + 1_000)
        ]
        sent = await publisher.send(
            [Ready(TRAFFIC.name, number % PARTITIONS, None, encode(each)) for number, each in enumerate(requests)]
        )
        await asyncio.gather(*sent)
    await publisher.stop()


def watched_mb(worker: "subprocess.Popen[bytes]", log: Path) -> list[float]:
    """Resident memory from when the worker has its partitions on."""
    process = psutil.Process(worker.pid)
    while "no state yet" not in log.read_text(errors="replace"):
        assert worker.poll() is None
        time.sleep(0.1)
    seen, began = [], time.monotonic()
    while time.monotonic() - began < WATCHED_S:
        seen.append(process.memory_info().rss / 1e6)
        time.sleep(0.1)
    return seen


def test_memory_is_bounded_and_nothing_is_dropped(fresh_broker: str, tmp_path: Path) -> None:
    asyncio.run(create_topics(fresh_broker, PARTITIONS, 1))
    asyncio.run(produce(fresh_broker))
    log = tmp_path / "slow.log"
    with log.open("wb") as sink:
        slow = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.slow", str(FACTOR), "worker", "--broker", fresh_broker],
            stdout=sink,
            stderr=sink,
        )
    try:
        seen_mb = watched_mb(slow, log)
        members = asyncio.run(members_of_group(fresh_broker))
    finally:
        slow.kill()
        slow.wait()
        print(log.read_text(errors="replace")[-3000:])  # noqa: T201 - pytest shows it when the test fails
    decided = len(once(read(fresh_broker, "decisions")))
    assert decided < REQUESTS / 2, "it was not slow: the backlog proves nothing"
    assert max(seen_mb) - seen_mb[0] < GROWTH_MB_MAX
    assert "has held the worker's loop" in log.read_text(errors="replace"), "no step was longer than a session"
    assert members == 1, "its heartbeats stopped with its loop"

    usual = WorkerProcess(fresh_broker, tmp_path / "usual.log")
    usual.start()
    try:
        asyncio.run(until_decided(fresh_broker))
    finally:
        usual.stop()
    requests = Counter(decision.request for decision in once(read(fresh_broker, "decisions")).values())
    assert len(requests) == REQUESTS
    assert set(requests.values()) == {1}


async def members_of_group(address: str) -> int:
    async with admin(address) as client:
        (answer,) = await client.describe_consumer_groups([GROUP])
    return len(answer.groups[0][5])


async def until_decided(address: str) -> None:
    """The slow worker's session must time out first, so that its partitions are given on."""
    async with asyncio.timeout(DECIDED_S_MAX):
        while len(once(await read_async(address, "decisions"))) < REQUESTS:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(1.0)
