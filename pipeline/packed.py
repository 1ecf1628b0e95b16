"""The inside of a record batch (https://kafka.apache.org/documentation/#recordbatch): decompressed into a bounded
space, and read record by record where aiokafka gives up.

aiokafka reads every batch that is in order, in C. What a broker accepts may still not be: it neither looks into the
headers of a record, nor at the offsets of an uncompressed batch, nor bounds what a compressed one becomes.
"""

import struct
from collections.abc import Callable, Iterator
from functools import cache, partial
from mmap import mmap
from typing import Any, NamedTuple

import cramjam
from aiokafka.record import default_records, legacy_records
from aiokafka.record._crecords import default_records as default_records_c
from aiokafka.record._crecords import legacy_records as legacy_records_c

from topics.codec import Problem

UNPACKED_BYTES_MAX = 32 << 20
"""What a compressed batch may become. Of 1 MiB, what a broker takes by default, zstandard can make more than a GB."""

MAGIC_AT = 16
MAGIC = 2  # since Kafka 0.11
ATTRIBUTES_AT = 22
COMPRESSION = 0x07
_HEADER = struct.Struct(">q8xBIhiqq14xi")  # with a word for what lies between the fields read here
_LENGTH_AT, _LENGTH_END = 8, 12
_LOG_APPEND_TIME = 0x08
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16


class UnpackError(ValueError):
    """Bytes that are no compressed records, or too many when decompressed."""


class Unpacked(NamedTuple):
    """A record as `Fetched` hands it on. A Problem instead of a value: nobody can read it, nor the batch's rest."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | Problem | None


@cache
def _space() -> memoryview:
    """One for all batches, one at a time: memory is taken as far as it has ever been filled."""
    return memoryview(mmap(-1, UNPACKED_BYTES_MAX))


def _decompressed(into: Callable[[Any, Any], int], packed: Any) -> bytes:
    """`into`: a function of cramjam's that fills a given space."""
    space = _space()
    try:
        return space[: into(bytes(packed), space)].tobytes()
    except cramjam.DecompressionError as error:
        raise UnpackError(f"it does not decompress into {UNPACKED_BYTES_MAX >> 20} MiB ({error})") from None


def _snappy_into(packed: bytes, space: memoryview) -> int:
    """Java's clients write blocks of 32 KiB after a header, librdkafka all in one."""
    if not packed.startswith(_XERIAL):
        return cramjam.snappy.decompress_raw_into(packed, space)
    at, filled = _XERIAL_HEADER_BYTES, 0
    while at < len(packed):
        end = at + 4 + int.from_bytes(packed[at : at + 4])
        filled += cramjam.snappy.decompress_raw_into(packed[at + 4 : end], space[filled:])
        at = end
    return filled


DECODERS: dict[str, Callable[[Any], bytes]] = {
    "gzip": partial(_decompressed, cramjam.gzip.decompress_into),
    "snappy": partial(_decompressed, _snappy_into),
    "lz4": partial(_decompressed, cramjam.lz4.decompress_into),
    "zstd": partial(_decompressed, cramjam.zstd.decompress_into),
}
_BY_CODE = dict(enumerate(DECODERS, 1))


def _bound_what_aiokafka_decompresses() -> None:
    """In this process: for whoever reads without `Fetched`, and for batches of before Kafka 0.11."""
    for module in (default_records, default_records_c, legacy_records, legacy_records_c):
        for name, decode in DECODERS.items():
            if hasattr(module, f"{name}_decode"):
                setattr(module, f"{name}_decode", decode)


_bound_what_aiokafka_decompresses()


def is_dense(raw: bytes | memoryview) -> bool:
    """Whether a batch (version 2) has a record for each of its offsets, as it came from its producer."""
    _, _, _, _, last_delta, _, _, count = _HEADER.unpack_from(raw)
    return bool(count == last_delta + 1)


def plain(raw: memoryview) -> bytes:
    """A compressed batch as it would be without compression, its checksum aside. UnpackError."""
    code = raw[ATTRIBUTES_AT] & COMPRESSION
    if code not in _BY_CODE:
        raise UnpackError(f"it is compressed in a way that nobody knows ({code})")
    body = DECODERS[_BY_CODE[code]](raw[_HEADER.size :])
    length = (_HEADER.size - _LENGTH_END + len(body)).to_bytes(_LENGTH_END - _LENGTH_AT)
    attributes = bytes((raw[ATTRIBUTES_AT] & ~COMPRESSION,))
    between, rest = raw[_LENGTH_END:ATTRIBUTES_AT], raw[ATTRIBUTES_AT + 1 : _HEADER.size]
    return b"".join((raw[:_LENGTH_AT], length, between, attributes, rest, body))


def unreadable(raw: bytes | memoryview, wanted: int, error: Exception) -> Iterator[Unpacked]:
    """What takes the place of a batch's records from offset `wanted` on, if there can be any."""
    base, _, _, _, last_delta, _, max_ms, _ = _HEADER.unpack_from(raw)
    wanted, last = max(wanted, base), base + last_delta
    if wanted <= last:
        reason = f"a record batch that cannot be read from offset {wanted} to its end, {last}: {error}"
        yield Unpacked(wanted, max_ms, None, Problem("", reason))


def readable(raw: bytes | memoryview, begin: int) -> Iterator[Unpacked]:
    """The records of one batch from offset `begin` on, with less asked of them: headers are passed over, and a batch
    with as many records as offsets is counted, whatever offsets they claim.

    Where even that fails, a Problem takes the place of the rest. `raw`: the batch, version 2, not compressed.
    """
    base, _, _, attributes, last_delta, first_ms, max_ms, count = _HEADER.unpack_from(raw)
    dense = is_dense(raw)
    body, at, expected = bytes(raw[_HEADER.size :]), 0, base
    try:
        for number in range(count):
            time_delta, offset_delta, key, value, at = _record(body, at)
            offset = base + (number if dense else offset_delta)
            if not expected <= offset <= base + last_delta:
                raise UnpackError("an offset that cannot be there")
            expected = offset + 1
            if offset >= begin:
                yield Unpacked(
                    offset, max_ms if attributes & _LOG_APPEND_TIME else _int64(first_ms + time_delta), key, value
                )
        if at != len(body):
            raise UnpackError("more than its records")
    except (UnpackError, IndexError) as error:
        yield from unreadable(raw, max(begin, expected), error)


def _record(body: bytes, at: int) -> tuple[int, int, bytes | None, bytes | None, int]:
    """Time and offset, as they differ from the batch's first, key, value, and where the next record begins."""
    length, at = _varint(body, at)
    end = at + length
    if not at < end <= len(body):
        raise UnpackError("a record that is longer than the batch")
    time_delta, at = _varint(body, at + 1)  # after a byte of attributes, which has no use yet
    offset_delta, at = _varint(body, at)
    key, at = _text(body, at, end)
    value, _ = _text(body, at, end)
    return time_delta, offset_delta, key, value, end


def _text(body: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    length, at = _varint(body, at)
    if at + length > end:
        raise UnpackError("a key or value that is longer than its record")
    return (None, at) if length < 0 else (body[at : at + length], at + length)


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A number in zigzag and base 128, at most 64 bits, and where the next thing begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            value &= 2**64 - 1
            return (value >> 1) ^ -(value & 1), at
    raise UnpackError("a number of more than 64 bits")


def _int64(value: int) -> int:
    """As Java and C add."""
    return (value + 2**63) % 2**64 - 2**63
