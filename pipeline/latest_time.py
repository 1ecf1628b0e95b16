"""What time it is in a log: the event time that its last records tell."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.fetched import fetched_records
from pipeline.kafka_admin import partition_counts
from topics.codec import Problem, decoder, time_problem
from topics.table import Topic

FETCH_S_MAX = 0.5
LAST_RECORDS = 50  # of a partition: more control events than this do not follow each other without an event or a tick


async def latest_time_us(address: str, topic: Topic) -> int:
    """The latest event time among the last records of a topic's partitions, in microseconds; -1 when none has one.

    Not the records' own timestamps: what was relayed into a log is dated by the clock, which a replay is not bound to.
    """
    decode = decoder(topic)
    latest_us = -1
    async with AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False) as consumer:
        counts = await partition_counts(address)
        places = [TopicPartition(topic.name, number) for number in range(counts.get(topic.name, 0))]
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in (place for place in places if begins[place] < ends[place]):
            consumer.assign([place])
            consumer.seek(place, max(begins[place], ends[place] - LAST_RECORDS))
            while await consumer.position(place) < ends[place]:
                found = await fetched_records(consumer._fetcher, [place], FETCH_S_MAX, {topic.name}, {})
                for part in found[place].parts(LAST_RECORDS) if place in found else ():
                    times_us = map(partial(_event_time_us, decode), part.values, part.times_ms)
                    latest_us = max(latest_us, *times_us)
    return latest_us


def _event_time_us(decode: Callable[[bytes], Any], value: bytes | Problem | None, time_ms: int) -> int:
    """-1 for what has no event time, or none to be believed."""
    if not isinstance(value, bytes):
        return -1
    try:
        time_us = int(getattr(decode(value), "time_us", -1))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return -1
    return -1 if time_problem(time_us, time_ms * 1000) else time_us
