"""Kill -9 of the worker in the middle of a replay, and a restart: nothing is lost, nothing is counted twice."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.commands.replaying import find_source, plan
from replay.synthesis import Synthesis
from tests.e2e.runs import WorkerProcess, once, read, replayed, worker
from tests.e2e.test_replay_equals_worker import OUTPUTS, differences, offline_from_logs

SEED = 11
KILLS = 3


async def replay_and_kill(planned: Any, address: str, running: WorkerProcess) -> Any:
    """Replay at a pace that the worker keeps up with, and kill it at seeded moments."""
    moments = random.Random(SEED)
    run = asyncio.create_task(replayed(planned, address, speed=120.0, with_context=True))
    for _ in range(KILLS):
        await asyncio.sleep(moments.uniform(4.0, 9.0))
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

    offline = offline_from_logs(fresh_broker)  # what one process that never died makes of the same logs
    for alias in OUTPUTS:
        assert differences(once(read(fresh_broker, alias)), offline[alias]) == [], alias

    windows = once(read(fresh_broker, "windows")).values()
    latest = {(window.model, window.start_us): window for window in sorted(windows, key=lambda each: each.revision)}
    assert sum(window.requests for window in latest.values()) == ran.requests
