"""A worker whose partition is never fetched again, whose commits stand still or who is never given partitions, says so
and starts anew; one whose fetches get lost on the way fetches again."""

import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.kafka_admin import create_topics
from pipeline.publisher import Publisher, Ready
from tests.e2e.runs import PARTITIONS, once, read_async
from topics.codec import encoder
from topics.table import BY_ALIAS
from topics.traffic import Request

TRAFFIC = BY_ALIAS["traffic"]
SAID_S_MAX = 60.0
BACKLOG = 24_000


async def produce_until_said(address: str, log: Path, words: str, times: int = 1) -> int:
    """Requests to every partition, some each second, until the worker's log has these words so often; how many."""
    publisher, sent, encode = Publisher(address), 0, encoder(TRAFFIC)
    await publisher.start()
    async with asyncio.timeout(SAID_S_MAX):
        while log.read_text(errors="replace").count(words) < times:  # noqa: ASYNC240 - a small file
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
    async with asyncio.timeout(SAID_S_MAX):
        while len(decisions := once(await read_async(address, "decisions"))) < sent:  # noqa: ASYNC110 - of others
            await asyncio.sleep(0.5)
    return [decision.request for decision in decisions.values()]


@contextlib.contextmanager
def deaf_worker(
    address: str, folder: Path, fault: str, *options: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A worker with a fault, and the file of what it says."""
    asyncio.run(create_topics(address, PARTITIONS, 1))
    log = folder / "worker.log"
    program = [sys.executable, "-m", "tests.e2e.deaf", fault, str(folder / "once")]
    with log.open("wb") as sink:
        worker = subprocess.Popen([*program, "worker", "--broker", address, *options], stdout=sink, stderr=sink)
    try:
        yield worker, log
    finally:
        worker.terminate()
        worker.wait(30)
        print(log.read_text(errors="replace")[-5000:])  # noqa: T201 - pytest shows it when the test fails


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("fetch", "traffic.v1.*not fetched"), ("commit", "not committed"), ("join", "a rebalance has not ended")],
)
def test_a_deaf_worker_starts_anew(fresh_broker: str, tmp_path: Path, fault: str, reason: str) -> None:
    with deaf_worker(fresh_broker, tmp_path, fault, "--stuck-after", "4") as (worker, log):
        sent = asyncio.run(produce_until_said(fresh_broker, log, "starts anew"))
        decided = asyncio.run(decided_when_all_are(fresh_broker, sent))
        assert worker.poll() is None, "the same process goes on, as a new program"
    assert sorted(decided) == sorted(f"r-{number}" for number in range(sent))
    assert sum("starts anew" in line for line in log.read_text().splitlines()) == 1
    assert re.search(reason, log.read_text())


def test_topics_that_the_broker_did_not_know_at_first_are_given_out_soon(fresh_broker: str, tmp_path: Path) -> None:
    """As after a crash of the broker: without another look at its topics the group would hold nothing for minutes."""
    with deaf_worker(fresh_broker, tmp_path, "topics") as (worker, log):
        sent = asyncio.run(produce_until_said(fresh_broker, log, "no state yet", times=PARTITIONS))
        decided = asyncio.run(decided_when_all_are(fresh_broker, sent))
        assert worker.poll() is None
    assert sorted(decided) == sorted(f"r-{number}" for number in range(sent))
    assert "Ignoring missing topic" in log.read_text()
    assert "starts anew" not in log.read_text()


def test_fetches_that_get_lost_on_the_way_are_fetched_again(fresh_broker: str, tmp_path: Path) -> None:
    """In place, without a new start: the next fetch begins behind what the partition's lane wants."""
    with deaf_worker(fresh_broker, tmp_path, "drop") as (_, log):
        sent = asyncio.run(produce_until_said(fresh_broker, log, "it is fetched again", times=PARTITIONS))
        decided = asyncio.run(decided_when_all_are(fresh_broker, sent))
    assert sorted(decided) == sorted(f"r-{number}" for number in range(sent))
    assert "starts anew" not in log.read_text()


async def produce_at_once(address: str) -> int:
    """More requests than a few fetches hold; how many."""
    await create_topics(address, PARTITIONS, 1)
    publisher, encode, now_us = Publisher(address), encoder(TRAFFIC), time.time_ns() // 1000
    await publisher.start()
    for start in range(0, BACKLOG, 1_000):
        requests = [
            Request(
                id=f"r-{number}", time_us=now_us, organisation="o", model="m", input_tokens=1, max_tokens=1,
                prompt="x" * 1_500,
            )
            for number in range(start, start + 1_000)
        ]  # fmt: skip
        ready = [Ready(TRAFFIC.name, number % PARTITIONS, None, encode(each)) for number, each in enumerate(requests)]
        await asyncio.gather(*await publisher.send(ready))
    await publisher.stop()
    return BACKLOG


def test_what_was_delivered_beyond_a_gap_does_not_disturb_fetching_again(fresh_broker: str, tmp_path: Path) -> None:
    """Behind a backlog the fetching is ahead of the lane that asks for what it missed."""
    sent = asyncio.run(produce_at_once(fresh_broker))
    with deaf_worker(fresh_broker, tmp_path, "drop") as (worker, log):
        decided = asyncio.run(decided_when_all_are(fresh_broker, sent))
        assert worker.poll() is None
    assert sorted(decided) == sorted(f"r-{number}" for number in range(sent))
    assert "it is fetched again" in log.read_text()
    assert "starts anew" not in log.read_text()
