"""From raw records to a batch of events, and dead letters for what is no event; its neighbours go on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from pipeline.stage import Batch, Output
from topics.codec import Problem, decoder, digest, problem_of, time_problem
from topics.control import Relayed
from topics.links import Handoff
from topics.records import DeadLetter
from topics.table import BY_ALIAS, Topic

_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # ValidationError is a DecodeError


class Raw(NamedTuple):
    """A record as it lies in a topic. `time_us` is the record's own timestamp, not the event's."""

    offset: int
    time_us: int
    value: bytes | None


class Intake:
    """Decodes the records of one source (a log or a link) for all stages of this process that read it."""

    def __init__(self, source: str, stage: str) -> None:
        self.topic: Topic = BY_ALIAS[source]
        self._stage = stage  # the stage that dead letters are reported by: the first that reads this source
        self._decode: Callable[[bytes], Any] = decoder(self.topic)
        self._judges_time = source == "traffic"

    def batch(self, partition: int, partitions: int, raws: Sequence[Raw]) -> tuple[Batch, list[Output]]:
        """The events among `raws` as a batch, and a dead letter for each record that holds none."""
        offsets: list[int] = []
        events: list[Any] = []
        dead: list[Output] = []
        for raw in raws:
            event = self._event(raw)
            if isinstance(event, Problem):
                dead.append(self._dead_letter(partition, raw, event))
            elif type(event) is Handoff:
                if offsets and event.offset <= offsets[-1]:
                    continue  # handed over again after a crash; the chain knows the repeats of earlier batches
                offsets += [event.offset] * len(event.events)
                events += event.events
            else:
                offsets.append(raw.offset)
                events.append(event)
        return Batch(partition, partitions, offsets, events), dead

    def _event(self, raw: Raw) -> Any:
        if raw.value is None:
            return Problem("", "no value (a tombstone)")
        try:
            event = self._decode(raw.value)
        except _BAD as error:
            return problem_of(error)
        if self._judges_time and type(event) is not Relayed:
            return time_problem(event.time_us, raw.time_us) or event
        return event

    def _dead_letter(self, partition: int, raw: Raw, problem: Problem) -> Output:
        value = raw.value or b""
        letter = DeadLetter(
            id=f"d-{self.topic.alias}-{partition}-{raw.offset}",
            time_us=max(raw.time_us, 0),
            topic=self.topic.name,
            partition=partition,
            offset=raw.offset,
            stage=self._stage,
            field=problem.field[:256],
            reason=problem.reason[:2000],
            size_bytes=len(value),
            digest=digest(value),
        )
        return Output(raw.offset, "dead-letters", self.topic.name, letter)
