"""How far a worker has come, asked of the broker alone: nothing is fetched or decoded for it."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from bench.load import TRAFFIC
from pipeline.kafka_admin import group_names
from topics.table import BY_ALIAS

DECISIONS = BY_ALIAS["decisions"].name
GROUP = "tidegate"


class Watch:
    """Asks one broker. Give `partitions`, how many traffic and decisions have."""

    def __init__(self, address: str, partitions: int) -> None:
        self._consumer = AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False)
        self._admin = AIOKafkaAdminClient(bootstrap_servers=address)
        self._numbers = range(partitions)

    async def __aenter__(self) -> "Watch":
        await self._consumer.start()
        await self._admin.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def ends(self, topic: str) -> dict[int, int]:
        """Partition -> the offset behind its last record."""
        places = [TopicPartition(topic, number) for number in self._numbers]
        found = await self._consumer.end_offsets(places)
        return {place.partition: offset for place, offset in found.items()}

    async def decided(self) -> int:
        """How many decisions there are: one a record, one a request."""
        return sum((await self.ends(DECISIONS)).values())

    async def committed(self, sent: Mapping[int, int]) -> int:
        """How many of the records in `sent` (partition -> count) the workers have behind them for good.

        A worker commits twice a second, behind its checkpoints; ticks that workers themselves add do not count.
        """
        return sum(min(offset, sent.get(place, 0)) for place, offset in (await self._commits()).items())

    async def _commits(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for group in await self.groups():
            for place, commit in (await self._admin.list_consumer_group_offsets(group)).items():
                if place.topic == TRAFFIC:
                    found[place.partition] = max(commit.offset, found.get(place.partition, 0))
        return found

    async def groups(self) -> list[str]:
        """The consumer groups of Tidegate's workers."""
        return [name for name in await group_names(self._admin) if name.startswith(GROUP)]

    async def members(self) -> int:
        """How many workers share the partitions by now; 0 while a rebalance goes on."""
        groups = await self.groups()
        if not groups:
            return 0
        described: list[Any] = await self._admin.describe_consumer_groups(groups)
        _, _, state, _, _, members, *_ = described[0].groups[0]
        return len(members) if state == "Stable" else 0
