"""The measurement that most benchmarks are made of: fill the traffic topic, start a worker, see it drain.

The broker is fresh each time and idle but for the worker; the producer has finished before the worker starts. Progress
is asked of the broker every POLL_S: end offsets of the decisions topic, or the offsets that the worker has committed.
What is measured lies between the first progress and the last: start-up, imports and joining the group are left out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from bench.load import Loader
from bench.outcomes import outcomes
from bench.processes import Moment, Shares, WorkerProcess, moment
from bench.traffic import Traffic, base_for, records
from bench.watch import Watch
from pipeline.broker import temporary_broker
from pipeline.kafka_admin import create_topics

POLL_S = 0.05
DRAIN_S_MAX = 900.0
T = TypeVar("T")
ALL_EVENTS = "all events"
"""Progress by committed offsets, for agents that write no decision an event; coarser: a commit every half second."""


class SlowError(Exception):
    """A backlog that was not drained in DRAIN_S_MAX."""


@dataclass(frozen=True)
class Drained:
    """What happened between the first progress seen and the last. `done`: decisions, or events for ALL_EVENTS.

    `cpu_s`: processor time of the worker process. `resident_mb`: at the end. `outcomes`: what was decided, in words.
    """

    done: int
    events_each: float
    wall_s: float
    cpu_s: float
    shares: Shares
    resident_mb: float
    outcomes: str = ""

    @property
    def per_s(self) -> float:
        return self.done / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        return self.done / self.cpu_s

    @property
    def events_per_cpu_s(self) -> float:
        """Requests and completions."""
        return self.per_cpu_s * self.events_each


async def drain(traffic: Traffic, agents: str, counted: str = "decisions") -> Drained:
    """One worker with these agents ("all": the whole flow) over the whole of `traffic`."""
    with temporary_broker() as broker:
        await create_topics(broker.address, traffic.partitions, 1)
        async with Loader(broker.address) as loader, Watch(broker.address, traffic.partitions) as watch:
            await loader.send(records(traffic))
            wanted = traffic.events if counted == ALL_EVENTS else traffic.decisions
            done = (lambda: watch.committed(loader.counts)) if counted == ALL_EVENTS else watch.decided
            worker = WorkerProcess(broker.address, agents)
            try:
                drained = await _drained(worker, broker.pid, wanted, traffic.events / wanted, done)
            finally:
                worker.kill()
            return drained if counted == ALL_EVENTS else replace(drained, outcomes=await outcomes(broker.address))


async def _drained(
    worker: WorkerProcess, broker_pid: int, wanted: int, events_each: float, done: Callable[[], Awaitable[int]]
) -> Drained:
    began, count_before = await until(lambda: _first(done, worker, broker_pid), "a worker has not begun")
    ended, count = await until(lambda: _last(done, wanted, worker, broker_pid), f"{wanted} were not done")
    shares = ended.shares_since(began)
    cpu_s, wall_s = ended.worker_s - began.worker_s, ended.at_s - began.at_s
    return Drained(count - count_before, events_each, wall_s, cpu_s, shares, worker.resident_mb())


async def _first(done: Callable[[], Awaitable[int]], worker: WorkerProcess, pid: int) -> tuple[Moment, int] | None:
    worker.check()
    count = await done()
    return (moment([worker], pid), count) if count else None


async def _last(
    done: Callable[[], Awaitable[int]], wanted: int, worker: WorkerProcess, pid: int
) -> tuple[Moment, int] | None:
    worker.check()
    count = await done()
    return (moment([worker], pid), count) if count >= wanted else None


async def until(ask: Callable[[], Awaitable[T | None]], what: str, poll_s: float = POLL_S) -> T:
    """The first answer that is not None. Raises SlowError."""
    deadline = time.monotonic() + DRAIN_S_MAX
    while (found := await ask()) is None:
        if time.monotonic() > deadline:
            raise SlowError(f"{what} within {DRAIN_S_MAX:.0f} s")
        await asyncio.sleep(poll_s)
    return found


def now_us() -> int:
    return time.time_ns() // 1000


def recent(requests: int, per_s: int) -> int:
    """A base of event time that ends now."""
    return base_for(requests, per_s, now_us())
