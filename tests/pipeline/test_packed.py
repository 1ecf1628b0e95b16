"""Record batches that aiokafka does not read: each loses what cannot be read of it, and its neighbours nothing."""

import subprocess
import sys
import zlib
from collections.abc import Sequence

import pytest
from aiokafka.record import default_records
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from pipeline.intake import Raw, Records
from pipeline.packed import DECODERS, UNPACKED_BYTES_MAX, Unpacked, UnpackError, plain, readable
from tests.pipeline.packing import found_in, packed, with_bad_header, with_checksum
from topics.codec import Problem

CODECS = st.integers(0, 4)
HEADER_BYTES = 61


def row(offset: int, value: bytes | None = b"") -> Raw:
    return Raw(offset, 1_000_000 + 1_000 * offset, b"value %d" % offset if value == b"" else value)


def rows(begin: int, stop: int) -> list[Raw]:
    return [row(offset) for offset in range(begin, stop)]


def raws_of(parts: Sequence[Records]) -> list[Raw]:
    return [
        Raw(offset, time_ms * 1000, value)
        for part in parts
        for offset, time_ms, value in zip(part.offsets, part.times_ms, part.values, strict=True)
    ]


@given(
    st.dictionaries(st.integers(0, 300), st.none() | st.binary(max_size=300), min_size=1),
    st.none() | st.binary(max_size=20),
    st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3),
    st.integers(0, 310),
)
def test_a_batch_in_order_is_read_as_aiokafka_reads_it(
    values: dict[int, bytes | None],
    key: bytes | None,
    headers: list[tuple[str, bytes | None]],
    begin: int,
) -> None:
    raw = packed(
        [Raw(offset, (offset - 100) ** 3 * 1000, values[offset]) for offset in sorted(values)], 0, key, headers
    )
    for kind in (raw, raw[:22] + b"\x08" + raw[23:]):  # dated by the producer, or by the broker
        theirs = [
            (each.offset, each.timestamp, each.key, each.value) for each in default_records.DefaultRecordBatch(kind)
        ]
        assert list(readable(memoryview(kind), begin)) == [Unpacked(*each) for each in theirs if each[0] >= begin]


@given(st.sets(st.integers(0, 300), min_size=1), st.integers(1, 4))
def test_a_batch_decompressed_is_the_batch(offsets: set[int], codec: int) -> None:
    raws = [row(offset) for offset in sorted(offsets)]
    raw = packed(raws)
    assert with_checksum(plain(memoryview(packed(raws, codec)))) == raw


@given(st.integers(0, 9), st.integers(1, 7))
def test_names_of_headers_that_are_not_utf_8_harm_nothing(begin: int, size: int) -> None:
    found = found_in(packed(rows(0, 3)) + with_bad_header(rows(3, 7)) + packed(rows(7, 10)), begin)
    assert raws_of(list(found.parts(size))) == rows(begin, 10)


@given(st.integers(1, 4), st.integers(0, 14), st.integers(1, 7))
def test_a_batch_that_cannot_be_decompressed_is_one_problem(codec: int, begin: int, size: int) -> None:
    broken = bytearray(packed(rows(3, 10), codec))
    broken[HEADER_BYTES:] = (b"\x00\xff" * len(broken))[HEADER_BYTES : len(broken)]
    found = found_in(packed(rows(0, 3), codec) + with_checksum(bytes(broken)) + packed(rows(10, 15), codec), begin)
    read = raws_of(list(found.parts(size)))
    assert [raw for raw in read if not isinstance(raw.value, Problem)] == rows(begin, 3) + rows(max(begin, 10), 15)
    problems = {raw.offset: raw.value.reason for raw in read if isinstance(raw.value, Problem)}
    assert list(problems) == ([max(begin, 3)] if begin < 10 else [])
    for offset, reason in problems.items():
        assert f"from offset {offset} to its end, 9:" in reason


def test_a_compression_that_nobody_knows_is_one_problem() -> None:
    raw = bytearray(packed(rows(0, 3)))
    raw[22] |= 7
    (part,) = found_in(with_checksum(bytes(raw)) + packed(rows(3, 5))).parts(9)
    assert isinstance(part.values[0], Problem)
    assert list(part.offsets) == [0, 3, 4]


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_batch_that_swells_beyond_the_limit_is_one_problem(codec: int) -> None:
    swelling = packed([row(1, bytes(UNPACKED_BYTES_MAX))], codec, bytes_max=2 * UNPACKED_BYTES_MAX)
    found = found_in(packed(rows(0, 1), codec) + swelling + packed(rows(2, 3), codec))
    before, swollen, after = raws_of(list(found.parts(9)))
    assert [before, after] == [row(0), row(2)]
    assert isinstance(swollen.value, Problem)
    assert "does not decompress into 32 MiB" in swollen.value.reason


