"""(f) Resident memory of a worker at full speed over minutes: it should be flat once the caches are warm.

The whole flow in one worker, fed without a pause: requests with prompts, and their completions 3 s of event time later,
1,000 requests a second of event time, 10,000 organisations. The producer stays BACKLOG events ahead of what has been
decided, so the worker always has work and memory that grows with the lag would show. Topics keep the last 256 MiB of
each partition.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator

import numpy as np
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from bench.drain import now_us
from bench.load import TRAFFIC, Loader
from bench.plan import Plan
from bench.processes import Moment, WorkerProcess, moment
from bench.results import Row
from bench.traffic import Record, Traffic, records
from bench.watch import DECISIONS, Watch
from pipeline.broker import Broker, temporary_broker
from pipeline.kafka_admin import create_topics

MINUTES = 1.0
MINUTES_QUICK = 0.25
PER_S = 1_000  # of event time
HOURS_MAX = 120.0  # of event time that there is to send: a record may be 7 days older than its timestamp
PARTITIONS = 8
BACKLOG = 200_000
PORTION = 40_000  # events sent at once
SAMPLE_S = 1.0
FLAT_RATIO_MAX = 1.1
KEEP = {
    "cleanup.policy": "delete",
    "max.message.bytes": str(8 * 1024 * 1024),
    "segment.bytes": str(32 * 1024 * 1024),
    "retention.bytes": str(256 * 1024 * 1024),
}


async def memory(plan: Plan) -> list[Row]:
    """Highest to lowest resident memory over the second half of the time."""
    minutes = plan.minutes or (MINUTES_QUICK if plan.quick else MINUTES)
    plan.say(f"memory, {minutes:g} minutes")
    samples, per_s, shares = await _watched(minutes * 60)
    second = samples[len(samples) // 2 :]
    note = f"{minutes:g} minutes at {per_s:,.0f} decisions/s; {shares}"
    ratio = max(second) / min(second)
    what = "highest to lowest resident, second half"
    slope_mb = float(np.polyfit(np.arange(len(second)) * SAMPLE_S / 60, second, 1)[0]) if len(second) > 1 else 0.0
    return [
        Row(bench="memory", what=what, values=[ratio], unit="x", target=FLAT_RATIO_MAX, better="less", note=note),
        Row(bench="memory", what="growth, second half", values=[slope_mb], unit="MB/min", better="less"),
        Row(bench="memory", what="resident at the end", values=[samples[-1]], unit="MB", better="less"),
    ]


async def _watched(seconds: float) -> tuple[list[float], float, str]:
    """Resident MB, a sample a second from the first decision on; decisions a second; what was used meanwhile."""
    requests = int(HOURS_MAX * 3_600 * PER_S)
    base_us = now_us() - int(HOURS_MAX * 3_600) * 1_000_000
    endless = _stamped(Traffic(requests, base_us, PER_S, prompts=True, completions="each", partitions=PARTITIONS))
    with temporary_broker() as broker:
        await create_topics(broker.address, PARTITIONS, 1)
        await _keep_little(broker.address)
        async with Loader(broker.address) as loader, Watch(broker.address, PARTITIONS) as watch:
            worker = WorkerProcess(broker.address, "all")
            feeding = asyncio.create_task(_feed(loader, watch, endless))
            try:
                return await _sampled(worker, broker, watch, feeding, seconds)
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
                worker.kill()


def _stamped(traffic: Traffic) -> Iterator[Record]:
    """Stamped with the time of sending, or the broker would delete by event time what is not yet read."""
    return (record._replace(time_ms=now_us() // 1000) for record in records(traffic))


async def _keep_little(address: str) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=address)
    await client.start()
    try:
        names = (TRAFFIC, DECISIONS)
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=KEEP) for name in names])
    finally:
        await client.close()


async def _feed(loader: Loader, watch: Watch, endless: Iterator[Record]) -> None:
    while True:
        while sum(loader.counts.values()) - 2 * await watch.decided() < BACKLOG:  # two events a decision
            await loader.send(itertools.islice(endless, PORTION))
        await asyncio.sleep(0.02)


async def _sampled(
    worker: WorkerProcess, broker: Broker, watch: Watch, feeding: "asyncio.Task[None]", seconds: float
) -> tuple[list[float], float, str]:
    while not await watch.decided():
        _check(worker, feeding)
        await asyncio.sleep(0.1)
    began, decided = moment([worker], broker.pid), await watch.decided()
    samples: list[float] = []
    while time.perf_counter() < began.at_s + seconds:
        _check(worker, feeding)
        samples.append(worker.resident_mb())
        await asyncio.sleep(SAMPLE_S)
    ended: Moment = moment([worker], broker.pid)
    per_s = (await watch.decided() - decided) / (ended.at_s - began.at_s)
    return samples, per_s, str(ended.shares_since(began))


def _check(worker: WorkerProcess, feeding: "asyncio.Task[None]") -> None:
    worker.check()
    if feeding.done():
        feeding.result()
