"""What a stage is: a pure step over keyed state, batches in and outputs out."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

EVERY_PARTITION = "*"
"""The key of an output that goes to every partition of its topic."""

SAME_PARTITION = "="
"""The key of an output that goes to the partition of the same number."""

V = TypeVar("V")


class Batch(NamedTuple):
    """Events of one partition of one log, in order. `offsets[i]` is the log offset that caused `events[i]`.

    `partitions` is how many partitions the log has. Offsets never fall; in a chain several events may share one.
    """

    partition: int
    partitions: int
    offsets: Sequence[int]
    events: Sequence[Any]


class Output(Struct, gc=False):
    """One record to publish, or to pass on to the next stage when `to` is a link. `offset` is what caused it."""

    offset: int
    to: str
    key: str
    value: Any


class State(Generic[V]):
    """The keyed values of one stage in one partition, and which of them a checkpoint has yet to write.

    Values are msgspec structs. A value changed in place must be `put` again, so that the checkpoint sees it.
    """

    __slots__ = ("dirty", "values")

    def __init__(self, values: dict[str, V] | None = None) -> None:
        self.values: dict[str, V] = {} if values is None else values
        self.dirty: set[str] = set()

    def get(self, key: str) -> V | None:
        return self.values.get(key)

    def put(self, key: str, value: V) -> None:
        self.values[key] = value
        self.dirty.add(key)

    def drop(self, key: str) -> None:
        if self.values.pop(key, None) is not None:
            self.dirty.add(key)

    def take_dirty(self) -> Iterator[tuple[str, V | None]]:
        """The changed keys with their values (None: dropped); each counts as written from the moment it comes out."""
        while self.dirty:
            key = self.dirty.pop()
            yield key, self.values.get(key)


class Stage(Protocol):
    """One step of the flow. All that differs between two runs is in `state` and `batch`.

    `values` is the type (or union of tagged structs) of what its state holds.
    """

    values: ClassVar[Any]

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        """Handle `batch`, change `state`, return the outputs in the order of the events that caused them.

        However a stream is cut into batches, the concatenated outputs are the same.
        """
        ...
