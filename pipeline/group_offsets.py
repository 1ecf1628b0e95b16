"""What the broker says of a group's partitions, asked over a connection of its own: a consumer that has died silently
cannot be asked whether it lives."""

import asyncio
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition

ANSWER_S_MAX = 10.0


class GroupOffsets:
    """Ends of logs and committed offsets; fetches nothing and joins nothing."""

    def __init__(self, broker: str, group: str) -> None:
        self._broker = broker
        self._group = group
        self._consumer: AIOKafkaConsumer | None = None

    async def of(self, places: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """(end of the log, committed offset, 0 where none is) of each. KafkaError or TimeoutError: no answer."""
        async with asyncio.timeout(ANSWER_S_MAX):
            if self._consumer is None:
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._broker, group_id=self._group, enable_auto_commit=False
                )
                self._consumer = consumer  # so that stop() closes it, also when it never started
                await consumer.start()
            ends = await self._consumer.end_offsets(list(places))
            return {place: (ends[place], await self._consumer.committed(place) or 0) for place in places}

    async def stop(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await consumer.stop()
