"""Records as a broker hands them over: packed into record batches by aiokafka's own builder."""

from collections.abc import Sequence

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.fetched import Fetched, KeptBytes, checked
from pipeline.intake import Raw

PLACE = TopicPartition("packed", 0)
BATCH_BYTES_MAX = 1 << 20


def packed(raws: Sequence[Raw], codec: int = 0) -> bytes:
    """One record batch; compaction may have left gaps between the offsets."""
    first = raws[0].offset
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, BATCH_BYTES_MAX)
    for raw in raws:
        assert builder.append(raw.offset - first, raw.time_us // 1000, b"key", raw.value, []), "larger than a batch"
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


def found_in(batches: bytes, begin: int = 0) -> Fetched:
    """What a fetch from `begin` on found."""
    return checked(PartitionRecords(PLACE, KeptBytes(batches), [], begin, None, None, True, READ_COMMITTED))


def fetched(*raws: Raw) -> Fetched:
    """In one batch, and nothing before it."""
    return found_in(packed(raws), raws[0].offset)
