"""(e) Kill a worker that meters a million organisations; how long until the next one decides again, everywhere.

Each organisation has an account and one request still running, so the state is as large as it gets with one lease each.
From the start of the new process until a new decision is in every partition: imports, waiting for the dead worker's
session to end, joining, reading the state back. The requests it answers are in the log already when it starts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.drain import recent, until
from bench.load import Loader
from bench.plan import Plan
from bench.processes import Shares, WorkerProcess, moment
from bench.results import Row
from bench.traffic import Traffic, records
from bench.watch import DECISIONS, Watch
from pipeline.broker import temporary_broker
from pipeline.kafka_admin import create_topics

AGENTS = "quota,safety"
ORGANISATIONS = 1_000_000
PER_S = 4_000  # of event time: all within the 10 minutes of a lease
PARTITIONS = 8
AFTERWARDS = 20_000  # requests that wait for the new worker
RECOVERY_S_MAX = 15.0
REPEATS_MAX = 3
RESTORED = re.compile(r"(\d+) keys in ([\d.]+) s")


@dataclass(frozen=True)
class Recovered:
    """`whole_s`: from the start of the new worker until it had decided everywhere. `read_s`: added up over partitions,
    which are read at the same time."""

    whole_s: float
    read_s: float
    keys: int
    resident_mb: float
    shares: Shares


async def recovery(plan: Plan) -> list[Row]:
    """Time to the first new decision everywhere, and the part of it that reading the state took."""
    repeats = min(plan.repeats, REPEATS_MAX)
    found = []
    for repeat in range(repeats):
        plan.say(f"recovery: {repeat + 1} of {repeats}")
        found.append(await _recovered(plan.scaled(ORGANISATIONS)))
    whole = [one.whole_s for one in found]
    read = [one.read_s for one in found]
    resident = [one.resident_mb for one in found]
    what = f"kill -9 at {plan.scaled(ORGANISATIONS):,} organisations"
    note = f"{found[-1].keys:,} keys read back; the dead worker's session ends after 6 s; {found[-1].shares}"
    target = RECOVERY_S_MAX
    return [
        Row(bench="recovery", what=what, values=whole, unit="s", target=target, better="less", note=note),
        Row(
            bench="recovery",
            what="reading the state, partitions added up",
            values=read,
            unit="s",
            better="less",
        ),
        Row(bench="recovery", what="resident afterwards", values=resident, unit="MB", better="less"),
    ]


async def _recovered(organisations: int) -> Recovered:
    total = organisations + AFTERWARDS
    traffic = Traffic(
        total, recent(total, PER_S), PER_S, organisations=organisations, each_once=True, partitions=PARTITIONS
    )
    with temporary_broker() as broker:
        await create_topics(broker.address, PARTITIONS, 1)
        async with Loader(broker.address) as loader, Watch(broker.address, PARTITIONS) as watch:
            await loader.send(records(replace(traffic, requests=organisations)))
            await _filled(broker.address, watch, loader.counts)
            decided = await watch.ends(DECISIONS)
            await loader.send(records(traffic, organisations))
            worker = WorkerProcess(broker.address, AGENTS)
            try:
                began = moment([worker], broker.pid)
                await until(lambda: _everywhere(watch, decided, worker), "not decided everywhere")
                ended = moment([worker], broker.pid)
                shares = ended.shares_since(began)
                return Recovered(ended.at_s - worker.began, *_read_back(worker.log()), worker.resident_mb(), shares)
            finally:
                worker.kill()


async def _filled(address: str, watch: Watch, sent: Mapping[int, int]) -> None:
    """A worker has all of it behind it, checkpoint and commit, and is killed."""
    worker = WorkerProcess(address, AGENTS)
    try:
        await until(lambda: _done(watch, sent, worker), "the state was not filled")
    finally:
        worker.kill()


async def _done(watch: Watch, sent: Mapping[int, int], worker: WorkerProcess) -> bool | None:
    worker.check()
    return True if await watch.committed(sent) == sum(sent.values()) else None


async def _everywhere(watch: Watch, before: Mapping[int, int], worker: WorkerProcess) -> bool | None:
    worker.check()
    ends = await watch.ends(DECISIONS)
    return True if all(ends[number] > end for number, end in before.items()) else None


def _read_back(log: str) -> tuple[float, int]:
    """Seconds and keys, over all partitions, as the worker's log tells them."""
    restored = RESTORED.findall(log)
    return sum(float(seconds) for _, seconds in restored), sum(int(keys) for keys, _ in restored)
