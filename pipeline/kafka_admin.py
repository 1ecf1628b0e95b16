"""Topics in a real Kafka: create what the table declares, and see what is there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    for_code,
)

from topics.configuration import configuration, partition_count
from topics.table import RECORD_BYTES_MAX, TOPICS, Topic

REQUEST_TIMEOUT_MS = 15_000
VISIBLE_WAIT_S = 15.0
VISIBLE_POLL_S = 0.1
READY_WAIT_S = 30.0
TOPIC_ALREADY_EXISTS = 36


class MissingTopicsError(Exception):
    """Topics that the pipeline needs do not exist yet."""


class ChangelogMismatchError(Exception):
    """A topic's partitions were changed after workers had written state for them."""


class KafkaUnreachableError(Exception):
    """No broker answers at an address, or it refuses; the message says what to do."""


@dataclass(frozen=True)
class TopicReport:
    """What `create` found or did. `differs` are sentences on how an existing topic is not as the table has it."""

    topic: Topic
    partitions: int
    created: bool
    differs: tuple[str, ...] = ()


@contextlib.asynccontextmanager
async def admin(address: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client. Raises KafkaUnreachableError."""
    client = AIOKafkaAdminClient(
        bootstrap_servers=address, client_id="tidegate-admin", request_timeout_ms=REQUEST_TIMEOUT_MS
    )
    try:
        await client.start()
    except (KafkaConnectionError, OSError) as error:
        await client.close()
        raise KafkaUnreachableError(unreachable(address)) from error
    try:
        yield client
    finally:
        await client.close()


def unreachable(address: str) -> str:
    """The sentence for a broker that does not answer."""
    return (
        f"no Kafka broker answers at {address}: start one with `tidegate broker up`, "
        "or name another with --broker host:port (or TIDEGATE_BROKER)"
    )


async def partition_counts(address: str) -> dict[str, int]:
    """Name -> number of partitions, of every topic in the cluster."""
    async with admin(address) as client:
        return await _partition_counts(client)


async def create_topics(address: str, partitions: int, replicas: int) -> list[TopicReport]:
    """Create every topic of the table that is missing; what exists is compared and left as it is.

    `partitions` for the topics that do not fix theirs; `replicas` for all. Returns when the broker shows them all.
    Raises KafkaUnreachableError, or KafkaError when the broker refuses a topic (too few brokers for `replicas`, ...).
    """
    async with admin(address) as client:
        before = await _partition_counts(client)
        missing = [topic for topic in TOPICS if topic.name not in before]
        await _create(client, missing, partitions, replicas)
        counts = await _wait_until_usable(client, address, [topic.name for topic in missing])
        found = await _configurations(client, [topic for topic in TOPICS if topic not in missing])
    return [
        TopicReport(
            topic,
            counts[topic.name],
            topic in missing,
            () if topic in missing else _differences(topic, counts[topic.name], partitions, found[topic.name]),
        )
        for topic in TOPICS
    ]


CHANGELOG = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(RECORD_BYTES_MAX),
    "segment.bytes": str(64 * 1024 * 1024),  # only closed segments are compacted
    "min.cleanable.dirty.ratio": "0.2",
}
"""What a topic that holds state needs: the last value of each key, and room for a checkpoint in one record batch."""


async def create_changelogs(address: str, names: Mapping[str, int], replicas: int) -> None:
    """Create the missing ones of the topics that hold workers' state: name -> number of partitions."""
    async with admin(address) as client:
        there = await _partition_counts(client)
        missing = {name: count for name, count in names.items() if name not in there}
        for name, count in names.items():
            if there.get(name, count) != count:
                raise ChangelogMismatchError(
                    f"{name} has {there[name]} partitions and its topic {count}: state cannot follow a topic whose "
                    "partitions were changed. Create topics with the new number under another cluster or prefix, or "
                    f"delete {name} to begin with empty state"
                )
        wanted = [NewTopic(name, count, replicas, topic_configs=CHANGELOG) for name, count in missing.items()]
        if wanted:
            _raise_refused((await client.create_topics(wanted)).topic_errors)
        await _wait_until_usable(client, address, missing)


async def consumer_groups(address: str) -> list[str]:
    """The names of all consumer groups that the cluster remembers."""
    async with admin(address) as client:
        return await group_names(client)


async def group_names(client: AIOKafkaAdminClient) -> list[str]:
    """The names of all consumer groups. A broker that has just started, or is given its first group, loads them first:
    GroupLoadInProgressError or GroupCoordinatorNotAvailableError only when it has not done so in READY_WAIT_S."""
    deadline = asyncio.get_running_loop().time() + READY_WAIT_S
    while True:
        try:
            return sorted(name for name, _ in await client.list_consumer_groups())
        except (GroupLoadInProgressError, GroupCoordinatorNotAvailableError):
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(VISIBLE_POLL_S)


async def group_members(address: str) -> dict[str, int]:
    """Every consumer group that the cluster remembers, and how many members it has now."""
    async with admin(address) as client:
        names = await group_names(client)
        described = await client.describe_consumer_groups(names) if names else []
    found = {group[1]: len(group[5]) for response in described for group in response.groups}
    return {name: found.get(name, 0) for name in names}


async def require_topics(address: str) -> dict[str, int]:
    """Topic name -> number of partitions. Raises MissingTopicsError unless every topic of the table is there."""
    counts = await partition_counts(address)
    if missing := [topic.name for topic in TOPICS if topic.name not in counts]:
        raise MissingTopicsError(
            f"{len(missing)} topics are missing at {address} ({', '.join(missing[:3])}...): create them with "
            f"`tidegate topics create --broker {address}`"
        )
    return counts


async def _create(client: AIOKafkaAdminClient, topics: list[Topic], partitions: int, replicas: int) -> None:
    if not topics:
        return
    wanted = [
        NewTopic(topic.name, partition_count(topic, partitions), replicas, topic_configs=configuration(topic))
        for topic in topics
    ]
    _raise_refused((await client.create_topics(wanted)).topic_errors)


def _raise_refused(topic_errors: Iterable[Any]) -> None:
    for name, code, *message in topic_errors:
        if code not in (0, TOPIC_ALREADY_EXISTS):  # somebody else may create them at the same time
            raise KafkaError(f"topic {name} was refused: {for_code(code).__name__} {' '.join(filter(None, message))}")


async def _wait_until_usable(client: AIOKafkaAdminClient, address: str, names: Collection[str]) -> dict[str, int]:
    """A broker answers a creation a moment before its metadata shows the topic with all leaders, and shows these a
    moment before they are ready (7 s at 64 partitions a topic on a busy machine): who sent now would be told that they
    lead nothing, again and again. Such a wait is not for ever: senders try again too."""
    async with asyncio.timeout(VISIBLE_WAIT_S):
        counts = await _partition_counts(client)
        while not counts.keys() >= set(names):
            await asyncio.sleep(VISIBLE_POLL_S)
            counts = await _partition_counts(client)
    places = [TopicPartition(name, number) for name in names for number in range(counts[name])]
    if places:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WAIT_S), AIOKafkaConsumer(bootstrap_servers=address) as consumer:
                await consumer.end_offsets(places)  # asks each leader, again until it answers
    return counts


async def _partition_counts(client: AIOKafkaAdminClient) -> dict[str, int]:
    described = await client.describe_topics()
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in described
        if topic["error_code"] == 0 and all(partition["leader"] >= 0 for partition in topic["partitions"])
    }


async def _configurations(client: AIOKafkaAdminClient, topics: list[Topic]) -> dict[str, dict[str, str]]:
    if not topics:
        return {}
    names = dict.fromkeys(configuration(topics[0]))
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name, configs=names) for topic in topics]
    found: dict[str, dict[str, str]] = {}
    for response in await client.describe_configs(resources):
        for _code, _message, _kind, name, entries in response.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _differences(topic: Topic, count: int, partitions: int, found: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = partition_count(topic, partitions)
    different = [f"has {count} partitions, not {wanted}"] if count != wanted else []
    different += [
        f"has {name}={found[name]}, not {value}"
        for name, value in configuration(topic).items()
        if name in found and found[name] != value
    ]
    return tuple(different)
