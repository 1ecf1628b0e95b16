"""Kill -9 of the worker in the middle of a replay, and a restart: nothing is lost, nothing is counted twice."""

import asyncio
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.commands.replaying import find_source, plan
from replay.synthesis import Synthesis
from tests.e2e.runs import WorkerProcess, assert_same_as_offline, committed, once, read, replayed, worker

SEED = 11
KILLS = 3
START_S_MAX = 60.0


async def more_than(done: int, address: str) -> int:
    """Wait until more than `done` offsets are committed, of all partitions together; how many."""
    async with asyncio.timeout(START_S_MAX):
        while True:
            now = sum(sum(offsets.values()) for offsets in (await committed(address)).values())
            if now > done:
                return now
            await asyncio.sleep(0.2)


async def replay_and_kill(planned: Any, address: str, running: WorkerProcess) -> Any:
    """Replay at a pace that the worker keeps up with, and kill it at seeded moments after it has got to work."""
    moments, done = random.Random(SEED), 0
    run = asyncio.create_task(replayed(planned, address, speed=120.0, with_context=True))
    for _ in range(KILLS):
        done = await more_than(done, address)
        await asyncio.sleep(moments.uniform(0.0, 5.0))
        assert not run.done(), "the replay ended before the worker was killed"
        running.kill()
        running.start()
    return await run


def test_a_killed_worker_loses_and_repeats_nothing(fresh_broker: str, tmp_path: Path) -> None:
    source = find_source("synthetic", "", SEED, Synthesis(60 * 60, 15.0, SEED), 120.0, live=True)
    planned = plan(source, "default", SEED)
    with worker(fresh_broker, tmp_path) as running:
        ran = asyncio.run(replay_and_kill(planned, fresh_broker, running))
    assert ran.settled
    assert ran.balanced

    decided = Counter(each.request for each in once(read(fresh_broker, "decisions")).values())
    assert len(decided) == ran.requests
    assert set(decided.values()) == {1}

    assert_same_as_offline(fresh_broker)
    restored = re.findall(r"state restored up to offset (\d+)", (tmp_path / "worker.log").read_text())
    assert len(restored) > KILLS, "no worker began where a killed one had been: the kills proved nothing"

    windows = once(read(fresh_broker, "windows")).values()
    latest = {(window.model, window.start_us): window for window in sorted(windows, key=lambda each: each.revision)}
    assert sum(window.requests for window in latest.values()) == ran.requests
