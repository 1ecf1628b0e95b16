"""Where each model's traffic goes: shifted to a version for a while, or rolled back to it.

Every function takes the stage's state, a command, the control log's offset, and how many models may be shifted at once;
it changes the state and returns what to say about it, or None when the command changes nothing (a renewal).
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from pipeline.stage import State
from topics.control import Command

ROLLBACKS_MAX = 1_000
"""How many roll backs are remembered so that they could be undone; the oldest is forgotten first."""


class Shift(Struct, frozen=True, tag="shift"):
    """Traffic of `model` goes to version `to`, because of `command`."""

    command: str
    model: str
    origin: str
    to: str


class RollBack(Struct, frozen=True, tag="roll_back"):
    """`model` was returned from version `origin` to `to` by the command at `sequence` of the control log."""

    command: str
    model: str
    origin: str
    to: str
    sequence: int


class Answer(NamedTuple):
    kind: Literal["traffic_shifted", "traffic_restored", "rolled_back", "rollback_undone", "refused"]
    detail: str


def _versions(command: Command) -> tuple[str, str]:
    return str(command.parameters.get("from", "the current version")), str(command.parameters.get("to", ""))


def _of(state: State[Any], kind: type) -> list[Any]:
    return [value for value in state.values.values() if isinstance(value, kind)]


def _refused(command: Command, why: str) -> Answer:
    return Answer("refused", f"{command.action} {command.state}: {why}")


def _shift(state: State[Any], command: Command, _offset: int, models_max: int) -> Answer | None:
    origin, to = _versions(command)
    known: Shift | None = state.get(f"shift/{command.target}")
    if not to:
        return _refused(command, "parameters.to must name a version")
    if known and known.command != command.command:
        return _refused(command, f"its traffic is shifted already by {known.command}")
    if known and known.to == to:
        return None
    if not known and len(_of(state, Shift)) >= models_max:
        return _refused(command, f"{models_max} models are shifted already: reverse one first")
    state.put(f"shift/{command.target}", Shift(command.command, command.target, origin, to))
    return Answer("traffic_shifted", f"traffic of {command.target}: {origin} -> {to}")


def _restore(state: State[Any], command: Command, _offset: int, _models_max: int) -> Answer:
    known: Shift | None = state.get(f"shift/{command.target}")
    if not known or known.command != command.command:
        return _refused(command, "no traffic is shifted by this command")
    state.drop(f"shift/{command.target}")
    rolled: RollBack | None = state.get(f"roll_back/{command.target}")
    home = rolled.to if rolled else known.origin  # never back to a version that was rolled back meanwhile
    return Answer("traffic_restored", f"traffic of {known.model}: {known.to} -> {home}; {command.reason}")


def _roll_back(state: State[Any], command: Command, offset: int, _models_max: int) -> Answer | None:
    origin, to = _versions(command)
    known: RollBack | None = state.get(f"roll_back/{command.target}")
    if known and known.command == command.command:
        return None
    if not to:
        return _refused(command, "parameters.to must name a version")
    done = _of(state, RollBack)
    if not known and len(done) >= ROLLBACKS_MAX:
        state.drop(f"roll_back/{min(done, key=lambda each: each.sequence).model}")
    state.put(f"roll_back/{command.target}", RollBack(command.command, command.target, origin, to, offset))
    return Answer("rolled_back", f"{command.target}: {origin} -> {to}")


def _undo(state: State[Any], command: Command, _offset: int, _models_max: int) -> Answer:
    known: RollBack | None = state.get(f"roll_back/{command.target}")
    if not known or known.command != command.command:
        return _refused(command, "no roll back by this command is in force")
    state.drop(f"roll_back/{command.target}")
    return Answer("rollback_undone", f"{known.model}: {known.to} -> {known.origin}")


def forget_roll_back(state: State[Any], model: str) -> None:
    """A newer version was deployed: nothing is left to undo."""
    state.drop(f"roll_back/{model}")


ROUTES: Mapping[tuple[str, str], Callable[[State[Any], Command, int, int], Answer | None]] = {
    ("shift_traffic", "issued"): _shift,
    ("shift_traffic", "reversed"): _restore,
    ("roll_back", "issued"): _roll_back,
    ("roll_back", "reversed"): _undo,
}
"""Action and state of a command to what it does."""
