"""Where the windows stage keeps its slices until they cannot count any more: in many small values, so that a checkpoint
writes only what changed. A cell is one (slice start, traffic partition, model) and holds the latest slice.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from pipeline.stage import State
from topics.links import Moment
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
    """Where a minute's cells lie: the models seen -> the last revision published, and the slice starts seen."""

    models: dict[str, int] = {}
    starts: list[int] = []


class Due(Struct, tag="due"):
    """Corrections that take effect at one boundary, by cell and offset."""

    slices: dict[str, Slice] = {}


class Known(Struct, tag="known"):
    """The models reported on -> the start of the last minute in which they had traffic."""

    models: dict[str, int] = {}


def cell_key(start_us: int, partition: int, model: str) -> str:
    return f"{start_us} {partition} {model}"


def _prefixes(progress: Progress, minute: Minute) -> list[str]:
    """What the keys of a minute's cells begin with: one for each slice start and partition, the model follows."""
    return [cell_key(start_us, number, "") for start_us in minute.starts for number in range(progress.partitions)]


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
        minute.models.setdefault(part.model, 0)
        minute.starts = sorted({*minute.starts, part.start_us})
        state.put(minute_key(start_us), minute)
    if start_us not in progress.minutes:
        progress.minutes = sorted([*progress.minutes, start_us])
    return True


def slices_of(
    state: State[Any], progress: Progress, start_us: int, models: Iterable[str]
) -> Iterator[tuple[str, list[Slice]]]:
    """Each of the models with its latest slices of a minute."""
    minute: Minute = state.get(minute_key(start_us)) or Minute()
    prefixes = _prefixes(progress, minute)
    for model in models:
        cells = [state.values.get(prefix + model) for prefix in prefixes] if model in minute.models else []
        yield model, [cell for cell in cells if cell is not None]


def merged_moments(
    state: State[Any], progress: Progress, start_us: int, end_us: int, minute_us: int, models: Iterable[str]
) -> list[Moment]:
    """What each of the models counted in [start_us, end_us), zeros included, in their order."""
    minute: Minute = state.get(minute_key(start_us - start_us % minute_us)) or Minute()
    starts = [at_us for at_us in minute.starts if start_us <= at_us < end_us]
    prefixes = [cell_key(at_us, number, "") for at_us in starts for number in range(progress.partitions)]
    return [_moment(state, prefixes if model in minute.models else (), model, start_us, end_us) for model in models]


def _moment(state: State[Any], prefixes: Iterable[str], model: str, start_us: int, end_us: int) -> Moment:
    requests = completions = errors = last_request_us = last_completion_us = 0
    for prefix in prefixes:
        cell: Slice | None = state.values.get(prefix + model)
        if cell is not None:
            requests += cell.requests
            completions += cell.completions
            errors += cell.errors
            last_request_us = max(last_request_us, cell.last_request_us)
            last_completion_us = max(last_completion_us, cell.last_completion_us)
    return Moment(
        model=model,
        start_us=start_us,
        end_us=end_us,
        requests=requests,
        completions=completions,
        errors=errors,
        last_request_us=last_request_us,
        last_completion_us=last_completion_us,
    )


def postpone(state: State[Any], progress: Progress, part: Slice, boundary_us: int) -> None:
    """Let a correction wait for its boundary."""
    due: Due = state.get(due_key(boundary_us)) or Due()
    key = f"{cell_key(part.start_us, part.partition, part.model)} {part.offset}"
    if key in due.slices:
        return
    due.slices[key] = part
    state.put(due_key(boundary_us), due)
    if boundary_us not in progress.due:
        progress.due = sorted([*progress.due, boundary_us])


def forget_minutes(state: State[Any], progress: Progress, kept_from_us: int) -> None:
    """Drop the minutes that start before `kept_from_us`, with their cells."""
    while progress.minutes and progress.minutes[0] < kept_from_us:
        key = minute_key(progress.minutes.pop(0))
        minute: Minute = state.values[key]
        for prefix in _prefixes(progress, minute):
            for model in minute.models:
                state.drop(prefix + model)
        state.drop(key)
