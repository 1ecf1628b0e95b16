"""Partitions move between workers, and stages between processes: the outputs stay what the logs say."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from pipeline.commands.replaying import Plan, find_source, plan
from pipeline.flow import STAGES
from pipeline.publisher import Publisher
from replay.kafka import KafkaReplay
from replay.synthesis import Synthesis
from tests.e2e.runs import WorkerProcess, assert_same_as_offline, caught_up, once, read, replayed, worker

SEED = 7
SPEED = 120.0


def synthetic_plan(minutes: int) -> Plan:
    source = find_source("synthetic", "", SEED, Synthesis(minutes * 60, 15.0, SEED), SPEED, live=True)
    return plan(source, "default", SEED)


async def replay_while_workers_change(planned: Plan, address: str, first: WorkerProcess, second: WorkerProcess) -> Any:
    """A second worker joins, then the first leaves in order, then comes back."""
    run = asyncio.create_task(replayed(planned, address, speed=SPEED, with_context=True))
    for change in (second.start, first.stop, first.start):
        await asyncio.sleep(7.0)  # of a paced replay: it is the pace that decides what falls before and after
        assert not run.done(), "the replay ended before the workers changed"
        await asyncio.to_thread(change)
    return await run


def test_a_worker_joins_and_another_leaves(fresh_broker: str, tmp_path: Path) -> None:
    with worker(fresh_broker, tmp_path) as first, contextlib.ExitStack() as stack:
        second = WorkerProcess(fresh_broker, tmp_path / "second.log")
        stack.callback(lambda: second.process and second.stop())
        ran = asyncio.run(replay_while_workers_change(synthetic_plan(60), fresh_broker, first, second))
        assert ran.settled
        assert ran.balanced
        assert "state restored" in (tmp_path / "second.log").read_text(), "no partition went to the second worker"
    assert_same_as_offline(fresh_broker)


def fill(address: str, minutes: int) -> int:
    """A backlog in the traffic topic; how many requests."""
    return asyncio.run(_fill(address, synthetic_plan(minutes)))


async def _fill(address: str, planned: Plan) -> int:
    publisher = Publisher(address)
    await publisher.start()
    counts = await KafkaReplay(publisher).run(planned.source.events(), None)
    await publisher.stop()
    return counts["request"]


def test_orderly_stops_in_mid_backlog(fresh_broker: str, tmp_path: Path) -> None:
    """SIGTERM under full load, again and again: exit code 0, and every request decided the same as without."""
    with worker(fresh_broker, tmp_path) as running:
        running.stop()
        requests = fill(fresh_broker, 60)
        for _ in range(3):
            decided = len(read(fresh_broker, "decisions"))
            running.start()
            while len(read(fresh_broker, "decisions")) == decided:
                assert running.process is not None
                assert running.process.poll() is None, "the worker ended by itself"
            assert running.stop() == 0
        assert len(once(read(fresh_broker, "decisions"))) < requests, "the backlog was done before the last stop"
        running.start()
        asyncio.run(until_decided(fresh_broker, requests))
        asyncio.run(caught_up(fresh_broker))
    assert_same_as_offline(fresh_broker)


async def until_decided(address: str, requests: int) -> None:
    async with asyncio.timeout(120):
        while len(once(await asyncio.to_thread(read, address, "decisions"))) < requests:
            pass


def test_a_worker_of_other_stages_does_not_start_over(fresh_broker: str, tmp_path: Path) -> None:
    with worker(fresh_broker, tmp_path) as running:
        fill(fresh_broker, 1)
        asyncio.run(until_decided(fresh_broker, 1))
        running.stop()
        other = WorkerProcess(fresh_broker, tmp_path / "other.log", "--agents", "quota,safety")
        other.start()
        assert other.process is not None
        assert other.process.wait(30) == 1
    assert "quota, safety belongs to workers of another --agents set" in (tmp_path / "other.log").read_text()


def test_stages_in_workers_of_their_own(fresh_broker: str, tmp_path: Path) -> None:
    """Safety, and all that follows detection, run in other processes: links become internal topics."""
    apart = ("safety", "alerting,mitigation,scheduler,cache")
    rest = ",".join(stage for stage in STAGES if stage not in ",".join(apart).split(","))
    with worker(fresh_broker, tmp_path, "--agents", rest), contextlib.ExitStack() as stack:
        for number, agents in enumerate(apart):
            other = WorkerProcess(fresh_broker, tmp_path / f"apart-{number}.log", "--agents", agents)
            other.start()
            stack.callback(other.stop)
        ran = asyncio.run(replayed(synthetic_plan(60), fresh_broker, speed=SPEED, with_context=True))
        assert ran.settled
        assert ran.balanced
        assert ran.collected.counts["commands"] > 0
    assert_same_as_offline(fresh_broker)
