"""What a fetch brought, by the record batch: aiokafka's own iterator makes a `ConsumerRecord` of each record, which
costs more than decoding the event in it. A batch's records come out when their turn is there, and are gone again while
they are in the processor's cache: megabytes of them, unpacked at once, would go to memory and come back.

Knows aiokafka 0.14 from the inside (`Fetcher`, `FetchResult`, `PartitionRecords`);
`pipeline.packed` knows its records.
"""

import asyncio
import contextlib
from collections.abc import Collection, Container, Iterator, Sequence
from itertools import chain, dropwhile, islice, pairwise
from typing import Any, NamedTuple

import google_crc32c
from aiokafka import conn
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from pipeline.intake import Records
from pipeline.packed import (
    ATTRIBUTES_AT,
    COMPRESSION,
    MAGIC,
    MAGIC_AT,
    UnpackError,
    is_dense,
    plain,
    readable,
    unreadable,
)

AHEAD_RECORDS_MIN = 2_048
"""After a poll that found fewer, nothing is fetched until the next: what had been fetched ahead would be old by then,
and what came since would need another fetch. After one that found more, fetching goes on beside the processing."""


READER_BYTES = 4 << 20
"""What a connection may have read before it is taken. An answer has megabytes: with aiokafka's 64 KiB each piece of it
stops the reading and starts it again."""


LENGTH, CRC = 8, 17
"""Where a record batch has its length (without what comes before) and its checksum, of all that follows
(https://kafka.apache.org/documentation/#recordbatch)."""
PIECE_BYTES = 16 << 10


def read_in_large_pieces() -> None:
    """For all connections that this process opens from now on."""
    assert conn.READER_LIMIT <= READER_BYTES, "aiokafka has come to do without"
    conn.READER_LIMIT = READER_BYTES


