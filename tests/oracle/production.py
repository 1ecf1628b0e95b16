"""Produces recorded events at a pace, in a thread of its own, while the main thread lets things go wrong."""

import asyncio
import threading
from queue import Empty, SimpleQueue
from typing import Any

from aiokafka import AIOKafkaProducer

from tests.oracle.reading import topic_name
from tests.oracle.traffic import Sent

CHUNK_S = 0.05
PATIENCE_MS = 120_000  # through restarts of the broker
UNACKNOWLEDGED_MAX = 200
AT_ONCE = 0.05  # this share is the backlog

Steering = tuple[bytes, bytes]
"""Key and value of a record for the control topic."""


class Production(threading.Thread):
    """`sent`: how many records so far; `time_us`: the event time reached. `failure`: why it gave up, if it did.

    Sends a backlog at once, and the rest at a pace that is set as it goes on.
    """

    def __init__(self, address: str, records: list[Sent]) -> None:
        super().__init__(name="production", daemon=True)
        self.sent = 0
        self.time_us = records[0].time_us
        self.failure: BaseException | None = None
        self._address = address
        self._records = records
        self._events_a_chunk = 0
        self._steering: SimpleQueue[Steering] = SimpleQueue()

    def pace(self, seconds: float) -> None:
        """From here on, send at the rate that would be done with everything after `seconds`."""
        self._events_a_chunk = 1 + int((len(self._records) - self.sent) * CHUNK_S / seconds)

    def steer(self, key: str, value: bytes) -> None:
        """Have a control event sent, soon."""
        self._steering.put((key.encode(), value))

    def run(self) -> None:
        try:
            asyncio.run(self._produce())
        except BaseException as error:
            self.failure = error
            raise

    async def _produce(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._address,
            enable_idempotence=True,
            acks="all",
            request_timeout_ms=PATIENCE_MS,
            max_batch_size=1 << 20,
        )
        async with producer:
            waiting = await self._send(producer, self._records[: int(len(self._records) * AT_ONCE)])
            while self.sent < len(self._records):
                waiting += await self._send(producer, self._records[self.sent : self.sent + self._events_a_chunk])
                if len(waiting) > UNACKNOWLEDGED_MAX:
                    await asyncio.gather(*waiting)
                    waiting.clear()
                await asyncio.sleep(CHUNK_S)
            await asyncio.gather(*waiting)
            await self._send(producer, [])

    async def _send(self, producer: AIOKafkaProducer, due: list[Sent]) -> list[Any]:
        topic = topic_name("traffic")
        futures = []
        builders: dict[int, Any] = {}
        for sent in due:
            builder = builders.setdefault(sent.partition, producer.create_batch())
            if builder.append(key=sent.key, value=sent.value, timestamp=sent.time_us // 1000) is None:
                futures.append(await producer.send_batch(builder, topic, partition=sent.partition))
                builder = builders[sent.partition] = producer.create_batch()
                builder.append(key=sent.key, value=sent.value, timestamp=sent.time_us // 1000)
        for partition, builder in builders.items():
            futures.append(await producer.send_batch(builder, topic, partition=partition))
        self.sent += len(due)
        self.time_us = due[-1].time_us if due else self.time_us
        while True:
            try:
                key, value = self._steering.get_nowait()
            except Empty:
                return futures
            await producer.send_and_wait(topic_name("control"), value, key=key, partition=0)
