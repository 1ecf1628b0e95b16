"""A lane's changelog on the real broker: whole or not at all, and closed to whoever held it before."""

import asyncio

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import MessageSizeTooLargeError

from pipeline.changelog import BATCH_BYTES_MAX, Changelog, FencedError
from pipeline.kafka_admin import CHANGELOG, admin, create_changelogs

pytestmark = pytest.mark.broker

State = tuple[dict[str, bytes], int]


async def opened(broker: str, topic: str) -> tuple[Changelog, State]:
    changelog = Changelog(broker, topic, 0)
    return changelog, await changelog.open()


async def read(broker: str, topic: str) -> State:
    changelog, state = await opened(broker, topic)
    await changelog.close()
    return state


def test_the_last_value_of_each_key_comes_back(broker: str) -> None:
    async def run() -> State:
        await create_changelogs(broker, {"last-values": 1}, 1)
        changelog, empty = await opened(broker, "last-values")
        assert empty == ({}, -1)
        await changelog.write([("quota|a", b"1"), ("quota|b", b"2")], 7)
        await changelog.write([("quota|a", b"3"), ("quota|b", None), ("quota|c", b"4")], 9)
        await changelog.close()
        return await read(broker, "last-values")

    assert asyncio.run(run()) == ({"quota|a": b"3", "quota|c": b"4"}, 9)


def test_a_checkpoint_of_any_size_is_one(broker: str) -> None:
    large = {f"quota|{number}": bytes(BATCH_BYTES_MAX // 3) for number in range(10)}

    async def run() -> State:
        await create_changelogs(broker, {"large": 1}, 1)
        changelog, _ = await opened(broker, "large")
        await changelog.write([*large.items(), ("quota|huge", bytes(3 * BATCH_BYTES_MAX))], 1)
        await changelog.close()
        return await read(broker, "large")

    values, position = asyncio.run(run())
    assert position == 1
    assert values == large | {"quota|huge": bytes(3 * BATCH_BYTES_MAX)}


def test_who_held_the_lane_before_can_write_no_more(broker: str) -> None:
    """A process that was cut off, and does not know it yet."""

    async def run() -> State:
        await create_changelogs(broker, {"fenced": 1}, 1)
        zombie, _ = await opened(broker, "fenced")
        await zombie.write([("quota|a", b"old")], 3)
        owner, found = await opened(broker, "fenced")
        assert found == ({"quota|a": b"old"}, 3)
        await owner.write([("quota|a", b"new")], 5)
        with pytest.raises(FencedError, match="fenced/0"):
            await zombie.write([("quota|a", b"stale")], 4)
        await owner.write([("quota|b", b"more")], 6)
        await zombie.close()
        await owner.close()
        return await read(broker, "fenced")

    assert asyncio.run(run()) == ({"quota|a": b"new", "quota|b": b"more"}, 6)


def test_what_was_begun_and_not_finished_is_not_there(broker: str) -> None:
    """Stopped between sending a checkpoint and committing it: the next to open ends it, and sees none of it."""

    async def run() -> State:
        await create_changelogs(broker, {"begun": 1}, 1)
        dying, _ = await opened(broker, "begun")
        await dying.write([("quota|a", b"1")], 3)
        producer = dying._producer
        assert producer is not None
        await producer.begin_transaction()
        await producer.send_and_wait("begun", key=b"quota|a", value=b"2", partition=0)
        state = await read(broker, "begun")
        await dying.close()
        return state

    assert asyncio.run(run()) == ({"quota|a": b"1"}, 3)


def test_when_a_part_cannot_be_written_nothing_is(broker: str) -> None:
    """aiokafka itself commits a transaction of which a batch has failed, with what did arrive."""
    too_large = 3 * BATCH_BYTES_MAX

    async def run() -> State:
        async with admin(broker) as client:
            limit = {**CHANGELOG, "max.message.bytes": str(2 * BATCH_BYTES_MAX)}
            await client.create_topics([NewTopic("parts", 1, 1, topic_configs=limit)])
        changelog, _ = await opened(broker, "parts")
        await changelog.write([("quota|a", b"1")], 3)
        with pytest.raises(MessageSizeTooLargeError):
            await changelog.write([("quota|a", b"2"), ("quota|b", bytes(too_large))], 5)
        await changelog.close()
        return await read(broker, "parts")

    assert asyncio.run(run()) == ({"quota|a": b"1"}, 3)
