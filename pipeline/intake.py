"""From raw records to a batch of events, and dead letters for what is no event; its neighbours go on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import sub
from typing import Any, NamedTuple

import msgspec

from pipeline.stage import Batch, Output
from topics.codec import FUTURE_US_MAX, PAST_US_MAX, Problem, decoder, digest, lines_decoder, problem_of, time_problem
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


class Records(NamedTuple):
    """Raw records of one partition in order, as columns of equal length.

    `covers`: the offsets of which these are all the records; None where nobody asks.
    """

    offsets: list[int]
    times_us: list[int]
    values: list[bytes | None]
    covers: range | None = None

    @classmethod
    def of(cls, records: Iterable[Any], covers: range | None = None) -> "Records":
        """Of a Kafka client's records: `offset`, `timestamp` in milliseconds, `value`."""
        records = list(records)
        return cls(
            [record.offset for record in records],
            [record.timestamp * 1000 for record in records],
            [record.value for record in records],
            covers,
        )

    @classmethod
    def of_rows(cls, raws: Iterable[Raw]) -> "Records":
        """The same records by the row."""
        raws = list(raws)
        return cls([raw.offset for raw in raws], [raw.time_us for raw in raws], [raw.value for raw in raws])

    def parts(self, size: int) -> Iterator["Records"]:
        """The same records, at most `size` at a time."""
        if len(self.offsets) <= size:
            yield self
            return
        for start in range(0, len(self.offsets), size):
            end = start + size
            yield Records(self.offsets[start:end], self.times_us[start:end], self.values[start:end])

    def since(self, index: int) -> "Records":
        """Without the first `index`."""
        return Records(self.offsets[index:], self.times_us[index:], self.values[index:]) if index else self


class Intake:
    """Decodes the records of one source (a log or a link) for all stages of this process that read it."""

    def __init__(self, source: str, stage: str) -> None:
        self.topic: Topic = BY_ALIAS[source]
        self._stage = stage  # the stage that dead letters are reported by: the first that reads this source
        self._decode: Callable[[bytes], Any] = decoder(self.topic)
        self._decode_lines = lines_decoder(self.topic)
        self._judges_time = source == "traffic"

    def batch(self, partition: int, partitions: int, records: Records) -> tuple[Batch, list[Output]]:
        """The events among `records` as a batch, and a dead letter for each record that holds none."""
        events = self._all_at_once(records)
        if events is not None:
            return Batch(partition, partitions, records.offsets, events), []
        return self._one_by_one(partition, partitions, records)

    def _all_at_once(self, records: Records) -> list[Any] | None:
        """One event a record, decoded in one call. None: look at each, something is not as usual."""
        if self._decode_lines is None or not records.values:
            return None
        events = self._decode_lines(records.values)
        if events is None or (self._judges_time and not _times_are_usual(events, records.times_us)):
            return None
        return events

    def _one_by_one(self, partition: int, partitions: int, records: Records) -> tuple[Batch, list[Output]]:
        offsets: list[int] = []
        events: list[Any] = []
        dead: list[Output] = []
        for raw in map(Raw, records.offsets, records.times_us, records.values):
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


def _times_are_usual(events: Sequence[Any], times_us: Sequence[int]) -> bool:
    """Whether every event's time is near enough to its record's; relayed ones have none."""
    known = [
        time_us if type(event) is Relayed else event.time_us for event, time_us in zip(events, times_us, strict=True)
    ]
    ahead_us: list[int] = list(map(sub, known, times_us))
    return max(ahead_us) <= FUTURE_US_MAX and min(ahead_us) >= -PAST_US_MAX
