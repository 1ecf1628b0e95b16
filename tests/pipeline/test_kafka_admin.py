"""Against a real broker that nobody has asked for a group yet."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer

from pipeline.broker import temporary_broker
from pipeline.kafka_admin import admin, create_topics, group_names
from topics.table import BY_ALIAS


async def first_group(address: str, name: str) -> list[str]:
    """Ask for the groups all the while that a first one joins."""
    await create_topics(address, 1, 1)
    async with admin(address) as client:
        assert await group_names(client) == []
        consumer = AIOKafkaConsumer(BY_ALIAS["traffic"].name, bootstrap_servers=address, group_id=name)
        joining = asyncio.create_task(consumer.start())
        try:
            async with asyncio.timeout(60):
                while not (found := await group_names(client)):
                    pass
        finally:
            await joining
            await consumer.stop()
    return found


@pytest.mark.broker
def test_a_broker_that_is_given_its_first_group_loads_it_before_it_names_it() -> None:
    with temporary_broker() as broker:
        assert asyncio.run(first_group(broker.address, "g")) == ["g"]
