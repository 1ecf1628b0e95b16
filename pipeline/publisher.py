"""Sends outputs by the record batch: about a microsecond a record where a send per record costs a hundred."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.stage import EVERY_PARTITION, SAME_PARTITION, Output
from topics.codec import content_type, encoder, partition_of
from topics.table import BY_NAME, RECORD_BYTES_MAX

BATCH_BYTES_MAX = 512 * 1024  # a single larger record still makes a batch of its own
ROUND_RECORDS_MAX = 2_048
LINGER_S = 0.005
PATIENCE_S = 30.0
KEYS_REMEMBERED_MAX = 1_000_000
Headers = tuple[tuple[str, bytes], ...]
Place = tuple[bytes, int]
Way = tuple[str, int, Callable[[Any], bytes], list[tuple[str, bytes]]]
"""Of a topic: its name, number of partitions, encoder, and the headers of each record."""


class PublishError(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """Something was not sent, so nothing behind it is: a reader takes what comes in disorder for repeated."""


class Ready(NamedTuple):
    """An encoded record with its place. `time_ms` None: the moment of sending.

    Kafka keeps records by this time: one of a deployment of last week, dated so, could be gone before it is read.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    time_ms: int | None = None
    headers: Headers = ()


class Publisher:
    """A producer that keeps order per partition (idempotent, so that a retry neither repeats nor overtakes).

    After the first failure it sends nothing any more (PublishError): begin again with another, from a checkpoint.
    `topics`: the names of all that it will ever send to; they must exist. `patience_s`: for an answer, and for room.
    """

    def __init__(
        self,
        broker: str,
        client_id: str = "tidegate",
        topics: Iterable[str] = BY_NAME,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._broker = broker
        self._patience_s = patience_s
        self._topics = frozenset(topics)
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._way: dict[str, Way] = {}  # by alias
        self._places: dict[int, dict[str, Place]] = {}  # number of partitions -> key -> where it goes
        self._round: _Round | None = None
        self._sending = asyncio.Lock()
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._broker,
            client_id=self._client_id,
            enable_idempotence=True,
            acks="all",
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=RECORD_BYTES_MAX,
            compression_type=None,
            request_timeout_ms=int(self._patience_s * 1000),
        )
        await self._producer.start()
        # Name them all: aiokafka asks for all topics when it begins, and afterwards only for those named so far, so
        # that one sent to before would lose its leader for good while batches for it wait.
        await self._producer.client.set_topics(self._topics)
        for topic in (BY_NAME[name] for name in self._topics):
            count = len(await self._producer.partitions_for(topic.name))
            headers = [("content-type", content_type(topic).encode())] if topic.cloudevent else []
            self._way[topic.alias] = topic.name, count, encoder(topic), headers

    async def stop(self) -> None:
        if self._producer is not None:
            try:
                await self._send_round()
            finally:
                await self._producer.stop()
                self._producer = None

    def partitions(self, alias: str) -> int:
        """How many partitions a topic had when this publisher started."""
        return self._way[alias][1]

    async def publish(self, partition: int, outputs: Iterable[Output]) -> list["asyncio.Future[Any]"]:
        """Hand outputs caused in `partition` to the producer; the futures are done when the broker has them.

        Each output is encoded as it comes out of `outputs`, while it is in the processor's cache. What is published in
        LINGER_S seconds (a batch of each partition, say) leaves as one round, in one request.
        """
        assert self._producer is not None, "start() comes first"
        self._check()
        open_round = self._round = self._round or _Round(self._producer.create_batch)
        self._fill(open_round.batches, partition, outputs)
        if open_round.batches.records >= ROUND_RECORDS_MAX:
            await self._send_round()
        elif not open_round.is_due:
            open_round.is_due = True
            asyncio.get_running_loop().call_later(LINGER_S, self._begin_sending)
        return [open_round.sent]

    async def send_now(self) -> None:
        """Let what was published leave: nothing more is to be expected soon."""
        if self._round is not None:
            await self._send_round()

    def _begin_sending(self) -> None:
        task = asyncio.ensure_future(self._send_round())
        self._tasks.add(task)  # the loop itself would let go of it half-way
        task.add_done_callback(self._tasks.discard)

    async def _send_round(self) -> None:
        """Submit the open round, behind those before it."""
        async with self._sending:
            closing, self._round = self._round, None
            if closing is None:
                return
            try:
                futures = await self._submit(closing.batches)
            except BaseException as error:
                closing.sent.set_exception(error)
                raise
        asyncio.gather(*futures).add_done_callback(closing.settle)

    def _fill(self, batches: "_Batches", source: int, outputs: Iterable[Output]) -> None:
        now_ms, alias, target = int(time.time() * 1000), "", -1
        for output in outputs:
            if output.to != alias:
                alias = output.to
                name, count, encode, headers = self._way[alias]
                places, target = self._places.setdefault(count, {}), -1
            key, value = output.key, encode(output.value)
            if key == EVERY_PARTITION:
                for each in range(count):
                    batches.add(name, each, None, value, now_ms, headers)
                target = -1  # the batch of the one before may be full now
                continue
            before = target
            encoded, target = (
                (None, source) if key == SAME_PARTITION else places.get(key) or _placed(key, count, places)
            )
            if target != before:  # most go where the one before went
                batch = batches.at(name, target)
            if not batch.append(batch.records, now_ms, encoded, value, headers):
                batch = batches.another(name, target)
                batch.append(0, now_ms, encoded, value, headers)
            batch.records += 1

    async def send(self, records: Iterable[Ready]) -> list["asyncio.Future[Any]"]:
        """Hand encoded records to the producer, in order per partition."""
        batches = _Batches(self._new_batch())
        now_ms = int(time.time() * 1000)
        for record in records:
            time_ms = now_ms if record.time_ms is None else record.time_ms
            batches.add(record.topic, record.partition, record.key, record.value, time_ms, list(record.headers))
        return await self._submit(batches)

    def _new_batch(self) -> Callable[[], Any]:
        assert self._producer is not None, "start() comes first"
        return cast(Callable[[], Any], self._producer.create_batch)

    async def _submit(self, batches: "_Batches") -> list["asyncio.Future[Any]"]:
        assert self._producer is not None
        self._check()
        futures = []
        try:
            for (topic, partition), builder in batches.closed():
                futures.append(await self._producer.send_batch(builder, topic, partition=partition))
                futures[-1].add_done_callback(self._note)
        except BaseException as error:
            self._failure = error
            raise
        return futures

    def _note(self, acknowledged: "asyncio.Future[Any]") -> None:
        if not acknowledged.cancelled() and (error := acknowledged.exception()) is not None:
            self._failure = self._failure or error

    def _check(self) -> None:
        if self._failure is not None:
            raise PublishError(f"not sent, because before it there was {self._failure!r}") from self._failure