class KeptBytes(MemoryRecords):  # type: ignore[misc]
    """An answer's record batches of one partition, which keeps its bytes in reach, for their checksums and
    to be read again."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.raw = raw


aiokafka_fetcher.MemoryRecords = KeptBytes


def is_intact(raw: bytes, begin: int, batch: Any) -> bool:
    """Whether the checksum of the record batch that begins there is that of its bytes.

    aiokafka's own CRC-32C is a table in memory, 200 ns for an event's 380 bytes; the processor's instruction takes 17.
    """
    if raw[begin + MAGIC_AT] != MAGIC or google_crc32c.implementation != "c":
        return bool(batch.validate_crc())
    checksum, first, end = 0, begin + CRC + 4, _end(raw, begin)
    for at in range(first, end, PIECE_BYTES):  # it takes nothing but bytes, and a copy of all would pass the cache by
        checksum = google_crc32c.extend(checksum, raw[at : min(at + PIECE_BYTES, end)])
    return checksum == int.from_bytes(raw[first - 4 : first])


def _end(raw: bytes, begin: int) -> int:
    return begin + LENGTH + 4 + int.from_bytes(raw[begin + LENGTH : begin + LENGTH + 4])


UNREADABLE = (ValueError, LookupError, ArithmeticError, KafkaError)
"""What aiokafka raises at a record that it cannot read."""

PART_BYTES_MAX = 1 << 20
"""Of decompressed batches, after which a part ends although it has few records: one record may be as large as all."""

BY_AIOKAFKA_BYTES_MAX = 4 << 20
"""A decompressed batch that is larger is not left to aiokafka, which makes 74 bytes of each 2 of an empty header."""


class Fetched(NamedTuple):
    """Records of one partition in order, still packed. `batches`: aiokafka's, checked, none empty of what may be read.

    `covers`: the offsets that were read, also those that compaction, an aborted transaction or a transaction's marker
    left without a record. The next records begin at its stop. `begin`: the first batch may begin before it, since a
    batch is fetched whole, also from its middle on. `raw`: what the batches lie in, and perhaps others. `plain`: all of
    them since Kafka 0.11, and none compressed.
    """

    batches: list[Any]
    begin: int
    covers: range
    raw: bytes = b""
    plain: bool = True

    @property
    def last_offset(self) -> int:
        """Of the last batch: compaction may have left no record there."""
        return int(self.batches[-1].next_offset) - 1

    def after(self, position: int) -> "Fetched":
        """Without the records up to this offset."""
        batches = [batch for batch in self.batches if batch.next_offset > position + 1]
        return self._replace(batches=batches, begin=max(self.begin, position + 1))

    def unpacked(self) -> Iterator[Any]:
        """The records, each with `offset`, `timestamp` (ms), `key` and `value`. Once; whatever aiokafka raises."""
        return dropwhile(lambda record: record.offset < self.begin, chain.from_iterable(self.batches))

    def parts(self, size: int) -> Iterator[Records]:
        """The records, `size` at a time, the last part smaller, and others after what was unusual. Once.

        Their offsets rise and lie within `covers`. A Problem is the value of what nobody can read.
        """
        wanted = self.begin
        if self.plain:
            for part in self._as_they_lie(size):
                yield part
                wanted = part.offsets[-1] + 1
        yield from self._batch_by_batch(size, wanted)

    def _as_they_lie(self, size: int) -> Iterator[Records]:
        """Up to where there is a gap, or aiokafka raises."""
        records, wanted = self.unpacked(), self.begin
        with contextlib.suppress(*UNREADABLE):
            while part := list(islice(records, size)):
                offsets = range(part[0].offset, part[-1].offset + 1)
                if len(offsets) != len(part) or offsets.start != wanted:
                    return
                yield _columns(offsets, part)
                wanted = offsets.stop

    def _batch_by_batch(self, size: int, wanted: int) -> Iterator[Records]:
        part: list[Any] = []
        offsets: list[int] = []
        unpacked_bytes = 0
        for batch, raw in self._again(wanted):
            reader = _Reader(batch, raw, wanted)
            unpacked_bytes += reader.unpacked_bytes
            while taken := reader.take(size - len(part)):
                part += taken
                offsets += reader.offsets
                if len(part) == size:
                    yield _columns(offsets, part)
                    part, offsets = [], []
            wanted = reader.wanted
            if unpacked_bytes > PART_BYTES_MAX:
                if part:
                    yield _columns(offsets, part)
                part, offsets, unpacked_bytes = [], [], 0
        if part:
            yield _columns(offsets, part)

    def _again(self, wanted: int) -> Iterator[tuple[Any, memoryview]]:
        """Each batch that may have records from this offset on as if nobody had begun to read it, and its bytes."""
        kept = {batch.next_offset for batch in self.batches if batch.next_offset > wanted}
        packed, begin = MemoryRecords(self.raw), 0
        while kept and packed.has_next():
            batch, end = packed.next_batch(), _end(self.raw, begin)
            if batch.next_offset in kept:
                yield batch, memoryview(self.raw)[begin:end]
            begin = end


def _columns(offsets: Sequence[int], part: list[Any]) -> Records:
    return Records(offsets, [record.timestamp for record in part], [record.value for record in part])


class _Reader:
    """The records of one batch from offset `wanted` on: aiokafka's, or those of `pipeline.packed` from where aiokafka
    raises, or finds an offset that cannot be there. `offsets`: of those that were taken last; counted, where there is
    a record for each, since a broker does not look at what they claim."""

    def __init__(self, batch: Any, raw: memoryview, wanted: int) -> None:
        self.wanted = wanted
        self.offsets: list[int] = []
        self.unpacked_bytes = 0
        self._batch = batch
        self._raw: bytes | memoryview = raw
        self._dense = raw[MAGIC_AT] == MAGIC and is_dense(raw)
        if self._dense:
            self.wanted = max(wanted, batch.base_offset)
        self._records: Iterator[Any] = chain(self._opened(raw))  # begins to read when asked

    def _opened(self, raw: memoryview) -> Any:
        if raw[MAGIC_AT] != MAGIC:
            return dropwhile(lambda record: record.offset < self.wanted, self._batch)
        if raw[ATTRIBUTES_AT] & COMPRESSION:
            try:
                self._raw = plain(raw)
            except UnpackError as error:
                return unreadable(raw, self.wanted, error)
            self.unpacked_bytes = len(self._raw)
        if self.unpacked_bytes > BY_AIOKAFKA_BYTES_MAX or self._batch.base_offset < self.wanted:
            return readable(self._raw, self.wanted)
        return DefaultRecordBatch(self._raw) if self.unpacked_bytes else self._batch

    def take(self, count: int) -> list[Any]:
        """At most `count` records; none, when there are no more."""
        try:
            records = self._checked(count)
        except UNREADABLE:
            if self._raw[MAGIC_AT] != MAGIC:
                raise
            self._records = readable(self._raw, self.wanted)
            records = self._checked(count)
        if records:
            self.wanted = self.offsets[-1] + 1
        return records

    def _checked(self, count: int) -> list[Any]:
        records = list(islice(self._records, count))
        if self._dense:
            self.offsets = list(range(self.wanted, self.wanted + len(records)))
            return records
        self.offsets = [record.offset for record in records]
        bounds = [self.wanted - 1, *self.offsets, self._batch.next_offset]
        if any(left >= right for left, right in pairwise(bounds)):
            raise UnpackError("offsets that do not rise")
        return records


def checked(found: Any) -> Fetched:
    """All of a `PartitionRecords` that nobody has begun to iterate. CorruptRecordException: a bad checksum."""
    found._records_iterator = None  # refers back, and what was fetched would lie about until the collector comes
    batches: list[Any] = []
    first = next_offset = found.next_fetch_offset
    raw, begin, all_plain = found._records.raw, 0, True
    while found._records.has_next():
        batch = found._records.next_batch()
        if found._check_crcs and not is_intact(raw, begin, batch):
            raise CorruptRecordException(f"Invalid CRC - {found._tp}")
        all_plain &= raw[begin + MAGIC_AT] == MAGIC and not raw[begin + ATTRIBUTES_AT] & COMPRESSION
        begin = _end(raw, begin)
        aborted = _is_aborted(found, batch)
        if batch.is_control_batch:
            if aborted and found._contains_abort_marker(batch):
                found._aborted_producers.discard(batch.producer_id)
        elif not aborted and batch.next_offset > first:
            batches.append(batch)
        next_offset = max(next_offset, batch.next_offset)
    return Fetched(batches, first, range(first, next_offset), raw, all_plain)


def _is_aborted(found: Any, batch: Any) -> bool:
    """Whether it belongs to an aborted transaction. To be asked of every batch in order, markers too: what is read may
    begin with the marker, the transaction itself read before or compacted away, and what follows it is not aborted."""
    if found._isolation_level != READ_COMMITTED or batch.producer_id is None:
        return False
    found._consume_aborted_up_to(batch.base_offset)
    return bool(batch.is_transactional and batch.producer_id in found._aborted_producers)


async def fetched_records(
    fetcher: Any,
    partitions: Collection[Any],
    timeout_s: float,
    batched: Container[str],
    empty: dict[Any, range],
) -> dict[Any, Any]:
    """As `Fetcher.fetched_records`, with `Fetched` for the topics in `batched` and lists of records for the others.

    `empty`: what was read without finding a record, left from call to call.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        drained = _drain(fetcher, partitions, batched, empty)
        if not drained or sum(map(_size, drained.values())) >= AHEAD_RECORDS_MIN:
            fetcher._notify(fetcher._wait_consume_future)
        left_s = deadline - asyncio.get_running_loop().time()
        if drained or left_s <= 0:
            return drained
        waiter = fetcher._create_fetch_waiter()
        done, _ = await asyncio.wait([waiter], timeout=left_s)
        if not done or fetcher._closed:
            waiter.cancel()
            return {}
        waiter.result()  # raises when we may not read


