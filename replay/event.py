"""What a replayed stream is made of, and the errors that a user of replay can meet."""

from collections.abc import Iterator

from topics.control import ControlEvent, Relayed
from topics.traffic import Completion, Request, Tick, TrafficEvent

Event = TrafficEvent | ControlEvent | bytes
"""A traffic event, a control event, or the raw bytes of a line that is neither (it will end in dead letters)."""

Events = Iterator[Event]


class ReplayError(Exception):
    """Something that the user can put right; the message says what is wrong and what to do next."""


def time_of(event: Event) -> int | None:
    """Event time in microseconds; None for what has none of its own (raw bytes)."""
    if isinstance(event, bytes):
        return None
    return event.event.time_us if isinstance(event, Relayed) else event.time_us


def is_traffic(event: Event) -> bool:
    """Whether the event belongs to the traffic log. Raw bytes do: that is where they are found to be bad."""
    return isinstance(event, (Request, Completion, Tick, Relayed, bytes))
