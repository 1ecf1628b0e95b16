"""(g) How the cost of an event grows with the number of organisations, models and partitions.

Events per second of the worker's processor time, each on a fresh broker. Organisations: quota and safety over requests
without prompts, at least one request an organisation, so that the first, which opens the account, weighs most where
there are a million. Models: slices and windows over completions at 1,000 a second of event time; with more models a
slice holds fewer events, and with 10,000 most hold one. Partitions: both kinds.
"""

from collections.abc import Iterator
from typing import NamedTuple

from bench.drain import ALL_EVENTS, Drained, drain, recent
from bench.plan import Plan
from bench.results import Row
from bench.traffic import Traffic

EVENTS = 300_000
ORGANISATIONS = (1_000, 10_000, 100_000, 1_000_000)
MODELS = (1, 10, 100, 1_000, 10_000)
PARTITIONS = (1, 8, 64)
REQUESTS_PER_S = 500  # of event time
COMPLETIONS_PER_S = 1_000
REPEATS_MAX = 3


class Case(NamedTuple):
    what: str
    traffic: Traffic
    agents: str
    counted: str


async def growth(plan: Plan) -> list[Row]:
    """All of them once, then all again."""
    found: dict[str, list[Drained]] = {}
    repeats = min(plan.repeats, REPEATS_MAX)
    for repeat in range(repeats):
        for case in cases(plan):
            plan.say(f"growth, {case.what}: {repeat + 1} of {repeats}")
            found.setdefault(case.what, []).append(await drain(case.traffic, case.agents, case.counted))
    return [
        Row(
            bench="growth",
            what=f"events per CPU-second, {what}",
            values=[one.events_per_cpu_s for one in drained],
            unit="/s",
            note=f"resident {drained[-1].resident_mb:.0f} MB",
        )
        for what, drained in found.items()
    ]


def cases(plan: Plan) -> Iterator[Case]:
    events = plan.scaled(EVENTS)
    for organisations in ORGANISATIONS:
        count = max(events, plan.scaled(organisations))
        base_us = recent(count, REQUESTS_PER_S)
        once = organisations > EVENTS
        requests = Traffic(count, base_us, REQUESTS_PER_S, organisations=organisations, each_once=once)
        yield Case(f"{organisations:,} organisations", requests, "quota,safety", "decisions")
    for models in MODELS:
        yield Case(f"{models:,} models", _completions(events, models=models), "slices,windows", ALL_EVENTS)
    for partitions in PARTITIONS:
        requests = Traffic(events, recent(events, REQUESTS_PER_S), REQUESTS_PER_S, partitions=partitions)
        yield Case(f"{partitions} partitions, quota", requests, "quota,safety", "decisions")
        completions = _completions(events, partitions=partitions)
        yield Case(f"{partitions} partitions, windows", completions, "slices,windows", ALL_EVENTS)


def _completions(events: int, *, models: int = 10, partitions: int = 8) -> Traffic:
    base_us = recent(events, COMPLETIONS_PER_S)
    return Traffic(events, base_us, COMPLETIONS_PER_S, models=models, partitions=partitions, completions="only")
