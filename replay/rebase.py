"""Moving a recording in time: every event keeps its distance from the first."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from replay.event import Event, Events, ReplayError, time_of
from topics.control import Command, Control, Launch, Maintenance, Relayed
from topics.fields import TIME_US_MAX

_MOVED: dict[type, tuple[str, ...]] = {
    Maintenance: ("time_us", "start_us", "end_us"),
    Launch: ("time_us", "start_us", "end_us"),
    Command: ("time_us", "expires_us"),
}
"""Fields that hold an event time, where there is more than `time_us`."""


def rebase(events: Iterable[Event], start_us: int) -> Events:
    """Move all events so that the first traffic event with a time of its own happens at `start_us` (microseconds).

    Control events that stand before it wait for it, for their new time hangs on it; raw bytes pass as they are.
    """
    waiting: list[Event] = []
    move: Callable[[Event], Event] | None = None
    for event in events:
        if move is None:
            waiting.append(event)
            if isinstance(event, (Control, Relayed, bytes)):
                _check_waiting(waiting)
                continue
            move = shifter(start_us - event.time_us)
            yield from map(move, waiting)
        else:
            yield move(event)
    if move is None:
        first_us = next((time_us for event in waiting if (time_us := time_of(event)) is not None), start_us)
        yield from map(shifter(start_us - first_us), waiting)


WAITING_MAX = 100_000


def _check_waiting(waiting: list[Event]) -> None:
    if len(waiting) > WAITING_MAX:
        raise ReplayError(f"the recording begins with more than {WAITING_MAX} events before the first request")


def shifter(shift_us: int) -> Callable[[Event], Event]:
    """The function that moves one event by `shift_us`, never out of the range of event times."""

    def moved(value: Any) -> Any:
        fields = _MOVED.get(type(value), ("time_us",))
        times = {field: min(max(getattr(value, field) + shift_us, 0), TIME_US_MAX) for field in fields}
        return msgspec.structs.replace(value, **times)

    def shift(event: Event) -> Event:
        if isinstance(event, bytes) or not shift_us:
            return event
        if isinstance(event, Relayed):
            return msgspec.structs.replace(event, event=moved(event.event))
        moved_event: Event = moved(event)
        return moved_event

    return shift