SWELLING = """
import sys
from pipeline.intake import Raw
from tests.pipeline.packing import packed

MIB = 1 << 20

def swollen(begin, size):
    return packed([Raw(begin, 0, bytes(size))], 4, bytes_max=400 * MIB)

# headers without names: 2 bytes each, and 74 in Python
heads = packed([Raw(0, 0, b"v")], 0, headers=[("", None)] * (MIB // 2), bytes_max=400 * MIB)
zipped = packed([Raw(0, 0, b"v")], 4, headers=[("", None)] * (12 * MIB), bytes_max=400 * MIB)
batches = [swollen(at, 20 * MIB) for at in range(12)] + [swollen(at, 3 * MIB) for at in range(12, 60)]
batches += [swollen(60, 300 * MIB), (61).to_bytes(8, "big") + zipped[8:], (62).to_bytes(8, "big") + heads[8:]]
batches.append(packed([Raw(63, 0, b"")]))
sys.stdout.buffer.write(b"".join(batches))
"""


def test_many_batches_that_swell_take_no_more_than_a_few() -> None:
    """Of 20 and of 3 MiB, of 300, and with millions of headers: together under 4 MiB as they are fetched."""
    made = subprocess.run([sys.executable, "-c", SWELLING], capture_output=True, check=True).stdout
    program = """
import resource, sys
from tests.pipeline.packing import found_in
log = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(len(part.values) for part in found_in(log).parts(256))
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    told = subprocess.run([sys.executable, "-c", program], input=made, capture_output=True, check=True).stdout
    count, grown_mib = map(int, told.split())
    assert len(made) < 4 << 20
    assert count == 64
    assert grown_mib < 300


@given(st.data(), CODECS, st.integers(0, 9))
def test_whatever_a_batch_holds_it_ends_and_its_offsets_rise(data: st.DataObject, codec: int, begin: int) -> None:
    """Also a batch whose records claim offsets, or a number, that are not so: a broker does not look."""
    raw = bytearray(packed(rows(0, 10), codec))
    first = data.draw(st.sampled_from((HEADER_BYTES - 4, HEADER_BYTES)))  # the number of records, or the records
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(first, len(raw) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(raw[: data.draw(st.integers(HEADER_BYTES, len(raw)))])
    whole = with_checksum(changed[:8] + (len(changed) - 12).to_bytes(4) + changed[12:])
    read = raws_of(list(found_in(whole + packed(rows(10, 12)), begin).parts(3)))
    offsets = [record.offset for record in read]
    assert offsets == sorted(set(offsets))
    assert all(begin <= offset < 12 for offset in offsets)
    assert read[-2:] == rows(10, 12)
    assert not any(isinstance(record.value, Problem) for record in read[:-3])


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=6), st.integers(1, 5))
def test_records_that_claim_other_offsets_are_counted(deltas: list[int], size: int) -> None:
    """Kafka 4.3 takes an uncompressed batch without looking at them."""
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for delta in deltas:
        batch.append(delta, 1_000, None, b"value", [])
    raw = (10).to_bytes(8) + bytes(batch.build())[8:]
    raw = with_checksum(raw[:23] + (len(deltas) - 1).to_bytes(4) + raw[27:])
    end = 10 + len(deltas)
    read = raws_of(list(found_in(packed(rows(8, 10)) + raw + packed(rows(end, end + 2)), 8).parts(size)))
    assert [record.offset for record in read] == list(range(8, end + 2))
    assert (read[:2], read[-2:]) == (rows(8, 10), rows(end, end + 2))
    assert {record.value for record in read[2:-2]} == {b"value"}


def test_a_batch_of_before_kafka_0_11_that_cannot_be_decompressed_is_an_error() -> None:
    builder = LegacyRecordBatchBuilder(1, 1, 1 << 20)
    builder.append(0, 1_000, b"key", b"value" * 100)
    raw = bytearray(builder.build())
    raw[-20:] = bytes(20)
    raw[12:16] = zlib.crc32(raw[16:]).to_bytes(4)
    with pytest.raises(UnpackError, match="does not decompress"):
        list(found_in(bytes(raw)).parts(9))


def test_snappy_comes_in_one_piece_or_in_blocks() -> None:
    text = b"0123456789" * 10_000
    encode = default_records.snappy_encode
    assert DECODERS["snappy"](encode(text)) == DECODERS["snappy"](encode(text, xerial_compatible=False)) == text
