"""A member's heartbeats while its loop is held, on the real broker."""

import asyncio
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import NewTopic

from pipeline.heartbeats import Heartbeats, Membership
from pipeline.kafka_admin import admin

pytestmark = pytest.mark.broker

SESSION_S = 6.0  # a broker takes no less
INTERVAL_S = 1.0
HELD_S = (7.0, 2.0, 2.0, 2.0)
"""A turn longer than the session, and turns that are shorter; but a client's heartbeat takes some of them."""
NOTICED_S_MAX = 30.0
TOPIC = "held"


class Revocations(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self) -> None:
        self.given = asyncio.Event()
        self.taken = asyncio.Event()

    def on_partitions_revoked(self, revoked: Any) -> None:
        if self.given.is_set():
            self.taken.set()

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.given.set()


def member(address: str, group: str) -> tuple[AIOKafkaConsumer, Revocations]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=address,
        group_id=group,
        session_timeout_ms=int(SESSION_S * 1000),
        heartbeat_interval_ms=int(INTERVAL_S * 1000),
    )
    revocations = Revocations()
    consumer.subscribe([TOPIC], listener=revocations)
    return consumer, revocations


def hold(seconds: float) -> None:
    """The loop, and the interpreter as far as one thread may."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def membership(consumer: AIOKafkaConsumer) -> Membership:
    return Membership(consumer._coordinator.member_id, consumer._coordinator.generation)


def test_a_held_loop_keeps_its_partitions_and_without_heartbeats_it_does_not(broker: str) -> None:
    asyncio.run(hold_a_loop(broker))


async def hold_a_loop(broker: str) -> None:
    async with admin(broker) as client:
        await client.create_topics([NewTopic(TOPIC, 1, 1)])
    kept, kept_revocations = member(broker, "kept")
    lost, lost_revocations = member(broker, "lost")
    async with kept, lost:
        await asyncio.gather(kept_revocations.given.wait(), lost_revocations.given.wait())
        before = membership(kept)
        Heartbeats(broker, "kept", lambda: membership(kept), INTERVAL_S).start()
        await asyncio.sleep(2 * INTERVAL_S)
        for seconds in HELD_S:
            hold(seconds)
            await asyncio.sleep(0)
        await asyncio.wait_for(lost_revocations.taken.wait(), NOTICED_S_MAX)
        await asyncio.sleep(2 * INTERVAL_S)
        assert not kept_revocations.taken.is_set()
        assert membership(kept) == before
