"""(d) How long a request waits for its decision at a fixed rate: see bench/open_loop.py for what is measured.

The worker, the broker and the sending process share the machine's cores; the notes say what each used. Requests have
300-character prompts and leave as a gateway's producer would send them, within LINGER_S; completions follow them. The
worker has been started and has decided before the first counts. Partitions are what a poll costs by: 8, as everywhere,
and 2, which are enough for one worker (docs/sizing.md).

The limit is the same process waiting for its own requests to come back from the broker, without a worker: one passage,
of which a decision needs two.
"""

import asyncio
import json
import sys
from itertools import product

from bench.drain import recent, until
from bench.load import Loader
from bench.open_loop import LINGER_S, WARM_UP_S, Latency
from bench.plan import Plan
from bench.processes import ROOT, Shares, WorkerProcess, moment
from bench.results import Row
from bench.traffic import Traffic, records
from bench.watch import Watch
from pipeline.broker import temporary_broker
from pipeline.kafka_admin import create_topics

RATES = (5_000, 10_000, 20_000)
AGENTS = ("quota,safety", "all")
LIMIT = "none"
FLOWS = {LIMIT: "limit: once through the broker", "quota,safety": "quota and safety", "all": "whole flow"}
SECONDS = 60.0
PARTITIONS = 8
PARTITIONS_FEW = 2
AWAKE_REQUESTS = 2_000
TARGET_RATE = 10_000
TARGETS_MS = {"p99": 15.0, "p99.9": 50.0}


class SenderError(Exception):
    """The sending process failed; the message is what it said."""


async def latency(plan: Plan) -> list[Row]:
    """Each rate with the two agents of the request path, and with the whole flow in one worker."""
    seconds = plan.minutes * 60 if plan.minutes else (10.0 if plan.quick else SECONDS)
    rows = []
    for rate in RATES:
        plan.say(f"latency at {rate:,} requests/s, once through the broker, {seconds + WARM_UP_S:.0f} s")
        rows += _rows(LIMIT, PARTITIONS, *await once_through(rate, seconds))
    for agents, partitions in product(AGENTS, (PARTITIONS, PARTITIONS_FEW)):
        for rate in RATES:
            plan.say(f"latency at {rate:,} requests/s, {agents}, {partitions} partitions, {seconds + WARM_UP_S:.0f} s")
            rows += _rows(agents, partitions, *await measure(agents, rate, seconds, partitions))
    return rows


async def once_through(rate: int, seconds: float) -> tuple[Latency, Shares]:
    """No worker, on a fresh broker."""
    with temporary_broker() as broker:
        await create_topics(broker.address, PARTITIONS, 1)
        before = moment([], broker.pid)
        found = await _sender(broker.address, rate, seconds, PARTITIONS, "traffic")
        return found, moment([], broker.pid).shares_since(before)


async def measure(
    agents: str, rate: int, seconds: float, partitions: int = PARTITIONS, linger_s: float = LINGER_S
) -> tuple[Latency, Shares]:
    """One worker on a fresh broker."""
    with temporary_broker() as broker:
        await create_topics(broker.address, partitions, 1)
        worker = WorkerProcess(broker.address, agents)
        try:
            await _awake(broker.address, partitions)
            before = moment([worker], broker.pid)
            found = await _sender(broker.address, rate, seconds, partitions, "decisions", linger_s)
            return found, moment([worker], broker.pid).shares_since(before)
        finally:
            worker.kill()


async def _awake(address: str, partitions: int) -> None:
    """Until the worker has decided a few requests in every partition: started, joined, its state opened."""
    traffic = Traffic(AWAKE_REQUESTS, recent(AWAKE_REQUESTS, 1_000), 1_000, partitions=partitions)
    async with Loader(address) as loader, Watch(address, partitions) as watch:
        await loader.send(records(traffic))
        await until(lambda: _decided(watch, AWAKE_REQUESTS), "the worker did not begin")


async def _decided(watch: Watch, wanted: int) -> bool | None:
    return True if await watch.decided() >= wanted else None


async def _sender(
    address: str, rate: int, seconds: float, partitions: int, watched: str, linger_s: float = LINGER_S
) -> Latency:
    where = ("--broker", address, "--partitions", str(partitions), "--watch", watched)
    options = (*where, "--rate", str(rate), "--seconds", str(seconds), "--linger", str(linger_s))
    command = (sys.executable, "-m", "bench.open_loop", *options)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)
    try:
        said, complained = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise SenderError(complained.decode(errors="replace")[-2_000:])
    return Latency(**json.loads(said))


def _rows(agents: str, partitions: int, found: Latency, shares: Shares) -> list[Row]:
    named = {"p50": found.p50_ms, "p99": found.p99_ms, "p99.9": found.p999_ms}
    flow = FLOWS[agents]
    return [
        Row(
            bench="latency",
            what=f"{found.rate:,} requests/s, {flow}, {partitions} partitions, {name}",
            values=[value],
            unit="ms",
            target=TARGETS_MS.get(name) if found.rate == TARGET_RATE and agents != LIMIT else None,
            better="less",
            note=_note(found, shares) if name == "p50" else "",
            is_void=not found.is_valid,
        )
        for name, value in named.items()
    ]


def _note(found: Latency, shares: Shares) -> str:
    words = [] if found.is_valid else ["VOID: the sender did not keep its schedule"]
    if found.undecided:
        words.append(f"{found.undecided:,} undecided")
    words.append("lag grows" if found.lag_grows else "lag steady")
    words.append(f"of {found.requests:,} requests {found.throttled:,} throttled, slowest {found.max_ms:.0f} ms")
    words.append(f"sender late by p99.9 {found.late_ms_p999:.1f} ms with {found.cores:.2f} of a core")
    others = max(0.0, shares.others - found.cores)
    words.append(f"worker {shares.worker:.2f}, broker {shares.broker:.2f}, others {others:.2f}")
    return "; ".join(words)
