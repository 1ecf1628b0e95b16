"""(h) One worker, then more on the same work: how much more they do together, and what the limit was.

The backlog is there before the workers start. Counted from the moment when every worker has joined and every partition
has moved since, until the first partition is nearly done (then a worker would have too little to do), in decisions by
the broker's end offsets. Requests with prompts, quota and safety: the processor's work, not the network's.

Two workers are measured everywhere, more where each has two of the machine's cores. On a machine with two cores, two
workers and a broker cannot all have a core: the wall ratio is then the machine's limit. Decisions per CPU-second of
several workers against one show what the workers themselves lose by being several.
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
REQUESTS_MIN = 600_000  # fewer are decided by the first worker before the second has joined
PER_S = 100
PARTITIONS_MIN = 8
UNTIL_SHARE = 0.9
REPEATS_MAX = 3
COUNTS = (1, 2, 4, 8)
TARGET = 1.7
CORE_BUSY = 0.9


@dataclass(frozen=True)
class Scaled:
    per_s: float
    per_cpu_s: float
    shares: Shares


async def scale(plan: Plan) -> list[Row]:
    """One worker, two, and as many more as the machine has cores for, by turns; ratios within a turn."""
    cores = psutil.cpu_count() or 1
    counts = worker_counts(cores)
    partitions = max(PARTITIONS_MIN, 2 * counts[-1])
    repeats = min(plan.repeats, REPEATS_MAX)
    turns: list[dict[int, Scaled]] = []
    for repeat in range(repeats):
        turn = {}
        for count in counts:
            plan.say(f"scale, {_workers(count)}: {repeat + 1} of {repeats}")
            requests = max(REQUESTS_MIN, plan.scaled(REQUESTS)) * max(1, count // 2)
            turn[count] = await _measured(requests, count, partitions)
        turns.append(turn)
    rows = [_speed(turns, count) for count in counts]
    return rows + [row for count in counts[1:] for row in _ratios(turns, count, cores)]


def worker_counts(cores: int) -> tuple[int, ...]:
    """1 and 2, and each further doubling for which there are two cores a worker."""
    return tuple(count for count in COUNTS if count <= max(2, cores // 2))


def _speed(turns: list[dict[int, Scaled]], count: int) -> Row:
    values = [turn[count].per_s for turn in turns]
    return Row(bench="scale", what=f"decisions/s, {_workers(count)}", values=values, unit="/s")


def _ratios(turns: list[dict[int, Scaled]], count: int, cores: int) -> list[Row]:
    what = f"{_workers(count)} to one"
    walls = [turn[count].per_s / turn[1].per_s for turn in turns]
    costs = [turn[count].per_cpu_s / turn[1].per_cpu_s for turn in turns]
    shares = turns[-1][count].shares
    note = f"limit: {_limit(shares, count, cores)}; {shares}"
    target = TARGET if count == 2 else None
    return [
        Row(bench="scale", what=f"{what}, decisions/s", values=walls, unit="x", target=target, note=note),
        Row(bench="scale", what=f"{what}, decisions per CPU-second", values=costs, unit="x"),
    ]


def _workers(count: int) -> str:
    return "one worker" if count == 1 else f"{count} workers"


async def _measured(requests: int, count: int, partitions: int) -> Scaled:
    traffic = Traffic(requests, recent(requests, PER_S), PER_S, prompts=True, partitions=partitions)
    with temporary_broker() as broker:
        await create_topics(broker.address, partitions, 1)
        async with Loader(broker.address) as loader, Watch(broker.address, partitions) as watch:
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


def _limit(shares: Shares, count: int, cores: int) -> str:
    """What kept `count` workers from more, by what was busy."""
    used = shares.worker + shares.broker + shares.ourselves + shares.others
    if shares.broker >= CORE_BUSY * cores / 2:
        return "the broker"
    if used >= CORE_BUSY * cores:
        return f"the machine's {cores} cores"
    if shares.worker >= count * CORE_BUSY:
        return "the workers, each on a core of its own"
    return "none of the processors: waiting for each other"
