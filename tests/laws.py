"""The laws that every stage must keep, as functions over a stage, its events and where the stream is cut.

A checkpoint is what the worker makes of it: the dirty values, as bytes, laid over those of earlier checkpoints.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from pipeline.stage import Batch, Output, Stage, State

PARTITION, PARTITIONS = 1, 4
_encode = msgspec.msgpack.Encoder().encode


class Stream(NamedTuple):
    """Events with the offsets that caused them. Events of one offset are never torn apart."""

    offsets: Sequence[int]
    events: Sequence[Any]

    def batch(self, start: int, end: int) -> Batch:
        return Batch(PARTITION, PARTITIONS, self.offsets[start:end], self.events[start:end])

    def places_to_cut(self, wanted: Sequence[int]) -> list[int]:
        """The wanted places that lie between two offsets, ascending, with both ends."""
        size = len(self.events)
        inner = {place % (size + 1) for place in wanted}
        whole = {place for place in inner if 0 < place < size and self.offsets[place - 1] < self.offsets[place]}
        return sorted({0, size} | whole)


class Store:
    """Checkpoints of one state, as a changelog keeps them."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}

    def write(self, state: State[Any]) -> None:
        for key, value in state.take_dirty():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = _encode(value)

    def read(self, stage: Stage) -> State[Any]:
        decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(stage.values)
        return State({key: decoder.decode(raw) for key, raw in self.records.items()})


def as_bytes(state: State[Any]) -> dict[str, bytes]:
    return {key: _encode(value) for key, value in state.values.items()}


def run(stage: Stage, stream: Stream, cuts: Sequence[int], state: State[Any]) -> list[Output]:
    outputs: list[Output] = []
    for start, end in pairwise(cuts):
        outputs += stage.step(state, stream.batch(start, end))
    return outputs


def check_batch_cuts(build: Callable[[], Stage], stream: Stream, wanted: Sequence[int]) -> None:
    """However a stream is cut into batches, the outputs and the state are the same."""
    whole, cut = State[Any](), State[Any]()
    expected = run(build(), stream, [0, len(stream.events)], whole)
    assert run(build(), stream, stream.places_to_cut(wanted), cut) == expected
    assert as_bytes(cut) == as_bytes(whole)


def check_output_order(build: Callable[[], Stage], stream: Stream) -> None:
    """Outputs come in the order of the offsets that caused them, and only from offsets that were there."""
    offsets = [output.offset for output in run(build(), stream, [0, len(stream.events)], State())]
    assert offsets == sorted(offsets)
    assert set(offsets) <= set(stream.offsets)


def check_checkpoints(build: Callable[[], Stage], stream: Stream, wanted: Sequence[int]) -> None:
    """At every checkpoint the dirty values are all that changed: what is stored reads back as the state."""
    stage, state, store = build(), State[Any](), Store()
    cuts = stream.places_to_cut(wanted)
    for start, end in pairwise(cuts):
        stage.step(state, stream.batch(start, end))
        store.write(state)
        assert as_bytes(store.read(stage)) == as_bytes(state)


def check_crash(build: Callable[[], Stage], stream: Stream, wanted: Sequence[int], crash: int) -> None:
    """A stage that starts again from a checkpoint gives the outputs that it gave, and ends in the same state."""
    stage, state, store = build(), State[Any](), Store()
    cuts = stream.places_to_cut(wanted)
    kept = crash % len(cuts)
    before = run(stage, stream, cuts[: kept + 1], state)
    store.write(state)
    after = run(stage, stream, cuts[kept:], state)  # lost, but for what was published
    again = build()
    restored = store.read(again)
    assert run(again, stream, [cuts[kept], len(stream.events)], restored) == after
    assert as_bytes(restored) == as_bytes(state)
    assert before + after == run(build(), stream, cuts, State())
