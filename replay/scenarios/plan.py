"""Where the incidents lie: every kind at every difficulty once a week, none before the second day.

Lengths are lognormal with the median (69 minutes) and the quarter (30 to 172) that 235 incidents of three providers had
in 2021-2023 (Chu et al., ICPE 2025; replay/incidents.py), cut to the kind's range: a shorter one is harder to catch in
time, and a week must hold 39 of them beside enough that is quiet.
"""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from replay.scenarios.course import DAY_MINUTES, WEEK_MINUTES, Course
from replay.scenarios.disturb import SLICES_A_MINUTE, Disturbance
from replay.scenarios.kinds import DIFFICULTIES, KINDS, Difficulty, Kind, Scene

EVERY_MODEL = "*"
LENGTH_MEDIAN, LENGTH_SIGMA = 69.0, 1.24  # (ln 69 - ln 30) / 0.674 = 1.24
GAP_MINUTES = 75
WARM_UP_MINUTES = DAY_MINUTES
ATTEMPTS_MAX = 2_000


class Label(Struct, frozen=True, forbid_unknown_fields=True):
    """One incident as written to labels.jsonl. Times are ISO 8601. `target`: a model, or `*` for all of them.

    `fast`: an outage or a storm that ten seconds of a busy model show. `dimension` and `value` name the region or the
    organisation that is the cause, where one is.
    """

    start: str
    end: str
    kind: str
    target: str
    difficulty: Difficulty
    fast: bool
    dimension: str = ""
    value: str = ""


class Planned(Struct, frozen=True):
    """One incident with what it does. `minute` from the scenario's start, `late` slices into it; `models` by number."""

    kind: str
    difficulty: Difficulty
    minute: int
    late: int
    minutes: int
    models: tuple[int, ...]
    disturbances: tuple[Disturbance, ...]
    dimension: str = ""
    value: str = ""
    fast: bool = False
    every_model: bool = False


def plan(
    rng: np.random.Generator, courses: Sequence[Course], weeks: int, taken: Sequence[tuple[int, int, int]] = ()
) -> tuple[Planned, ...]:
    """The incidents of `weeks` weeks in order of start. `taken`: (model, minute, minutes) that must stay free."""
    busy = [np.zeros(weeks * WEEK_MINUTES + GAP_MINUTES, dtype=bool) for _ in courses]
    for model, minute, minutes in taken:
        busy[model][max(minute - GAP_MINUTES, 0) : minute + minutes + GAP_MINUTES] = True
    found: list[Planned] = []
    for week in range(weeks):
        wanted = [(kind, difficulty) for kind in KINDS.values() for difficulty in DIFFICULTIES]
        wanted.sort(key=lambda pair: not pair[0].every_model)  # those that need every model first, then at random
        tail = wanted[len(DIFFICULTIES) :]
        rng.shuffle(tail)
        for kind, difficulty in [*wanted[: len(DIFFICULTIES)], *tail]:
            if one := _placed(rng, courses, busy, week, kind, difficulty):
                found.append(one)
    return tuple(sorted(found, key=lambda one: (one.minute, one.models)))


def _placed(
    rng: np.random.Generator,
    courses: Sequence[Course],
    busy: list[np.ndarray],
    week: int,
    kind: Kind,
    difficulty: Difficulty,
) -> Planned | None:
    """The first place drawn that is free and has traffic enough; None when a week is full."""
    length = float(np.exp(math.log(LENGTH_MEDIAN) + LENGTH_SIGMA * rng.standard_normal()))
    minutes = int(min(max(length, kind.minutes[0]), kind.minutes[1]))
    late = int(rng.integers(SLICES_A_MINUTE))
    everywhere = kind.every_model and bool(rng.random() < 0.5)
    first = max(week * WEEK_MINUTES, WARM_UP_MINUTES)
    for _ in range(ATTEMPTS_MAX):
        minute = int(rng.integers(first, (week + 1) * WEEK_MINUTES - minutes - GAP_MINUTES))
        models = range(len(courses)) if everywhere else (int(rng.integers(len(courses))),)
        scenes = [Scene(number, courses[number], minute, minutes, late) for number in models]
        if all(_fits(scene, busy[scene.number], kind) for scene in scenes):
            break
    else:
        return None
    for scene in scenes:
        busy[scene.number][minute - GAP_MINUTES : minute + minutes + GAP_MINUTES] = True
    made = [kind.make(rng, scene, kind.sizes[DIFFICULTIES.index(difficulty)]) for scene in scenes]
    return Planned(
        kind=kind.name,
        difficulty=difficulty,
        minute=minute,
        late=late,
        minutes=minutes,
        models=tuple(models),
        disturbances=tuple(hit for one in made for hit in one.disturbances),
        dimension=made[0].dimension,
        value=made[0].value,
        fast=made[0].fast,
        every_model=everywhere,
    )


def _fits(scene: Scene, busy: np.ndarray, kind: Kind) -> bool:
    free = not busy[scene.minute : scene.minute + scene.minutes].any()
    return free and scene.requests >= kind.requests_min
