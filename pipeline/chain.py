"""Runs the rows of the flow that one process holds, over one partition of one log: shared by every driver.

Stages that are joined by a link and both in this process are chained, depth first; otherwise what passes goes to the
link's internal topic as a `Handoff`. Outputs leave in the order of the offsets that caused them, so that however the
log is cut into batches, the concatenated outputs are the same.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec

from pipeline.flow import BY_STAGE, FLOW, LOGS, Row, reader_of
from pipeline.settings import Settings
from pipeline.stage import SAME_PARTITION as SAME_PARTITION  # also for drivers, which know this module
from pipeline.stage import Batch, Output, Stage, State
from topics.control import Command, Relayed
from topics.links import Handoff
from topics.records import Alert

_SEEN = "seen"  # the chain's own state: how far each source that may repeat itself has been heard

Coordinate = tuple[int, int]

Item = tuple[str, bytes | None]
"""A key of the state and its encoded value (None: dropped)."""


Watch = Callable[[str, Sequence[Output]], None]
"""Receives a link's name and what passed over it."""


class StateError(Exception):
    """A stage's state that this version cannot read; the message names the stage and what to do."""


class UnknownStageError(Exception):
    """A stage name that the flow does not have."""


def check_stages(names: Iterable[str]) -> frozenset[str]:
    """The names as a set, or an error that lists the stages there are."""
    stages = frozenset(names)
    if unknown := sorted(stages - BY_STAGE.keys()):
        raise UnknownStageError(f"no such agent: {', '.join(unknown)}. There are: {', '.join(BY_STAGE)}")
    return stages


def sources(stages: frozenset[str]) -> dict[str, tuple[Row, ...]]:
    """What a process with these stages must read: log or link alias -> the rows fed from it, in flow order."""
    upstream = {row.passes: row.stage for row in FLOW if row.passes}
    found: dict[str, list[Row]] = {}
    for row in FLOW:
        if row.stage in stages and (row.reads in LOGS or upstream[row.reads] not in stages):
            found.setdefault(row.reads, []).append(row)
    return {source: tuple(rows) for source, rows in found.items()}


