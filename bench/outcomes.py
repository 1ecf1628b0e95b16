"""What was decided, read after a measurement: throttled requests, or some decided twice, would make another figure."""

import re
from collections import Counter

from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.watch import DECISIONS
from pipeline.fetched import fetched_records

FETCH_S_MAX = 1.0
OUTCOME = re.compile(rb'"outcome":"(\w+)"')
REQUEST = re.compile(rb'"request":"(\w+)"')


async def outcomes(address: str, partition: int = 0) -> str:
    """The shares of the outcomes in one partition of the decisions, as words; a sample of all, and a whole log."""
    place = TopicPartition(DECISIONS, partition)
    counts: Counter[str] = Counter()
    requests: set[bytes] = set()
    async with AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False) as consumer:
        consumer.assign([place])
        await consumer.seek_to_beginning()
        end = (await consumer.end_offsets([place]))[place]
        while await consumer.position(place) < end:
            for found in (await fetched_records(consumer._fetcher, [place], FETCH_S_MAX, {DECISIONS}, {})).values():
                values = [record.value for record in found.unpacked()]
                counts.update(outcome.decode() for value in values for outcome in OUTCOME.findall(value))
                requests.update(request for value in values for request in REQUEST.findall(value))
    return described(counts, len(requests))


def described(counts: Counter[str], requests: int) -> str:
    """`admitted 99.2 %, blocked 0.8 %`, and how many were decided more than once."""
    total = counts.total()
    shares = ", ".join(f"{outcome} {100 * count / total:.1f} %" for outcome, count in counts.most_common())
    repeated = total - requests
    return f"{shares}; {repeated:,} of {total:,} decided again" if repeated else shares
