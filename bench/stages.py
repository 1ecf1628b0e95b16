"""What decoding and each chain that reads traffic cost in this process, without Kafka and without a worker.

Events per second of processor time. Batches of BATCH events over one partition, made beforehand; the chain's state is
new for each repeat.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.drain import recent
from bench.plan import Plan
from bench.results import Row
from bench.traffic import Traffic, records
from pipeline.chain import Chain
from pipeline.settings import Settings
from pipeline.stage import Batch
from topics.codec import decoder
from topics.table import BY_ALIAS

REQUESTS = 100_000
PER_S = 100
BATCH = 1_000


async def stages(plan: Plan) -> list[Row]:
    """Decode, quota, quota and safety, slices; by turns."""
    requests = plan.scaled(REQUESTS)
    mixed = Traffic(requests, recent(requests, PER_S), PER_S, partitions=1, completions="each")
    prompted = Traffic(requests, recent(requests, PER_S), PER_S, partitions=1, prompts=True)
    measures: dict[str, Callable[[], float]] = {
        "decode, requests and completions": _decoding(mixed),
        "decode, requests with prompts": _decoding(prompted),
        "quota, requests and completions": _stepping(mixed, "quota"),
        "quota and safety, requests with prompts": _stepping(prompted, "quota", "safety"),
        "slices, requests and completions": _stepping(mixed, "slices"),
    }
    found: dict[str, list[float]] = {name: [] for name in measures}
    for repeat in range(plan.repeats):
        for name, measure in measures.items():
            plan.say(f"stages, {name}: {repeat + 1} of {plan.repeats}")
            found[name].append(measure())
    return [Row(bench="stages", what=name, values=values, unit="events/s") for name, values in found.items()]


def _values(traffic: Traffic) -> list[list[bytes]]:
    """Encoded events, BATCH at a time."""
    values: Iterator[bytes] = (record.value for record in records(traffic))
    return list(iter(lambda: list(itertools.islice(values, BATCH)), []))


def _decoding(traffic: Traffic) -> Callable[[], float]:
    batches, decode = _values(traffic), decoder(BY_ALIAS["traffic"])
    return lambda: _rate(traffic.events, lambda: [list(map(decode, batch)) for batch in batches])


def _stepping(traffic: Traffic, *held: str) -> Callable[[], float]:
    decode = decoder(BY_ALIAS["traffic"])
    batches = [
        Batch(0, 1, range(number * BATCH, number * BATCH + len(values)), list(map(decode, values)))
        for number, values in enumerate(_values(traffic))
    ]

    def measure() -> float:
        chain = Chain("traffic", frozenset(held), Settings())
        return _rate(traffic.events, lambda: [chain.step(batch, batch.offsets[-1]) for batch in batches])

    return measure


def _rate(events: int, work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return events / (time.process_time() - began)