class Chain:
    """One partition of one source (a log, or a link's topic) with the states of all stages fed from it here.

    `position` is the highest offset of the source that the states account for; -1 before the first. `watch` sees what
    passes between stages that are chained here, and changes nothing.
    """

    def __init__(self, source: str, stages: frozenset[str], settings: Settings, watch: Watch | None = None) -> None:
        self.source = source
        self._watch = watch
        self.position = -1
        self._heads = sources(stages)[source]
        self._held = stages
        self._stages: dict[str, Stage] = {row.stage: row.build(settings) for row in self._reachable(self._heads)}
        self.states: dict[str, State[Any]] = {name: State() for name in self._stages}
        self._seen: State[Coordinate] = State()

    def _reachable(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            yield row
            if row.passes and (following := reader_of(row.passes)).stage in self._held:
                yield from self._reachable([following])

    def step(self, batch: Batch, position: int) -> list[Output]:
        """Feed one batch, whose last record lies at `position` of the source; the records to publish, in order."""
        self.position = position
        fresh = self._fresh(batch)
        outputs = [output for head in self._heads for output in self._run(head, fresh)]
        outputs.sort(key=_OFFSET)
        return outputs

    def _run(self, row: Row, batch: Batch) -> list[Output]:
        if not batch.events:
            return []
        outputs = self._stages[row.stage].step(self.states[row.stage], batch)
        if not row.passes:
            return outputs
        passed = [output for output in outputs if output.to == row.passes]
        if self._watch is not None:
            self._watch(row.passes, passed)
        published = [] if len(passed) == len(outputs) else [output for output in outputs if output.to != row.passes]
        following = reader_of(row.passes)
        if following.stage not in self._held:
            return published + list(_handoffs(row.passes, passed))
        onward = Batch(batch.partition, batch.partitions, [o.offset for o in passed], [o.value for o in passed])
        return published + self._run(following, onward)

    def _fresh(self, batch: Batch) -> Batch:
        """The batch without what was heard before: a repeated relayed event, command or handoff."""
        if self.source not in LOGS:
            kept = self._new_handoffs(batch.offsets)
        elif _REPEATABLE.isdisjoint(map(type, batch.events)):
            return batch
        else:
            heard_from = [_event_source(event) for event in batch.events]
            kept = [index for index, heard in enumerate(heard_from) if heard is None or self._is_news(*heard)]
        return batch._replace(
            offsets=[batch.offsets[index] for index in kept], events=[batch.events[index] for index in kept]
        )

    def _new_handoffs(self, origins: Sequence[int]) -> list[int]:
        """A handoff comes whole, and its events share the offset that caused them: one integer tells old from new."""
        last, _ = self._seen.get("origin") or (-1, 0)
        if origins and origins[-1] > last:
            self._seen.put("origin", (origins[-1], 0))
        return [index for index, origin in enumerate(origins) if origin > last]

    def _is_news(self, source: str, coordinate: Coordinate) -> bool:
        last = self._seen.get(source)
        if last is not None and coordinate <= last:
            return False
        self._seen.put(source, coordinate)
        return True

    def changes(self) -> Iterator[Item]:
        """What changed since it was last here; all of it, together with `position`, is a checkpoint.

        What has not come out when the iteration is left counts as changed still.
        """
        for name, state in self._all_states():
            for key, value in state.take_dirty():
                yield f"{name}|{key}", None if value is None else _encode(value)

    @property
    def changed(self) -> int:
        """How many keys `changes` would give."""
        return sum(len(state.dirty) for _, state in self._all_states())

    def restore(self, values: Mapping[str, bytes], position: int, forgetting: bool = False) -> None:
        """Become what the checkpoints of an earlier process, laid over each other, say.

        A stage whose state another version wrote, and this one cannot read: StateError; or, when `forgetting`, that
        stage begins with nothing and the next checkpoint drops what there was.
        """
        self.position = position
        states = dict(self._all_states())
        decoders = {name: msgspec.msgpack.Decoder(stage.values) for name, stage in self._stages.items()}
        decoders[_SEEN] = msgspec.msgpack.Decoder(tuple[int, int])
        unreadable: set[str] = set()
        for full_key, raw in values.items():
            name, _, key = full_key.partition("|")
            if name not in states:  # a stage that this process does not hold leaves its state alone
                continue
            try:
                states[name].values[key] = decoders[name].decode(raw)
            except msgspec.DecodeError as error:  # ValidationError is one
                if not forgetting:
                    raise StateError(
                        f"the state of {name} was written by another version ({key}: {error}): go back to that one, "
                        f"or start with --fresh, which forgets what {name} has learnt and nothing else"
                    ) from error
                unreadable.add(name)
        for name in unreadable:
            states[name].values.clear()
            states[name].dirty.update(
                key for known, _, key in (full.partition("|") for full in values) if known == name
            )

    def _all_states(self) -> Iterator[tuple[str, State[Any]]]:
        yield _SEEN, self._seen
        yield from self.states.items()


_encode = msgspec.msgpack.Encoder().encode
_REPEATABLE = frozenset((Relayed, Command, Alert))
_OFFSET = attrgetter("offset")
_COORDINATES = re.compile(r"a(\d+)-(\d+)-(\d+)")  # an alert's id


def _event_source(event: Any) -> tuple[str, Coordinate] | None:
    """Who wrote an event that may come twice, and which of its writings this is."""
    if type(event) is Relayed:
        return "control", (event.offset, 0)
    if type(event) is Command and event.source is not None:
        partition, offset, index = event.source
        return f"slices/{partition}", (offset, index)
    if type(event) is Alert and (named := _COORDINATES.fullmatch(event.id)):
        partition, offset, index = map(int, named.groups())
        return f"alerts/{partition}", (offset, index)
    return None


def _handoffs(link: str, passed: list[Output]) -> Iterator[Output]:
    for offset, run in groupby(passed, key=_OFFSET):
        yield Output(offset, link, SAME_PARTITION, Handoff(offset, [output.value for output in run]))
