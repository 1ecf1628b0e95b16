"""A scenario: everything that a seed says about some weeks of a service, and its records in the order of a log.

Beside the incidents there is what must ring nobody: daily and weekly seasons, growth, holidays, launches, deployments,
noisy hours (course.py), announced maintenance, slices that are missing, and a traffic partition whose marks come late.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from replay.arrivals import Integers
from replay.event import ReplayError
from replay.scenarios import pack, requests
from replay.scenarios.course import DAY_MINUTES, PROFILES, WEEK_MINUTES, Course, Turn, course, turns
from replay.scenarios.disturb import SLICE_S, SLICES_A_MINUTE, Disturbance
from replay.scenarios.kinds import KINDS
from replay.scenarios.plan import EVERY_MODEL, Label, Planned, plan
from replay.scenarios.requests import DAY_SLICES
from topics.codec import rfc3339
from topics.control import ControlEvent, Deployment, Launch, Maintenance, Relayed
from topics.fields import MINUTE_US, SECOND_US
from topics.records import Mark, Slice, SlicesEvent

START_US = 1_780_272_000 * SECOND_US
"""Monday, 1 June 2026, 00:00 UTC."""

WEEKS_MAX = 26
PARTITIONS = 2
HOLES_A_WEEK = 12
HOLE_SLICES_MAX = 3
SKEWS_A_WEEK = 2
SKEW_SLICES_MAX = 5
CHUNK_SLICES = 1_080  # three hours: what is made at a time
SLICE_US = SLICE_S * SECOND_US

Rows = dict[int, list[tuple[str, pack.Packed]]]
"""Slice number -> the models with something in it, and what."""


@dataclass(frozen=True)
class Scenario:
    """`seed` and `weeks` say all. Model number i is PROFILES[i]; times are minutes or slices since START_US."""

    seed: int
    weeks: int = 1
    incidents: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.weeks <= WEEKS_MAX:
            raise ReplayError(f"a scenario lasts 1 to {WEEKS_MAX} weeks, not {self.weeks}")

    @property
    def minutes(self) -> int:
        return self.weeks * WEEK_MINUTES

    @property
    def end_us(self) -> int:
        return START_US + self.minutes * MINUTE_US

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(profile.model for profile in PROFILES)

    @cached_property
    def turns(self) -> tuple[tuple[Turn, ...], ...]:
        """By model."""
        return tuple(turns(self._rng(1, number), self.weeks) for number in range(len(PROFILES)))

    @cached_property
    def courses(self) -> tuple[Course, ...]:
        """By model. Each has a load of its own: its mean varies by a fifth from seed to seed."""
        return tuple(
            course(self._rng(2, number), profile, self.weeks, self.turns[number])
            for number, profile in enumerate(PROFILES)
        )

    @cached_property
    def maintenances(self) -> tuple[tuple[int, int, int], ...]:
        """(model, minute, minutes) of announced work, in which most requests fail or stay away."""
        rng = self._rng(3)
        return tuple(
            (
                int(rng.integers(len(PROFILES))),
                week * WEEK_MINUTES + int(rng.integers(DAY_MINUTES, WEEK_MINUTES - 120)),
                int(rng.integers(20, 60)),
            )
            for week in range(self.weeks)
        )

    @cached_property
    def planned(self) -> tuple[Planned, ...]:
        return plan(self._rng(4), self.courses, self.weeks, self.maintenances) if self.incidents else ()

    @property
    def labels(self) -> list[Label]:
        """The incidents as labels.jsonl has them."""
        return [
            Label(
                start=rfc3339(START_US + one.minute * MINUTE_US + one.late * SLICE_US),
                end=rfc3339(START_US + (one.minute + one.minutes) * MINUTE_US + one.late * SLICE_US),
                kind=one.kind,
                target=EVERY_MODEL if one.every_model else self.models[one.models[0]],
                difficulty=one.difficulty,
                fast=one.fast,
                dimension=one.dimension,
                value=one.value,
            )
            for one in self.planned
        ]

    @property
    def control(self) -> list[ControlEvent]:
        """What operators and deployment tools said, in order of time."""
        found: list[ControlEvent] = []
        for number, events in enumerate(self.turns):
            for index, turn in enumerate(events):
                if turn.kind == "deployment":
                    found.append(_deployment(self.models[number], f"v{index + 2}", turn.minute))
                elif turn.kind == "launch" and turn.announced:
                    found.append(_launch(self.models[number], turn, index))
        for number, one in enumerate(self.planned):
            if KINDS[one.kind].deployed:
                found += [
                    _deployment(self.models[model], f"bad-{number}", one.minute, one.late) for model in one.models
                ]
        for number, (model, minute, minutes) in enumerate(self.maintenances):
            start_us = START_US + minute * MINUTE_US
            found.append(
                Maintenance(
                    id=f"maintenance-{number}",
                    time_us=start_us - 10 * MINUTE_US,
                    start_us=start_us,
                    end_us=start_us + (minutes + 5) * MINUTE_US,
                    model=self.models[model],
                    reason="planned work",
                )
            )
        return sorted(found, key=lambda event: (event.time_us, event.id))

    def records(self) -> Iterator[SlicesEvent]:
        """The slices log: control events when they are due, each partition's slices in order, its mark after them."""
        queues = [_Queue(partition) for partition in range(PARTITIONS)]
        control = deque(enumerate(self.control))
        for first, packed in self._chunks():
            late = self._late(first // DAY_SLICES)
            for at in range(first, first + CHUNK_SLICES):
                while control and control[0][1].time_us <= START_US + at * SLICE_US:
                    offset, event = control.popleft()
                    yield Relayed(offset=offset, event=event)
                for queue, rows, behind in zip(queues, packed, late, strict=True):
                    queue.put(at, int(behind[at % DAY_SLICES]), rows.get(at, ()))
                    yield from queue.due(at)
        for queue in queues:
            yield from queue.due(self.minutes * SLICES_A_MINUTE + SKEW_SLICES_MAX)

    def _chunks(self) -> Iterator[tuple[int, list[Rows]]]:
        """The first slice of each stretch of CHUNK_SLICES, and what lies in it partition by partition."""
        models = range(len(PROFILES))
        carried = {(number, partition): pack.Carried() for number in models for partition in range(PARTITIONS)}
        for day in range(self.minutes // DAY_MINUTES):
            holes = self._holes(day)
            drawn = [
                requests.draw(self._rng(5, number, day), self.courses[number], day, self._disturbances(number))
                for number in models
            ]
            for first in range(day * DAY_SLICES, (day + 1) * DAY_SLICES, CHUNK_SLICES):
                found: list[Rows] = [{} for _ in range(PARTITIONS)]
                for number, partition in carried:
                    mine = pack.share(drawn[number], first, CHUNK_SLICES, partition, PARTITIONS)
                    rows, carried[number, partition] = pack.pack(
                        mine, carried[number, partition], self.courses[number].customers, first, CHUNK_SLICES
                    )
                    for row in rows:
                        if row.at not in holes[partition]:
                            found[partition].setdefault(row.at, []).append((PROFILES[number].model, row))
                yield first, found

    def _disturbances(self, number: int) -> tuple[Disturbance, ...]:
        mine = [hit for one in self.planned for hit in one.disturbances if hit.model == number]
        for model, minute, minutes in self.maintenances:
            if model == number:
                depth = np.ones(minutes * SLICES_A_MINUTE)
                mine.append(Disturbance(number, minute * SLICES_A_MINUTE, depth, requests=0.1, errors=0.4))
        return tuple(mine)

    def _holes(self, day: int) -> list[frozenset[int]]:
        """Slices that one partition never published, ten to thirty seconds at a time."""
        rng = self._rng(6, day)
        found: list[set[int]] = [set() for _ in range(PARTITIONS)]
        for _ in range(int(rng.poisson(HOLES_A_WEEK / 7))):
            first = day * DAY_SLICES + int(rng.integers(DAY_SLICES))
            found[int(rng.integers(PARTITIONS))].update(range(first, first + int(rng.integers(1, HOLE_SLICES_MAX + 1))))
        return [frozenset(holes) for holes in found]

    def _late(self, day: int) -> list[Integers]:
        """By how many slices each partition is behind in the log; the watermark waits for the slowest."""
        rng = self._rng(7, day)
        late = [np.zeros(DAY_SLICES, dtype=np.int64) for _ in range(PARTITIONS)]
        for _ in range(int(rng.poisson(SKEWS_A_WEEK / 7))):
            first = int(rng.integers(DAY_SLICES))
            behind = int(rng.integers(1, SKEW_SLICES_MAX + 1))
            late[int(rng.integers(PARTITIONS))][first : first + int(rng.integers(60, 1_080))] = behind
        return late

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])


