"""Where the windows stage keeps its slices until they cannot count any more: in many small values, so that a checkpoint
writes only what changed. A cell is one (slice start, traffic partition, model) and holds the latest slice.
"""

from typing import Any

from msgspec import Struct

from pipeline.stage import State
from topics.records import Slice

PROGRESS, KNOWN = "progress", "known"


class Progress(Struct, tag="progress"):
    """How far each traffic partition has come, and what is done with.

    `marks`: traffic partition -> (marked up to, at which offset). `first_us`: the lowest of the partitions' first
    marks. `done_us`: the low watermark that has been acted on; None until every partition has marked. `minutes`: the
    starts of minutes with cells, `due`: the boundaries with corrections waiting; both ascending.
    """

    partitions: int = 0
    marks: dict[int, tuple[int, int]] = {}
    first_us: int | None = None
    done_us: int | None = None
    minutes: list[int] = []
    due: list[int] = []


class Minute(Struct, tag="minute"):
    """Where a minute's cells lie: the models and slice starts seen. `revisions`: the last one above 0 by model."""

    models: list[str] = []
    starts: list[int] = []
    revisions: dict[str, int] = {}


class Due(Struct, tag="due"):
    """Corrections that take effect at one boundary."""

    slices: list[Slice] = []


class Known(Struct, tag="known"):
    """The models reported on -> the start of the last minute in which they had traffic."""

    models: dict[str, int] = {}


def cell_key(start_us: int, partition: int, model: str) -> str:
    return f"{start_us} {partition} {model}"


def minute_key(start_us: int) -> str:
    return f"minute {start_us}"


def due_key(boundary_us: int) -> str:
    return f"due {boundary_us}"


def was_heard(progress: Progress, part: Slice) -> bool:
    """A partition's mark comes after all slices that it published before: what is not newer is a repetition."""
    mark = progress.marks.get(part.partition)
    return mark is not None and part.offset <= mark[1]


def keep(state: State[Any], progress: Progress, part: Slice, window_us: int) -> bool:
    """Store the slice in its cell unless one as late is there; whether it was stored."""
    key = cell_key(part.start_us, part.partition, part.model)
    held: Slice | None = state.get(key)
    if held is not None and held.offset >= part.offset:
        return False
    state.put(key, part)
    start_us = part.start_us - part.start_us % window_us
    minute: Minute = state.get(minute_key(start_us)) or Minute()
    if part.model not in minute.models or part.start_us not in minute.starts:
        minute.models = sorted({*minute.models, part.model})
        minute.starts = sorted({*minute.starts, part.start_us})
        state.put(minute_key(start_us), minute)
    if start_us not in progress.minutes:
        progress.minutes = sorted([*progress.minutes, start_us])
    return True


def postpone(state: State[Any], progress: Progress, part: Slice, boundary_us: int) -> None:
    """Let a correction wait for its boundary."""
    due: Due = state.get(due_key(boundary_us)) or Due()
    if part in due.slices:
        return
    due.slices.append(part)
    state.put(due_key(boundary_us), due)
    if boundary_us not in progress.due:
        progress.due = sorted([*progress.due, boundary_us])


def forget_minutes(state: State[Any], progress: Progress, kept_from_us: int) -> None:
    """Drop the minutes that start before `kept_from_us`, with their cells."""
    while progress.minutes and progress.minutes[0] < kept_from_us:
        key = minute_key(progress.minutes.pop(0))
        minute: Minute = state.values[key]
        for start_us in minute.starts:
            for model in minute.models:
                for partition in range(progress.partitions):
                    state.drop(cell_key(start_us, partition, model))
        state.drop(key)
