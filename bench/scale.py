"""(h) One worker, then two on the same work: how much more they do together, and what the limit was.

The backlog is there before the workers start. Counted from the moment when every worker has joined and every partition
has moved since, until the first partition is nearly done (then a worker would have too little to do), in decisions by
the broker's end offsets. Requests with prompts, quota and safety: the processor's work, not the network's.

On a machine with two cores, two workers and a broker cannot all have a core: the wall ratio is then the machine's
limit. Decisions per CPU-second with two workers against one show what the workers themselves lose by being two.
"""

from dataclasses import dataclass

import psutil

from bench.drain import recent, until
from bench.load import Loader
from bench.plan import Plan
from bench.processes import Moment, Shares, WorkerProcess, moment
from bench.results import Row
from bench.traffic import Traffic, records
from bench.watch import DECISIONS, Watch
from pipeline.broker import Broker, temporary_broker
from pipeline.kafka_admin import create_topics

AGENTS = "quota,safety"
REQUESTS = 1_500_000
PER_S = 100
PARTITIONS = 8
UNTIL_SHARE = 0.9
REPEATS_MAX = 3
TARGET = 1.7
CORE_BUSY = 0.9


@dataclass(frozen=True)
class Scaled:
    per_s: float
    per_cpu_s: float
    shares: Shares


async def scale(plan: Plan) -> list[Row]:
    """One and two workers by turns; ratios within a turn."""
    repeats = min(plan.repeats, REPEATS_MAX)
    alone: list[Scaled] = []
    together: list[Scaled] = []
    for repeat in range(repeats):
        for count, found in ((1, alone), (2, together)):
            plan.say(f"scale, {count} workers: {repeat + 1} of {repeats}")
            found.append(await _measured(plan.scaled(REQUESTS), count))
    pairs = list(zip(alone, together, strict=True))
    walls = [two.per_s / one.per_s for one, two in pairs]
    costs = [two.per_cpu_s / one.per_cpu_s for one, two in pairs]
    note = f"limit: {_limit(together[-1].shares, psutil.cpu_count() or 1)}; {together[-1].shares}"
    return [
        Row(bench="scale", what="decisions/s, one worker", values=[one.per_s for one in alone], unit="/s"),
        Row(bench="scale", what="decisions/s, two workers", values=[two.per_s for two in together], unit="/s"),
        Row(bench="scale", what="two workers to one, decisions/s", values=walls, unit="x", target=TARGET, note=note),
        Row(bench="scale", what="two workers to one, decisions per CPU-second", values=costs, unit="x"),
    ]


async def _measured(requests: int, count: int) -> Scaled:
    traffic = Traffic(requests, recent(requests, PER_S), PER_S, prompts=True, partitions=PARTITIONS)
    with temporary_broker() as broker:
        await create_topics(broker.address, PARTITIONS, 1)
        async with Loader(broker.address) as loader, Watch(broker.address, PARTITIONS) as watch:
            await loader.send(records(traffic))
            workers = [WorkerProcess(broker.address, AGENTS) for _ in range(count)]
            try:
                return await _scaled(workers, broker, watch, dict(loader.counts))
            finally:
                for worker in workers:
                    worker.kill()


async def _scaled(workers: list[WorkerProcess], broker: Broker, watch: Watch, sent: dict[int, int]) -> Scaled:
    await until(lambda: _joined(watch, workers), "the workers did not all join")
    joined = await watch.ends(DECISIONS)
    before, began = await until(lambda: _moved(watch, joined, workers, broker), "a partition did not move")
    after, ended = await until(lambda: _nearly(watch, sent, workers, broker), "the backlog was not drained")
    done = sum(after.values()) - sum(before.values())
    cpu_s = ended.worker_s - began.worker_s
    return Scaled(done / (ended.at_s - began.at_s), done / cpu_s, ended.shares_since(began))


async def _joined(watch: Watch, workers: list[WorkerProcess]) -> bool | None:
    for worker in workers:
        worker.check()
    return True if await watch.members() == len(workers) else None


async def _moved(
    watch: Watch, joined: dict[int, int], workers: list[WorkerProcess], broker: Broker
) -> tuple[dict[int, int], Moment] | None:
    ends = await watch.ends(DECISIONS)
    moved = all(ends[number] > end for number, end in joined.items())
    return (ends, moment(workers, broker.pid)) if moved else None


async def _nearly(
    watch: Watch, sent: dict[int, int], workers: list[WorkerProcess], broker: Broker
) -> tuple[dict[int, int], Moment] | None:
    ends = await watch.ends(DECISIONS)
    nearly = any(ends[number] >= count * UNTIL_SHARE for number, count in sent.items())
    return (ends, moment(workers, broker.pid)) if nearly else None


def _limit(shares: Shares, cores: int) -> str:
    """What kept two workers from more, by what was busy."""
    used = shares.worker + shares.broker + shares.ourselves + shares.others
    if shares.broker >= CORE_BUSY * cores / 2:
        return "the broker"
    if used >= CORE_BUSY * cores:
        return f"the machine's {cores} cores"
    if shares.worker >= 2 * CORE_BUSY:
        return "the workers, each on a core of its own"
    return "none of the processors: waiting for each other"
