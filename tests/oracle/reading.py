"""Kafka's topics read whole, and how far the workers have come; raw records, so that nothing here decodes with ours."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.kafka_admin import KafkaUnreachableError, admin, group_names, partition_counts

FED = ("traffic", "slices", "control")
"""The logs that workers are fed from."""

LOADED_S_MAX = 60.0
POLL_S = 0.2

Place = tuple[str, int]


class Record(NamedTuple):
    """A record as it lies in its partition. `time_us`: its Kafka timestamp."""

    offset: int
    time_us: int
    value: bytes | None


Log = Mapping[int, list[Record]]
"""A topic: partition -> its records in the order of their offsets."""


def topic_name(alias: str) -> str:
    return f"tidegate.{alias}.v1"


async def read(address: str, aliases: tuple[str, ...]) -> dict[str, dict[int, list[Record]]]:
    """Whole topics, from the first record to the last there is now: alias -> partition -> records."""
    counts = await partition_counts(address)
    async with AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False, fetch_max_bytes=8 << 20) as reader:
        return {alias: await _read(reader, _places(counts, alias)) for alias in aliases}


async def _read(reader: AIOKafkaConsumer, places: list[TopicPartition]) -> dict[int, list[Record]]:
    reader.assign(places)
    begins, ends = await reader.beginning_offsets(places), await reader.end_offsets(places)
    for place in places:
        reader.seek(place, begins[place])
    log: dict[int, list[Record]] = {place.partition: [] for place in places}
    while any([await reader.position(place) < ends[place] for place in places]):
        for place, records in (await reader.getmany(timeout_ms=500)).items():
            log[place.partition] += [Record(each.offset, each.timestamp * 1000, each.value) for each in records]
    return log


def _places(counts: Mapping[str, int], alias: str) -> list[TopicPartition]:
    return [TopicPartition(topic_name(alias), number) for number in range(counts[topic_name(alias)])]


async def committed(address: str) -> dict[Place, int]:
    """What the workers have committed: (topic, partition) -> offset of the next record to process.

    A broker that has just been started has to load that first.
    """
    async with asyncio.timeout(LOADED_S_MAX):
        while True:
            try:
                return await _committed(address)
            except (KafkaError, KafkaUnreachableError):
                await asyncio.sleep(POLL_S)


async def _committed(address: str) -> dict[Place, int]:
    async with admin(address) as client:
        offsets: dict[Place, int] = {}
        for group in await group_names(client):
            for place, at in (await client.list_consumer_group_offsets(group)).items():
                offsets[place.topic, place.partition] = at.offset
        return offsets


async def lag(address: str) -> dict[Place, int]:
    """Records that wait, in each partition of the fed logs that has any."""
    done, counts = await committed(address), await partition_counts(address)
    async with AIOKafkaConsumer(bootstrap_servers=address) as reader:
        ends = await reader.end_offsets([place for alias in FED for place in _places(counts, alias)])
    waiting = {tuple(place): end - done.get(tuple(place), 0) for place, end in ends.items()}
    return {place: records for place, records in waiting.items() if records > 0}


def processed(log: Log, alias: str, done: Mapping[Place, int]) -> dict[int, list[Record]]:
    """What of a log the workers have processed."""
    name = topic_name(alias)
    return {
        partition: [record for record in records if record.offset < done.get((name, partition), 0)]
        for partition, records in log.items()
    }
