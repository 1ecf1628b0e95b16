"""A Faust transport that hands over a partition's records by the batch, so that Faust's cost is paid once a batch.

For topics named in `batched`, each poll yields at most one Faust message per partition: its value is the record
batches (`pipeline.fetched.Fetched`), its offset that of the last record. Everything else (changelogs, plain topics) is
as in Faust. What may be committed follows from the order of delivery: `DeliveredOffsets`. Records of transactions that
were aborted never come: they are no events. docs/transport.md tells the whole of it.

`Consumer.ack` must not be overridden: Faust's Cython stream iterator inlines it, and an override is never called.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Container, Iterable
from typing import Any, ClassVar, cast

import faust
import yarl
from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.services import WaitResults
from mode.utils.futures import maybe_async

from pipeline.fetched import Fetched, fetched_records, seek_to_committed
from pipeline.heartbeats import Membership

FETCH_WAIT_MS_MAX = 500
"""How long the broker may hold a fetch back when nothing is new; Faust's 1,500 makes a stop as slow."""

PARTITION_FETCH_BYTES_MAX = 4 << 20
"""A broker cuts an answer anywhere, and what it cut of the last record batch is fetched again: of Kafka's 1 MiB as much
as half, where producers send batches of half a MiB."""
FETCH_BYTES_MAX = 16 << 20
"""An answer, of all partitions. The heap keeps blocks up to 32 MiB (pipeline/heap.py), and an answer is put together in
one that grows."""


class DeliveredOffsets:
    """The last offsets of the batches delivered from each partition, oldest first, until they are acknowledged.

    A partition may be committed up to the last batch before which all are acknowledged (faust#606 commits past a
    message in flight; here nothing acknowledged out of order moves the commit).
    """

    def __init__(self) -> None:
        self._delivered: defaultdict[Any, deque[int]] = defaultdict(deque)

    def delivered(self, tp: Any, offset: int) -> None:
        """A batch that ends at `offset` was handed over."""
        self._delivered[tp].append(offset)

    def committable(self, tp: Any, acked: set[int], committed: int | None = None) -> int | None:
        """The offset to commit (last acknowledged in order, plus one) or None; takes what it counts out of `acked`.

        `committed`: what the group has committed already. A batch before it was fetched again at a rebalance; Faust
        does not note its acknowledgement, and waiting for it would hold back all commits after it for ever.
        """
        waiting = self._delivered[tp]
        last = None
        while waiting and (waiting[0] in acked or (committed is not None and waiting[0] < committed)):
            last = waiting.popleft()
            acked.discard(last)
        return None if last is None else last + 1

    def forget(self, tps: Iterable[Any] | None = None) -> None:
        """Delivery starts anew in these partitions (all when None): revoked, or sought to another offset."""
        for tp in list(self._delivered) if tps is None else tps:
            self._delivered.pop(tp, None)

    def outstanding(self, tp: Any) -> int:
        """How many batches of the partition are delivered and not yet committable."""
        return len(self._delivered[tp])


class _NoThread:
    """In the place of a thread of mode's: the service runs in the loop that started it."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def start(self) -> None:
        self._serving = asyncio.ensure_future(self._serve())

    async def _serve(self) -> None:
        try:
            await self._service._serve()
        except Exception as error:
            self._service.log.warning("the consumer ended with %r", error)
        finally:
            self._service.set_shutdown()  # for whoever waits for its end, in whatever way it ended

    def stop(self) -> None:
        """Nothing to join: the service tells when it has stopped."""


class _Fetching(driver.AIOKafkaConsumerThread):
    """Faust's thread that fetches, but in the loop of everything else, by the batch, and committed records only.

    Two threads take turns at the interpreter, and each hand-over between them waits for one: a tenth of the processor
    time and of the latency. What Faust has a thread for, that a long step costs no heartbeat, `Heartbeats` sees to.
    """

    Worker: Any = _NoThread

    def __init__(self, *args: Any, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(*args, loop=loop, thread_loop=loop, **kwargs)
        self._empty: dict[TP, range] = {}

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await maybe_async(fun(*args, **kwargs))

    async def _keepalive2(self) -> None:
        """Wakes the other thread's loop; there is none."""

    async def _gather_remaining_tasks(self) -> None:
        """Ends all tasks of the thread's loop, which here are everybody's."""

    def _create_consumer(self, loop: Any) -> Any:
        consumer = super()._create_consumer(loop)
        consumer._isolation_level = "read_committed"  # Faust has no setting for it
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS_MAX
        consumer._fetch_max_bytes = FETCH_BYTES_MAX
        return consumer

    async def seek_to_committed(self) -> Any:
        return await self.call_thread(seek_to_committed, self._ensure_consumer())

    def membership(self) -> Membership | None:
        """What this member is known by in its group; None while it is none."""
        coordinator = self._consumer and self._consumer._coordinator
        if not coordinator or not coordinator.member_id or coordinator.generation < 0:
            return None
        return Membership(coordinator.member_id, coordinator.generation)

    def is_rebalancing(self) -> bool:
        """Whether partitions are still to be given to this member, for the first time or anew."""
        return self._consumer is None or bool(self._consumer._subscription.reassignment_in_progress)

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - as Faust has it
        max_records: int | None = None,
    ) -> Any:
        if not self.consumer.flow_active:
            return {}
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        with fetcher._subscriptions.fetch_context():
            batched = cast(BatchConsumer, self.consumer).batched
            return await fetched_records(fetcher, active_partitions, timeout or 0.0, batched, self._empty)


