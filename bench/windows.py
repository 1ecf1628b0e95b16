"""(a) One-minute windows per model, end to end: our worker with `slices,windows`, and the peers on the same work.

Every run has a broker of its own with the same input (bench/peers/work.py): completions keyed by organisation, JSON in
and JSON out, answers checked against exact ones. The figure is events per CPU-second of the worker's processes. *Whole*
counts from the process's start, so imports and warm-up are in it; *steady* is the difference of a long run and one of a
quarter of it, where they cancel out. Runs are interleaved, ratios taken within a repeat, and medians over repeats.

The limits are processes that only fetch, or fetch and decode, with our transport's way of reading.
"""

import asyncio
import sys
from collections.abc import Iterable

from bench.drain import now_us
from bench.peers.alone import measured_alone
from bench.peers.produce import produce_input
from bench.peers.run import Measured, PeerError, steady_events_per_cpu_s
from bench.peers.table import PEERS
from bench.peers.work import KeyedBy, Work, base_for
from bench.plan import Plan
from bench.processes import ROOT
from bench.results import Row
from pipeline.broker import temporary_broker
from pipeline.kafka_admin import create_topics

EVENTS = 2_000_000
SHORT_SHARE = 0.25
KEYED_BY: KeyedBy = "organisation"  # as a gateway writes
OURS = "tidegate"
TARGETS = {"faust": 20.0, "quix": 5.0, "bytewax": 5.0, "kafka-streams": 2.0}
LIMITS = {"fetch alone": (), "fetch and decode": ("--decode",)}

Pair = tuple[Measured, Measured]
"""The short run and the long one."""


class NothingMeasuredError(Exception):
    """All runs of our own worker failed."""


class LimitError(Exception):
    """The fetching process failed; the message is what it said."""


async def windows(plan: Plan) -> list[Row]:
    """Ours and, with `--peers`, every peer that is installed."""
    names = [OURS, *(_installed(plan) if plan.peers else ())]
    runs: dict[str, list[Pair | None]] = {name: [] for name in names}
    limits: dict[str, list[float]] = {name: [] for name in LIMITS}
    for repeat in range(plan.repeats):
        for name in names:
            plan.say(f"windows, {name}: {repeat + 1} of {plan.repeats}")
            runs[name].append(await _pair(plan, name))
        plan.say(f"windows, the limits: {repeat + 1} of {plan.repeats}")
        for name, per_s in (await _limits(plan.scaled(EVENTS))).items():
            limits[name].append(per_s)
    if not any(runs[OURS]):
        raise NothingMeasuredError("not one run of ours ended with right answers")
    return [*_absolute(runs), *_fetching(limits), *_ratios(runs)]


def _installed(plan: Plan) -> Iterable[str]:
    for name in TARGETS:
        if PEERS[name].installed():
            yield name
        else:
            plan.tell(f"windows: {name} is not installed and left out; `python -m bench.peers.install` installs it")


async def _pair(plan: Plan, name: str) -> Pair | None:
    """A short run and a long one, each on the peer's share of the events; None when it failed, which is told."""
    longer = int(plan.scaled(EVENTS) * PEERS[name].share)
    shorter = int(longer * SHORT_SHARE)
    try:
        return await measured_alone(name, shorter, KEYED_BY), await measured_alone(name, longer, KEYED_BY)
    except PeerError as error:
        plan.tell(f"windows: a run of {name} failed: {error}")
        return None


async def _limits(events: int) -> dict[str, float]:
    """Events per CPU-second of each limit, on one broker."""
    work = Work(events, base_for(events, now_us()))
    with temporary_broker() as broker:
        await create_topics(broker.address, work.partitions, 1)
        await produce_input(broker.address, work)
        return {name: events / await _limit(broker.address, work, options) for name, options in LIMITS.items()}


async def _limit(address: str, work: Work, options: Iterable[str]) -> float:
    needed = ("--broker", address, "--partitions", str(work.partitions), "--events", str(work.events))
    command = (sys.executable, "-m", "bench.limit", *needed, *options)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)
    said, complained = await process.communicate()
    if process.returncode:
        raise LimitError(complained.decode(errors="replace")[-2_000:])
    return float(said)


def _absolute(runs: dict[str, list[Pair | None]]) -> list[Row]:
    rows = []
    for name, found in runs.items():
        pairs = [pair for pair in found if pair is not None]
        if not pairs:
            continue
        note = f"{pairs[-1][1].events:,} events, at most {pairs[-1][1].rss_mb:.0f} MB resident"
        steady = [steady_events_per_cpu_s(*pair) for pair in pairs]
        whole = [longer.events_per_cpu_s for _, longer in pairs]
        rows.append(Row(bench="windows", what=f"{name}, steady", values=steady, unit="events/CPU-s", note=note))
        rows.append(Row(bench="windows", what=f"{name}, whole", values=whole, unit="events/CPU-s"))
    return rows


def _fetching(limits: dict[str, list[float]]) -> list[Row]:
    return [
        Row(bench="windows", what=f"limit: {name}", values=values, unit="events/CPU-s")
        for name, values in limits.items()
    ]


def _ratios(runs: dict[str, list[Pair | None]]) -> list[Row]:
    rows = []
    for name, pairs in runs.items():
        both = [(ours, theirs) for ours, theirs in zip(runs[OURS], pairs, strict=True) if ours and theirs]
        if name == OURS or not both:
            continue
        steady = [steady_events_per_cpu_s(*ours) / steady_events_per_cpu_s(*theirs) for ours, theirs in both]
        whole = [ours[1].events_per_cpu_s / theirs[1].events_per_cpu_s for ours, theirs in both]
        rows.append(Row(bench="windows", what=f"ours to {name}, steady", values=steady, unit="x", target=TARGETS[name]))
        rows.append(Row(bench="windows", what=f"ours to {name}, whole", values=whole, unit="x"))
    return rows
