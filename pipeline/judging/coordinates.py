"""Ids that are coordinates: (partition, offset, index), the index counting what one log record has caused so far."""

from typing import Any

from msgspec import Struct

from pipeline.stage import State

_KEY = "cursor"


class Cursor(Struct, frozen=True, tag="cursor"):
    """The last id given. In the state, since a batch may end between two events that one record caused."""

    offset: int
    index: int


def next_id(state: State[Any], partition: int, offset: int, prefix: str = "") -> str:
    """The next id of `offset`; the same again whenever the same events are computed again from the same state."""
    last = state.get(_KEY)
    index = last.index + 1 if last is not None and last.offset == offset else 0
    state.put(_KEY, Cursor(offset, index))
    return f"{prefix}{partition}-{offset}-{index}"
