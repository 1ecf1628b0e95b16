"""Partitions move between workers, and stages between processes: the outputs stay what the logs say."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from pipeline.commands.replaying import Plan, find_source, plan
from pipeline.flow import STAGES
from replay.synthesis import Synthesis
from tests.e2e.runs import WorkerProcess, assert_same_as_offline, replayed, worker

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
