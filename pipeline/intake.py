"""From raw records to a batch of events, and dead letters for what is no event; its neighbours go on."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

import msgspec

from pipeline.stage import Batch, Output
from topics.codec import FUTURE_US_MAX, PAST_US_MAX, Problem, decoder, digest, problem_of, time_problem
from topics.control import Relayed
from topics.links import Handoff
from topics.records import DeadLetter
from topics.table import BY_ALIAS, Topic

_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # ValidationError is a DecodeError


class Raw(NamedTuple):
    """A record as it lies in a topic. `time_us` is the record's own timestamp, not the event's. A Problem as its value:
    nobody can read it, nor perhaps what follows it in its record batch."""

    offset: int
    time_us: int
    value: bytes | Problem | None


class Records(NamedTuple):
    """Raw records of one partition in order, as columns of equal length. `times_ms`: the records' own times."""

    offsets: Sequence[int]
    times_ms: list[int]
    values: list[bytes | Problem | None]

    @classmethod
    def of_rows(cls, raws: Iterable[Raw]) -> "Records":
        """The same records by the row."""
        raws = list(raws)
        return cls([raw.offset for raw in raws], [raw.time_us // 1000 for raw in raws], [raw.value for raw in raws])


class Intake:
    """Decodes the records of one source (a log or a link) for all stages of this process that read it."""

    def __init__(self, source: str, stage: str) -> None:
        self.topic: Topic = BY_ALIAS[source]
        self._stage = stage  # the stage that dead letters are reported by: the first that reads this source
        self._decode: Callable[[bytes], Any] = decoder(self.topic)
        self._judges_time = source == "traffic"

    def batch(self, partition: int, partitions: int, records: Records) -> tuple[Batch, list[Output]]:
        """The events among `records` as a batch, and a dead letter for each record that holds none."""
        events = self._all_at_once(records)
        if events is not None:
            return Batch(partition, partitions, records.offsets, events), []
        return self._one_by_one(partition, partitions, records)

    def _all_at_once(self, records: Records) -> list[Any] | None:
        """One event a record. None: look at each, something is not as usual."""
        if self.topic.values is Handoff or not records.values:
            return None
        try:
            events = list(map(self._decode, cast(Iterable[bytes], records.values)))
        except (*_BAD, TypeError):  # the last by a tombstone or a Problem
            return None
        return events if not self._judges_time or _times_are_usual(events, records.times_ms) else None

    def _one_by_one(self, partition: int, partitions: int, records: Records) -> tuple[Batch, list[Output]]:
        offsets: list[int] = []
        events: list[Any] = []
        dead: list[Output] = []
        for offset, time_ms, value in zip(records.offsets, records.times_ms, records.values, strict=True):
            raw = Raw(offset, time_ms * 1000, value)
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
        if isinstance(raw.value, Problem):
            return raw.value
        try:
            event = self._decode(raw.value)
        except _BAD as error:
            return problem_of(error)
        if self._judges_time and type(event) is not Relayed:
            return time_problem(event.time_us, raw.time_us) or event
        return event

    def _dead_letter(self, partition: int, raw: Raw, problem: Problem) -> Output:
        value = raw.value if isinstance(raw.value, bytes) else b""
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


def _times_are_usual(events: Sequence[Any], times_ms: Sequence[int]) -> bool:
    """Whether every event's time is near enough to any record's, so to its own. Relayed events have none: not usual."""
    try:
        times_us: list[int] = [event.time_us for event in events]
    except AttributeError:
        return False
    ahead_us, behind_us = max(times_us) - min(times_ms) * 1000, max(times_ms) * 1000 - min(times_us)
    return ahead_us <= FUTURE_US_MAX and behind_us <= PAST_US_MAX