def _drain(
    fetcher: Any, partitions: Collection[Any], batched: Container[str], empty: dict[Any, range]
) -> dict[Any, Any]:
    drained: dict[Any, Any] = {}
    for tp in list(fetcher._records):
        if partitions and tp not in partitions:
            if not fetcher._subscriptions.is_assigned(tp):
                del fetcher._records[tp]
            continue
        result = fetcher._records[tp]
        if type(result) is not FetchResult:
            if drained:
                return drained  # the error is for the next call
            _done_with(fetcher, tp)
            result.check_raise()
        elif tp.topic in batched:
            _done_with(fetcher, tp)
            if result.check_assignment(tp) and result.has_more():
                found = checked(result._partition_records)
                result._assignment.state_value(tp).consumed_to(found.covers.stop)
                found = _with_what_was_empty(found, tp, empty)
                if found.batches:
                    drained[tp] = found
        else:
            records = result.getall()
            _done_with(fetcher, tp)
            if records:
                drained[tp] = records
    return drained


def _size(found: Any) -> int:
    return len(found.covers if type(found) is Fetched else found)


def _with_what_was_empty(found: Fetched, tp: Any, empty: dict[Any, range]) -> Fetched:
    """What was read before without finding a record is covered by the next that holds one."""
    before, covers = empty.pop(tp, range(0)), found.covers
    if before and before.stop == covers.start:
        covers = range(before.start, covers.stop)
    if not found.batches:
        empty[tp] = covers
    return found._replace(covers=covers)


async def seek_to_committed(consumer: Any) -> Any:
    """As `AIOKafkaConsumer.seek_to_committed`, which leaves a partition where it is when nothing is committed yet: what
    had been fetched from it and thrown away would never come again. Such a one goes back to its beginning."""
    committed = await consumer.seek_to_committed()
    never = [tp for tp, offset in committed.items() if not offset and tp in consumer.assignment()]
    if never:
        await consumer.seek_to_beginning(*never)
    return committed


def _done_with(fetcher: Any, tp: Any) -> None:
    """The fetcher may ask for the next records of this partition, as soon as it is woken."""
    del fetcher._records[tp]