class _ReadOffsets(defaultdict[TP, int | None]):
    """How far Faust has delivered; not kept for batched topics, where Faust would drop what comes again after a seek.

    Its loop notes an offset after the delivery, which may be after the seek.
    """

    def __init__(self, batched: Container[str]) -> None:
        super().__init__(lambda: None)
        self._batched = batched

    def __getitem__(self, tp: TP) -> int | None:
        return None if tp.topic in self._batched else super().__getitem__(tp)


class BatchConsumer(driver.Consumer):
    """Faust's aiokafka consumer, one message a partition a poll."""

    batched: Container[str] = ()

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Fetching(self, loop=self.loop, beacon=self.beacon)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offsets = DeliveredOffsets()
        self.in_hand = 0  # batches of the last fetch that are still to be delivered
        self.batched = cast(BatchTransport, self.transport).batched
        self._read_offset = _ReadOffsets(self.batched)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109
        """Fetch; yield a batch as one message, or plain messages one by one. Drops what a rebalance overtook."""
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            try:
                await self.perform_seek()
            except Exception as error:  # as in Faust: a fetch may come back when nothing is assigned any more
                self.log.warning("could not seek back while the flow stands still: %r", error)
            return
        generation = self.app.consumer_generation_id
        self.in_hand = len(records)
        for tp, found in records.items():
            self.in_hand -= 1
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if tp.topic not in self.batched:
                for record in found:
                    if not self.flow_active or self.app.consumer_generation_id != generation:
                        return
                    yield tp, self._to_message(tp, record)
            else:
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                batch = cast(Fetched, found)
                self.offsets.delivered(tp, batch.last_offset)
                yield tp, self._batch_message(tp, batch, generation)

    def _batch_message(self, tp: TP, found: Fetched, generation: int) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            found.last_offset,
            0.0,  # times and headers belong to records, not to a batch
            0,
            None,
            None,
            cast(Any, found),
            None,
            0,
            0,  # nobody asks how large the values are
            tp,
            generation_id=generation,
        )

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic not in self.batched:
            return super()._new_offset(tp)
        self._acked[tp].clear()  # Faust's own list of acknowledged offsets, which would grow for ever
        return self.offsets.committable(tp, self._acked_index[tp], self._committed_offset[tp])

    async def wait_first(self, *waits: Any, timeout: Any = None) -> Any:  # noqa: ASYNC109 - as mode has it
        """As in mode, where every message costs four tasks: a delivery that need not wait costs one."""
        delivery, *others = waits
        if not asyncio.iscoroutine(delivery) or timeout is not None:
            return await super().wait_first(*waits, timeout=timeout)
        task = asyncio.ensure_future(delivery)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            return await super().wait_first(task, *others)
        for other in filter(asyncio.iscoroutine, others):
            other.close()
        return WaitResults([delivery], [task.result()], self.should_stop)

    def on_buffer_full(self, tp: TP) -> None:
        """A batched source whose queue is full holds back the loop that delivers, and so the fetching.

        Faust would leave the partition out of the fetches instead until its queue is nearly empty; then the processor
        waits for the broker, and aiokafka fetches nothing while an answer for a partition left out lies there.
        """
        if tp.topic not in self.batched:
            super().on_buffer_full(tp)

    async def perform_seek(self) -> None:
        """Back to the committed offsets: what was delivered since will be delivered again."""
        self.offsets.forget()
        self._acked_index.clear()
        await super().perform_seek()

    async def seek(self, partition: TP, offset: int) -> None:
        self.offsets.forget([partition])
        self._acked_index[partition].clear()
        await super().seek(partition, offset)

    def is_rebalancing(self) -> bool:
        """Whether this member waits for its partitions."""
        return cast(_Fetching, self._thread).is_rebalancing()

    def membership(self) -> Membership | None:
        """For `Heartbeats`; safe to ask from another thread."""
        return cast(_Fetching, self._thread).membership()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        self.offsets.forget(revoked)


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with the batch consumer. `batched`: names of the topics that come in batches."""

    Consumer: ClassVar[Any] = BatchConsumer

    def __init__(self, broker: str, app: faust.App, batched: Container[str]) -> None:
        self.batched = batched
        super().__init__([yarl.URL(f"kafka://{address}") for address in broker.split(",")], app, loop=None)
