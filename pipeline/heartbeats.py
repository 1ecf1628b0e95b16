"""Heartbeats of a group's member from a thread of its own, while a step holds the loop in which its consumer lives.

A client sends its heartbeats from the loop that everything runs in: held for longer than the session timeout, by a fit
or a large batch, the group takes the member for dead and gives its partitions away. A loop that is held for
`HELD_S_MAX` is dead, though, and then the group shall have them.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import HeartbeatRequest

HELD_S_MAX = 60.0
ANSWER_S_MAX = 1.0

logger = logging.getLogger("tidegate.worker")


class Membership(NamedTuple):
    """What a member is known by in its group, since the last rebalance."""

    member: str
    generation: int


class Heartbeats:
    """For the member that `membership` tells of, as long as the process runs; start() is to be called in its loop."""

    def __init__(self, broker: str, group: str, membership: Callable[[], Membership | None], interval_s: float) -> None:
        self._broker = broker
        self._group = group
        self._membership = membership
        self._interval_s = interval_s
        self._turned_at = time.monotonic()

    def start(self) -> None:
        """Watch over the running loop."""
        self._loop = asyncio.get_running_loop()
        watch = threading.Thread(target=lambda: asyncio.run(self._watch()), name="heartbeats", daemon=True)
        watch.start()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            held_s = time.monotonic() - self._turned_at
            try:
                self._loop.call_soon_threadsafe(self._turn)
            except RuntimeError:  # it is closed: the process ends
                return
            if held_s > HELD_S_MAX:
                logger.error("the loop has been held for %.0f s: the group may give its partitions away", held_s)
            elif held_s > 1.5 * self._interval_s:  # what was asked of it at the last interval, it has not done
                await self._beat(held_s)

    def _turn(self) -> None:
        self._turned_at = time.monotonic()

    async def _beat(self, held_s: float) -> None:
        """Over a connection of this thread's own, opened for this: the client's belong to the loop that is held."""
        membership = self._membership()
        if membership is None:
            return
        client = AIOKafkaClient(bootstrap_servers=self._broker)
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await client.bootstrap()
                coordinator = await client.coordinator_lookup(CoordinationType.GROUP, self._group)
                await client.send(coordinator, HeartbeatRequest(self._group, membership.generation, membership.member))
            logger.warning("a step has held the loop for %.1f s: its heartbeat was sent for it", held_s)
        except (KafkaError, OSError, TimeoutError) as error:
            logger.warning("a step has held the loop for %.1f s, and no heartbeat could be sent: %r", held_s, error)
        finally:
            await client.close()
