"""One-minute windows per model over all traffic partitions; closed by their marks, corrected by revisions.

    traffic partition 0   s s s s s s│m60 . . . . s c│m70 . .        s: slice, c: correction, m: mark
    traffic partition 1   s s s . s s . . . │m60 s . . c│m70
                                             ▲ every partition has marked 60 s: the minute closes, revision 0
                                                        ▲ every partition has marked 70 s: revision 1 with both c

However the partitions' slices interleave in the log, the windows are the same: every decision waits for the *low
watermark*, the lowest mark of all traffic partitions, and takes exactly what was published up to it. A correction
carries the boundary it was published at and is applied when the low watermark reaches that, in order of boundaries,
all corrections of one boundary together; before its minute has closed it waits for the close. So revision 0 never
depends on how early a correction arrived, and neither do the later ones.

Revision 0 goes to subscribers and to detection; later ones to subscribers only, since detection judges a window once.
A model is reported every minute for `model_idle_us` after its last traffic, with zeros if need be, so that a drop to
nothing is seen. The first minute after a start may be partial, and is reported as what was seen of it.

The fast path: each time the low watermark passes a slice's end, every such model's *moment* (ten seconds, counts only)
goes to detection, idle models included, before the window of the minute that it completes. It is what was published up
to then: corrections change windows, never moments.

Repeated records do no harm: slices are absolute, and whatever is not newer than its partition's last mark was heard.
"""

from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import replace

from pipeline.merging import merged_window
from pipeline.minutes import (
    KNOWN,
    PROGRESS,
    Due,
    Known,
    Minute,
    Progress,
    due_key,
    forget_minutes,
    keep,
    merged_moments,
    minute_key,
    postpone,
    slices_of,
    was_heard,
)
from pipeline.sketch import SketchError, check_record
from pipeline.stage import Batch, Output, State
from topics.codec import rfc3339
from topics.fields import HOUR_US, MINUTE_US, SECOND_US
from topics.links import Moment
from topics.records import DeadLetter, Mark, MetricWindow, Slice
from topics.table import BY_ALIAS

SLICES = BY_ALIAS["slices"].name


class WindowsParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Times in microseconds. `window_us` must be a multiple of `moment_us`, and that of the slices' length.

    `revisable_us`: how long after its end a window can be corrected (the slices' own 10 minutes and a margin).
    `ahead_us_max`: how far a partition may run ahead of the slowest one before its slices become dead letters; it
    bounds what is held while one partition does not mark. `models_max` bounds the models that are reported on.
    """

    window_us: int = MINUTE_US
    moment_us: int = 10 * SECOND_US
    revisable_us: int = 12 * MINUTE_US
    model_idle_us: int = 24 * HOUR_US
    ahead_us_max: int = 24 * HOUR_US
    models_max: int = 10_000
    top_organisations: int = 8

    def __post_init__(self) -> None:
        if self.window_us < 1 or self.models_max < 1:
            raise ValueError("windows.window_us and models_max must be at least 1")
        if self.moment_us < 1 or self.window_us % self.moment_us:
            raise ValueError("windows.window_us must be a multiple of windows.moment_us")


Value = Progress | Minute | Due | Known | Slice


class Windows:
    """State: the latest `Slice` of each (start, partition, model) while it can count, and what points to them."""

    values: ClassVar[Any] = Value

    def __init__(self, params: WindowsParams) -> None:
        self._params = params

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        outputs: list[Output] = []
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            if isinstance(event, Slice):
                problem = self._take(state, event)
                if problem is not None:
                    outputs.append(_dead_letter(batch.partition, offset, event, *problem))
            elif isinstance(event, Mark):
                outputs += _numbered(self._mark(state, event), batch.partition, offset)
            else:
                outputs.append(Output(offset, "closed", event.event.id, event))
        return outputs

    def _take(self, state: State[Any], part: Slice) -> tuple[str, str] | None:
        """Keep a slice for its minute, or for the boundary at which it corrects; else the field and what is wrong."""
        progress = state.get(PROGRESS) or Progress()
        if was_heard(progress, part):
            return None
        if (problem := self._problem(progress, part)) is not None:
            return problem
        start_us = part.start_us - part.start_us % self._params.window_us
        end_us = start_us + self._params.window_us
        done_us = progress.done_us
        if part.revision == 0 and (done_us is None or end_us > done_us):
            keep(state, progress, part, self._params.window_us)
        else:
            postpone(state, progress, part, max(part.time_us, end_us, -1 if done_us is None else done_us + 1))
        state.put(PROGRESS, progress)
        return None

    def _problem(self, progress: Progress, part: Slice) -> tuple[str, str] | None:
        params = self._params
        end_us = part.start_us - part.start_us % params.window_us + params.window_us
        if part.time_us - end_us > params.revisable_us:
            return "time_us", f"too late for a correction: the window ended at {rfc3339(end_us)}"
        slowest_us = progress.first_us if progress.done_us is None else progress.done_us
        if slowest_us is not None and part.start_us - slowest_us > params.ahead_us_max:
            reason = f"too far ahead: some traffic partition has not marked anything after {rfc3339(slowest_us)}"
            return "start_us", f"{reason}; a tick in every partition moves it on"
        try:
            check_record(part.first_token_us)
            check_record(part.duration_us)
        except SketchError as error:
            return "duration_us", f"not a sketch: {error}"
        return None

    def _mark(self, state: State[Any], mark: Mark) -> list[MetricWindow | Moment]:
        """Take note of a mark and do all that the low watermark has now reached, boundary by boundary."""
        progress = state.get(PROGRESS) or Progress()
        before = progress.marks.get(mark.partition)
        if before is not None and mark.offset <= before[1]:
            return []
        progress.marks[mark.partition] = (max(mark.time_us, before[0] if before else 0), mark.offset)
        progress.partitions = max(progress.partitions, mark.partitions)
        if before is None and progress.done_us is None:
            progress.first_us = mark.time_us if progress.first_us is None else min(progress.first_us, mark.time_us)
        state.put(PROGRESS, progress)
        if len(progress.marks) < progress.partitions or progress.first_us is None:
            return []
        low_us = min(time_us for time_us, _ in progress.marks.values())
        if progress.done_us is None:
            progress.done_us = progress.first_us - progress.first_us % self._params.window_us
        return self._catch_up(state, progress, low_us)

    def _catch_up(self, state: State[Any], progress: Progress, low_us: int) -> list[MetricWindow | Moment]:
        passed: list[MetricWindow | Moment] = []
        window_us, moment_us = self._params.window_us, self._params.moment_us
        assert progress.done_us is not None
        while progress.done_us < low_us:
            done_us = progress.done_us
            end_us = done_us - done_us % window_us + window_us
            moment_end_us = done_us - done_us % moment_us + moment_us
            due_us = max(progress.due[0], done_us + 1) if progress.due else low_us
            boundary_us = min(moment_end_us, low_us, due_us)
            if boundary_us == moment_end_us:
                passed += self._moments(state, progress, moment_end_us)
            if boundary_us == end_us:
                passed += self._close(state, progress, end_us)
            while progress.due and progress.due[0] <= boundary_us:
                passed += self._correct(state, progress, progress.due[0])
            progress.done_us = boundary_us
        return passed

    def _moments(self, state: State[Any], progress: Progress, end_us: int) -> list[Moment]:
        """Of the models known by the last minute: a model that is new waits for its first window."""
        known: Known | None = state.get(KNOWN)
        if known is None:
            return []
        start_us = end_us - self._params.moment_us
        return merged_moments(state, progress, start_us, end_us, self._params.window_us, sorted(known.models))

    def _close(self, state: State[Any], progress: Progress, end_us: int) -> list[MetricWindow]:
        start_us = end_us - self._params.window_us
        known: Known = state.get(KNOWN) or Known()
        minute: Minute | None = state.get(minute_key(start_us))
        before = dict(known.models)
        known.models.update(dict.fromkeys(minute.models if minute else (), start_us))
        self._forget_models(known, start_us)
        if known.models != before:
            state.put(KNOWN, known)
        forget_minutes(state, progress, start_us - self._params.revisable_us)
        return self._windows(state, progress, end_us, start_us, dict.fromkeys(sorted(known.models), 0))

    def _correct(self, state: State[Any], progress: Progress, boundary_us: int) -> list[MetricWindow]:
        due: Due = state.get(due_key(boundary_us)) or Due()
        changed: dict[int, set[str]] = {}
        for part in sorted(due.slices.values(), key=lambda part: (part.partition, part.offset)):
            if keep(state, progress, part, self._params.window_us):
                changed.setdefault(part.start_us - part.start_us % self._params.window_us, set()).add(part.model)
        state.drop(due_key(boundary_us))
        progress.due.remove(boundary_us)
        windows: list[MetricWindow] = []
        for start_us, models in sorted(changed.items()):
            revisions = self._revised(state, start_us, sorted(models))
            windows += self._windows(state, progress, boundary_us, start_us, revisions)
        return windows

    def _revised(self, state: State[Any], start_us: int, models: list[str]) -> dict[str, int]:
        minute: Minute = state.values[minute_key(start_us)]
        revisions = {model: minute.models[model] + 1 for model in models}
        minute.models.update(revisions)
        state.put(minute_key(start_us), minute)
        return revisions

    def _windows(
        self, state: State[Any], progress: Progress, time_us: int, start_us: int, revisions: dict[str, int]
    ) -> list[MetricWindow]:
        """One minute's windows of these models, in their order."""
        return [
            merged_window(
                slices,
                time_us=time_us,
                model=model,
                start_us=start_us,
                end_us=start_us + self._params.window_us,
                revision=revisions[model],
                top=self._params.top_organisations,
            )
            for model, slices in slices_of(state, progress, start_us, revisions)
        ]

    def _forget_models(self, known: Known, start_us: int) -> None:
        """Models that have been idle for too long, or are too many: those that have been idle longest."""
        active = {model: last for model, last in known.models.items() if start_us - last < self._params.model_idle_us}
        if len(active) > self._params.models_max:
            latest = sorted(active.items(), key=lambda item: (-item[1], item[0]))
            active = dict(latest[: self._params.models_max])
        known.models = active


def _numbered(passed: list[MetricWindow | Moment], partition: int, offset: int) -> list[Output]:
    """Give the windows their coordinates; revision 0 goes to detection as well, and moments nowhere else."""
    outputs: list[Output] = []
    index = -1
    for one in passed:
        if isinstance(one, Moment):
            outputs.append(Output(offset, "closed", one.model, one))
            continue
        index += 1
        window = replace(one, id=f"{partition}-{offset}-{index}")
        outputs.append(Output(offset, "windows", window.model, window))
        if window.revision == 0:
            outputs.append(Output(offset, "closed", window.model, window))
    return outputs


def _dead_letter(partition: int, offset: int, part: Slice, field: str, reason: str) -> Output:
    letter = DeadLetter(
        id=f"d-windows-{partition}-{offset}",
        time_us=part.time_us,
        topic=SLICES,
        partition=partition,
        offset=offset,
        stage="windows",
        field=field,
        reason=reason,
        size_bytes=0,  # the record is intact and lies in its topic; the stage sees it decoded
    )
    return Output(offset, "dead-letters", SLICES, letter)
