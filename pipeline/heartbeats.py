"""Heartbeats of a group's member from a thread of its own, for when steps hold the loop in which its consumer lives.

A client sends its heartbeats from the loop that everything runs in, and one takes several turns of it: with a fit or a
large batch in each turn they come later than the session allows, and the group takes the member for dead and gives its
partitions away. So they are sent from here as well. A loop that is held for `HELD_S_MAX` is dead, though, and then the
group shall have them.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError
from aiokafka.protocol.group import HeartbeatRequest

HELD_S_MAX = 60.0
TOLD_AFTER_S = 3.0
ELSEWHERE = (GroupCoordinatorNotAvailableError.errno, NotCoordinatorForGroupError.errno)

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
        self._asked_at: float | None = None  # the loop for a turn, which it has not made yet
        self._client: AIOKafkaClient | None = None
        self._coordinator = 0

    def start(self) -> None:
        """Watch over the running loop."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=lambda: asyncio.run(self._watch()), name="heartbeats", daemon=True).start()

    async def _watch(self) -> None:
        while not self._loop.is_closed():
            held_s = self._held_s()
            if held_s > TOLD_AFTER_S:
                logger.warning("a step has held the worker's loop for %.0f s", held_s)
            if held_s <= HELD_S_MAX:
                await self._beat_or_begin_anew()
            await asyncio.sleep(self._interval_s)
        await self._close()

    def _held_s(self) -> float:
        """How long the loop has owed a turn; asks it for one when it owes none."""
        asked_at, now = self._asked_at, time.monotonic()
        if asked_at is not None:
            return now - asked_at
        self._asked_at = now
        with contextlib.suppress(RuntimeError):  # closed meanwhile: the process ends
            self._loop.call_soon_threadsafe(self._turn)
        return 0.0

    def _turn(self) -> None:
        self._asked_at = None

    async def _beat_or_begin_anew(self) -> None:
        try:
            async with asyncio.timeout(self._interval_s):
                await self._beat()
        except Exception as error:  # whatever it was, the next may go well, over another connection
            logger.debug("a heartbeat was not sent: %r", error)
            await self._close()

    async def _beat(self) -> None:
        """Over a connection of this thread's own. The answer concerns the consumer, which will get the same."""
        membership = self._membership()
        if membership is None:
            return
        if self._client is None:
            self._client = AIOKafkaClient(bootstrap_servers=self._broker)
            await self._client.bootstrap()
            self._coordinator = await self._client.coordinator_lookup(CoordinationType.GROUP, self._group)
        request = HeartbeatRequest(self._group, membership.generation, membership.member)
        answer = await self._client.send(self._coordinator, request)
        if answer.error_code in ELSEWHERE:
            await self._close()

    async def _close(self) -> None:
        client, self._client = self._client, None
        try:
            if client is not None:
                await client.close()
        except Exception as error:
            logger.debug("a connection was not closed: %r", error)