class _Round:
    """What leaves together; `sent` is done when the broker has it."""

    def __init__(self, new_batch: Callable[[], Any]) -> None:
        self.batches = _Batches(new_batch)
        self.sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_due = False

    def settle(self, acknowledged: "asyncio.Future[Any]") -> None:
        if acknowledged.cancelled():
            self.sent.cancel()
        elif (error := acknowledged.exception()) is not None:
            self.sent.set_exception(error)
        else:
            self.sent.set_result(None)


class _Batch:
    """A record batch being filled, `records` so far.

    `append` is that of the inside of aiokafka's `BatchBuilder`, whose own costs twice what it wraps: with the number
    of records, it gives nothing when there is no room.
    """

    __slots__ = ("append", "builder", "records")

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.append: Callable[..., Any] = builder._builder.append
        self.records = 0

    def closed(self) -> Any:
        self.builder._relative_offset = self.records
        self.builder.close()
        return self.builder


class _Batches:
    """Record batches being filled, one a partition, and those that are full."""

    def __init__(self, new_batch: Callable[[], Any]) -> None:
        self._new_batch = new_batch
        self._full: list[tuple[tuple[str, int], _Batch]] = []
        self._open: dict[tuple[str, int], _Batch] = {}

    @property
    def records(self) -> int:
        return sum(batch.records for _, batch in self._all())

    def at(self, topic: str, partition: int) -> _Batch:
        """The one that is being filled for a partition."""
        batch = self._open.get((topic, partition))
        if batch is None:
            batch = self._open[topic, partition] = _Batch(self._new_batch())
        return batch

    def another(self, topic: str, partition: int) -> _Batch:
        """A new one, since that one is full."""
        self._full.append(((topic, partition), self._open.pop((topic, partition))))
        return self.at(topic, partition)

    def add(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        time_ms: int,
        headers: list[tuple[str, bytes]],
    ) -> None:
        batch = self.at(topic, partition)
        if not batch.append(batch.records, time_ms, key, value, headers):
            batch = self.another(topic, partition)
            batch.append(0, time_ms, key, value, headers)
        batch.records += 1

    def closed(self) -> list[tuple[tuple[str, int], Any]]:
        """All batches, in the order in which each partition must get them."""
        return [(place, batch.closed()) for place, batch in self._all()]

    def _all(self) -> list[tuple[tuple[str, int], _Batch]]:
        return [*self._full, *self._open.items()]


def _placed(key: str, partitions: int, places: dict[str, Place]) -> Place:
    """The key in bytes and its partition, remembered in `places`."""
    if len(places) >= KEYS_REMEMBERED_MAX:
        places.clear()
    encoded = key.encode()
    places[key] = encoded, partition_of(encoded, partitions)
    return places[key]
