"""The inside of a record batch (https://kafka.apache.org/documentation/#recordbatch): decompressed into a bounded
space, and read record by record where aiokafka gives up.

aiokafka reads every batch that is in order, in C. What a broker accepts may still not be: it neither looks into the
headers of a record, nor bounds what a compressed batch becomes.
"""

import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import cramjam
import numpy as np
from aiokafka.record import default_records, legacy_records
from aiokafka.record._crecords import default_records as default_records_c
from aiokafka.record._crecords import legacy_records as legacy_records_c

from topics.codec import Problem

UNPACKED_BYTES_MAX = 64 << 20
"""What a compressed batch may become. Of 1 MiB, what a broker takes by default, zstandard can make more than a GB."""

MAGIC_AT = 16
MAGIC = 2  # since Kafka 0.11
_HEADER = struct.Struct(">q8xBIhiqq14xi")  # with a word for what lies between the fields read here
_COMPRESSION, _LOG_APPEND_TIME = 0x07, 0x08
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16


class UnpackError(ValueError):
    """Bytes that are no compressed records, or too many when decompressed."""


class Unpacked(NamedTuple):
    """A record as `Fetched` hands it on. A Problem instead of a value: nobody can read it, nor the batch's rest."""

    offset: int
    timestamp: int
    value: bytes | Problem | None


@cache
def _space() -> memoryview:
    """One for all batches, one at a time: memory is taken as far as it has ever been filled."""
    return np.empty(UNPACKED_BYTES_MAX, np.uint8).data


def _by(into: Callable[[Any, Any], int]) -> Callable[[Any], bytes]:
    """A decoder as aiokafka calls it, by a function of cramjam's that fills a given space."""

    def decode(packed: Any) -> bytes:
        space = _space()
        return space[: _filled(into, packed, space)].tobytes()

    return decode


def _filled(into: Callable[[Any, Any], int], packed: Any, space: memoryview) -> int:
    try:
        return into(bytes(packed), space)
    except cramjam.DecompressionError as error:
        raise UnpackError(f"{error}; {UNPACKED_BYTES_MAX >> 20} MiB are the most") from None


def _snappy_into(packed: bytes, space: memoryview) -> int:
    """Java's clients write blocks of 32 KiB after a header, librdkafka all in one."""
    if not packed.startswith(_XERIAL):
        return int(cramjam.snappy.decompress_raw_into(packed, space))
    at, filled = _XERIAL_HEADER_BYTES, 0
    while at < len(packed):
        end = at + 4 + int.from_bytes(packed[at : at + 4])
        filled += cramjam.snappy.decompress_raw_into(packed[at + 4 : end], space[filled:])
        at = end
    return filled


DECODERS: dict[str, Callable[[Any], bytes]] = {
    "gzip": _by(cramjam.gzip.decompress_into),
    "snappy": _by(_snappy_into),
    "lz4": _by(cramjam.lz4.decompress_into),
    "zstd": _by(cramjam.zstd.decompress_into),
}
_BY_CODE = dict(enumerate(DECODERS, 1))


def decompress_bounded() -> None:
    """From now on in all of aiokafka in this process."""
    for module in (default_records, default_records_c, legacy_records, legacy_records_c):
        for name, decode in DECODERS.items():
            if hasattr(module, f"{name}_decode"):
                setattr(module, f"{name}_decode", decode)


def readable(raw: bytes | memoryview, begin: int) -> Iterator[Unpacked]:
    """The records of one batch from offset `begin` on, with less asked of them: headers are passed over.

    Where even that fails, a Problem takes the place of the rest. `raw`: the batch, version 2.
    """
    base, _, _, attributes, last_delta, first_ms, max_ms, count = _HEADER.unpack_from(raw)
    wanted, last = max(begin, base), base + last_delta
    at = 0
    try:
        body = _body(raw[_HEADER.size :], attributes & _COMPRESSION)
        for _ in range(count):
            time_delta, offset_delta, value, at = _record(body, at)
            offset = base + offset_delta
            if offset > last:
                raise UnpackError("an offset that is not the batch's")
            if offset >= wanted:
                yield Unpacked(offset, max_ms if attributes & _LOG_APPEND_TIME else first_ms + time_delta, value)
                wanted = offset + 1
    except (UnpackError, IndexError) as error:
        if wanted <= last:
            reason = f"a record batch that cannot be read from offset {wanted} to its end, {last}: {error}"
            yield Unpacked(wanted, max_ms, Problem("", reason))


def _body(packed: bytes | memoryview, compression: int) -> bytes:
    if not compression:
        return bytes(packed)
    if compression not in _BY_CODE:
        raise UnpackError(f"compressed in a way of its own ({compression})")
    return DECODERS[_BY_CODE[compression]](packed)


def _record(body: bytes, at: int) -> tuple[int, int, bytes | None, int]:
    """Time and offset, as they differ from the batch's first, value, and where the next record begins."""
    length, at = _varint(body, at)
    end = at + length
    if not at < end <= len(body):
        raise UnpackError("a record that is longer than the batch")
    time_delta, at = _varint(body, at + 1)  # after a byte of attributes, which has no use yet
    offset_delta, at = _varint(body, at)
    key_bytes, at = _varint(body, at)
    value_bytes, at = _varint(body, at + max(key_bytes, 0))
    if at + max(value_bytes, 0) > end:
        raise UnpackError("a value that is longer than its record")
    return time_delta, offset_delta, None if value_bytes < 0 else body[at : at + value_bytes], end


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A number in zigzag and base 128, at most 64 bits, and where the next thing begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
    raise UnpackError("a number of more than 64 bits")
