"""Record batches that aiokafka does not read: each loses what cannot be read of it, and its neighbours nothing."""

from collections.abc import Sequence

import pytest
from aiokafka.record import default_records
from hypothesis import given
from hypothesis import strategies as st

from pipeline.intake import Raw, Records
from pipeline.packed import DECODERS, UNPACKED_BYTES_MAX, Unpacked, readable
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
    CODECS,
    st.none() | st.binary(max_size=20),
    st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3),
    st.integers(0, 310),
)
def test_a_batch_in_order_is_read_as_aiokafka_reads_it(
    values: dict[int, bytes | None],
    codec: int,
    key: bytes | None,
    headers: list[tuple[str, bytes | None]],
    begin: int,
) -> None:
    raw = packed([Raw(offset, offset**3 * 1000, values[offset]) for offset in sorted(values)], codec, key, headers)
    theirs = default_records.DefaultRecordBatch(raw)
    wanted = [Unpacked(record.offset, record.timestamp, record.value) for record in theirs if record.offset >= begin]
    assert list(readable(memoryview(raw), begin)) == wanted


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
    assert "64 MiB" in swollen.value.reason


@given(st.data(), CODECS, st.integers(0, 9))
def test_whatever_a_batch_holds_it_ends_and_its_offsets_rise(data: st.DataObject, codec: int, begin: int) -> None:
    raw = bytearray(packed(rows(0, 10), codec))
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(HEADER_BYTES, len(raw) - 1))] = data.draw(st.integers(0, 255))
    changed = with_checksum(bytes(raw[: data.draw(st.integers(HEADER_BYTES, len(raw)))]))
    read = list(readable(changed, begin))
    offsets = [record.offset for record in read]
    assert offsets == sorted(set(offsets))
    assert all(begin <= offset <= 9 for offset in offsets)
    assert not any(isinstance(record.value, Problem) for record in read[:-1])
    whole = changed[:8] + (len(changed) - 12).to_bytes(4) + changed[12:]
    assert len(raws_of(list(found_in(whole, begin).parts(3)))) <= 21  # aiokafka believes what offsets it finds


def test_snappy_comes_in_one_piece_or_in_blocks() -> None:
    text = b"0123456789" * 10_000
    encode = default_records.snappy_encode
    assert DECODERS["snappy"](encode(text)) == DECODERS["snappy"](encode(text, xerial_compatible=False)) == text
