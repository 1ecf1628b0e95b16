"""Records as a broker hands them over: packed into record batches by aiokafka's own builder."""

from collections.abc import Sequence

import google_crc32c
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.fetched import CRC, Fetched, KeptBytes, checked
from pipeline.intake import Raw

PLACE = TopicPartition("packed", 0)
BATCH_BYTES_MAX = 1 << 20


def packed(
    raws: Sequence[Raw],
    codec: int = 0,
    key: bytes | None = b"key",
    headers: Sequence[tuple[str, bytes | None]] = (),
    bytes_max: int = BATCH_BYTES_MAX,
) -> bytes:
    """One record batch; compaction may have left gaps between the offsets."""
    first = raws[0].offset
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, bytes_max)
    for raw in raws:
        added = builder.append(raw.offset - first, raw.time_us // 1000, key, raw.value, list(headers))
        assert added, "larger than a batch"
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


def with_checksum(batch: bytes) -> bytes:
    """A batch that was changed by hand, its checksum in order again."""
    rest = batch[CRC + 4 :]
    return batch[:CRC] + google_crc32c.value(rest).to_bytes(4) + rest


def with_bad_header(raws: Sequence[Raw]) -> bytes:
    """A batch whose headers have names that are not UTF-8: a broker takes it, aiokafka does not read it."""
    name = "\x01\x02\x03\x04"
    return with_checksum(packed(raws, headers=[(name, b"")]).replace(name.encode(), b"\xff\xfe\xff\xfe"))


def found_in(batches: bytes, begin: int = 0) -> Fetched:
    """What a fetch from `begin` on found."""
    return checked(PartitionRecords(PLACE, KeptBytes(batches), [], begin, None, None, True, READ_COMMITTED))


def fetched(*raws: Raw) -> Fetched:
    """In one batch, and nothing before it."""
    return found_in(packed(raws), raws[0].offset)
