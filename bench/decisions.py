"""(b) and (c): how many requests a second one worker process decides, from a backlog on the real broker.

Quota: requests without prompts, so that safety has nothing to judge. Path: the same with prompts of about 300
characters, so the whole way from the request to a decision with a verdict. 10,000 organisations, 8 partitions, 10,000
requests a second of event time. Requests only: no reservation is settled, and checkpoints grow with what is reserved.
`+ completions`: 3 s of event time behind each request its completion, as a gateway writes; then each decision costs two
events.

The wall figure holds for a worker that gets a core of its own beside the broker: the note says how many it got.
"""

from collections.abc import Sequence

from bench.drain import Drained, drain, recent
from bench.plan import Plan
from bench.results import Row
from bench.traffic import Traffic

AGENTS = "quota,safety"
PER_S = 10_000
CASES = {
    "quota": (("requests only", "none"), ("+ completions", "each")),
    "path": (("requests only", "none"), ("+ completions", "each")),
}
REQUESTS = {"quota": 1_000_000, "path": 500_000}
TARGET_PER_S = {"quota": 120_000.0, "path": 50_000.0}


async def quota(plan: Plan) -> list[Row]:
    """(b)"""
    return await _measured(plan, "quota", prompts=False)


async def path(plan: Plan) -> list[Row]:
    """(c)"""
    return await _measured(plan, "path", prompts=True)


async def _measured(plan: Plan, bench: str, *, prompts: bool) -> list[Row]:
    requests = plan.scaled(REQUESTS[bench])
    found: dict[str, list[Drained]] = {}
    for repeat in range(plan.repeats):
        for name, completions in CASES[bench]:
            plan.say(f"{bench}, {name}: {repeat + 1} of {plan.repeats}")
            traffic = Traffic(requests, recent(requests, PER_S), PER_S, prompts=prompts, completions=completions)
            found.setdefault(name, []).append(await drain(traffic, AGENTS))
    return [row for name, drained in found.items() for row in _rows(bench, name, drained)]


def _rows(bench: str, name: str, drained: Sequence[Drained]) -> list[Row]:
    target = TARGET_PER_S[bench] if name == "requests only" else None
    note = f"{drained[-1].outcomes}; {drained[-1].shares}"
    per_s, per_cpu_s = [one.per_s for one in drained], [one.per_cpu_s for one in drained]
    rows = [
        Row(bench=bench, what=f"decisions/s, {name}", values=per_s, unit="/s", target=target, note=note),
        Row(bench=bench, what=f"decisions per CPU-second, {name}", values=per_cpu_s, unit="/s"),
        Row(bench=bench, what=f"resident, {name}", values=[one.resident_mb for one in drained], unit="MB"),
    ]
    if drained[-1].events_each > 1:
        events_per_cpu_s = [one.events_per_cpu_s for one in drained]
        rows.append(Row(bench=bench, what=f"events per CPU-second, {name}", values=events_per_cpu_s, unit="/s"))
    return rows
