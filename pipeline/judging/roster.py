"""Which models a stage knows, so that those long gone are forgotten and there are never too many."""

from typing import Any

from msgspec import Struct

from pipeline.stage import State

_KEY = "models"


class Roster(Struct, tag="models"):
    """The hour of each model's newest window, in the order in which they reached it."""

    hours: dict[str, int] = {}


def arrived(state: State[Any], model: str, hour: int, models_max: int, idle_hours: int) -> list[str]:
    """Note that `model` lives; the models to forget now: idle for over `idle_hours`, or the idlest of too many.

    Changes the state once an hour and model, not with every window.
    """
    roster: Roster = state.get(_KEY) or Roster()
    if roster.hours.get(model, -1) >= hour:
        return []
    roster.hours.pop(model, None)
    roster.hours[model] = hour
    surplus = set(list(roster.hours)[:-models_max])
    gone = [name for name, last in roster.hours.items() if last < hour - idle_hours or name in surplus]
    for name in gone:
        del roster.hours[name]
    state.put(_KEY, roster)
    return gone