class _Queue:
    """The records of one traffic partition, numbered, until they are due: a partition may be behind the others."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._offset = 0
        self._waiting: deque[tuple[int, list[SlicesEvent]]] = deque()

    def put(self, at: int, behind: int, rows: Iterable[tuple[str, pack.Packed]]) -> None:
        """The slices that end with slice number `at`, and the mark that says so; never before what came earlier."""
        start_us = START_US + at * SLICE_US
        end_us = start_us + SLICE_US
        self._offset += 1
        records: list[SlicesEvent] = [
            Slice(
                id=f"{self._partition}-{self._offset}-{index}",
                time_us=end_us,
                model=model,
                start_us=start_us,
                partition=self._partition,
                offset=self._offset,
                revision=0,
                last_request_us=start_us + row.last_request if row.last_request >= 0 else 0,
                last_completion_us=start_us + row.last_completion if row.last_completion >= 0 else 0,
                **row.values,
            )
            for index, (model, row) in enumerate(rows)
        ]
        mark_id = f"{self._partition}-{self._offset}-{len(records)}"
        records.append(
            Mark(id=mark_id, time_us=end_us, partition=self._partition, partitions=PARTITIONS, offset=self._offset)
        )
        earliest = self._waiting[-1][0] if self._waiting else 0
        self._waiting.append((max(at + behind, earliest), records))

    def due(self, at: int) -> Iterator[SlicesEvent]:
        """What has waited long enough."""
        while self._waiting and self._waiting[0][0] <= at:
            yield from self._waiting.popleft()[1]


def _deployment(model: str, version: str, minute: int, late: int = 0) -> Deployment:
    time_us = START_US + minute * MINUTE_US + late * SLICE_US
    return Deployment(id=f"deployment-{model}-{version}", time_us=time_us, model=model, version=version, stable="v1")


def _launch(model: str, turn: Turn, index: int) -> Launch:
    """Announced a day before, for somewhat more than comes."""
    start_us, end_us = (START_US + minute * MINUTE_US for minute in (turn.minute, turn.end + 30))
    return Launch(
        id=f"launch-{model}-{index}",
        time_us=start_us - 24 * 60 * MINUTE_US,
        start_us=start_us,
        end_us=end_us,
        factor=1.3 * (1.0 + turn.size),
        model=model,
        reason="a customer goes live",
    )
