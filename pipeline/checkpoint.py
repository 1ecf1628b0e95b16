"""How a checkpoint is laid out in a changelog, so that it is there whole or not at all, whatever its size.

A record batch is appended to a partition whole, so a checkpoint that fits into one needs nothing else. A larger one is
first written beside the state (`pending/0`, `pending/1`, ...), then announced by one record (`pending`), then written
into the state, and last the position is moved and the pending records are dropped, in one batch. Whoever restores lays
announced parts over the state, and finishes writing them (`unfinished`) before a checkpoint of its own.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

POSITION = "position"
PENDING = "pending"
BATCH_BYTES_MAX = 4 * 1024 * 1024
RECORD_OVERHEAD_BYTES = 64

Item = tuple[str, bytes | None]
"""A key of the state and its encoded value (None: dropped)."""


class _Part(msgspec.Struct, array_like=True):
    items: list[Item]


class _Announcement(msgspec.Struct, array_like=True):
    position: int
    parts: int


_encode = msgspec.msgpack.Encoder().encode
_decode_part = msgspec.msgpack.Decoder(_Part).decode
_decode_announcement = msgspec.msgpack.Decoder(_Announcement).decode
_decode_position = msgspec.msgpack.Decoder(int).decode


def batches(changed: Sequence[Item], position: int, bytes_max: int = BATCH_BYTES_MAX) -> Iterator[list[Item]]:
    """The record batches to write, each acknowledged before the next. `position`: the offset that they stand for."""
    parts = list(_parts(changed, bytes_max))
    if len(parts) <= 1:
        yield [*changed, (POSITION, _encode(position))]
        return
    for number, part in enumerate(parts):
        yield [(f"{PENDING}/{number}", _encode(_Part(part)))]
    yield [(PENDING, _encode(_Announcement(position, len(parts))))]
    yield from _fold(parts, position)


def restored(items: Mapping[str, bytes]) -> tuple[dict[str, bytes], int]:
    """The state that a changelog's latest values stand for, and its position (-1 where there is none)."""
    state = {key: raw for key, raw in items.items() if key != POSITION and not key.startswith(PENDING)}
    if PENDING not in items:
        return state, _decode_position(items[POSITION]) if POSITION in items else -1
    announced = _decode_announcement(items[PENDING])
    for part in _announced_parts(items, announced):
        for key, raw in part:
            if raw is None:
                state.pop(key, None)
            else:
                state[key] = raw
    return state, announced.position


def unfinished(items: Mapping[str, bytes]) -> Iterator[list[Item]]:
    """The batches that a process died before writing; none when its last checkpoint is whole."""
    if PENDING in items:
        announced = _decode_announcement(items[PENDING])
        yield from _fold(_announced_parts(items, announced), announced.position)


def _announced_parts(items: Mapping[str, bytes], announced: _Announcement) -> list[list[Item]]:
    return [_decode_part(items[f"{PENDING}/{number}"]).items for number in range(announced.parts)]


def _fold(parts: list[list[Item]], position: int) -> Iterator[list[Item]]:
    """Parts into the state; last, and at once, the position, and the end of what was pending."""
    yield from parts
    dropped: list[Item] = [(f"{PENDING}/{number}", None) for number in range(len(parts))]
    yield [(POSITION, _encode(position)), (PENDING, None), *dropped]


def _parts(changed: Sequence[Item], bytes_max: int) -> Iterator[list[Item]]:
    part: list[Item] = []
    size = 0
    for key, raw in changed:
        needed = len(key) + len(raw or b"") + RECORD_OVERHEAD_BYTES
        if part and size + needed > bytes_max:
            yield part
            part, size = [], 0
        part.append((key, raw))
        size += needed
    if part:
        yield part
