"""One traffic partition's share of every ten seconds of every model, published whole when its watermark has passed.

    event time  ──────┬──────────┬──────────┬───────►
    slices            │  slice   │  slice   │               watermark = latest event time - lateness_us
    watermark                    ▲                          on passing a slice's end (a *boundary*), in this order:
                                 │                          slices that end here (revision 0), corrections, one mark

A request counts when it arrives, all else (errors, latency, tokens, cost) when the completion does. Latencies are of
answers, not of failures, which would make a model that fails fast look quick.

Late events, behind the mark, are counted in `late_events`; the changed slice is published again, whole, with the next
revision, at the next boundary rather than at once: a burst of late events costs one record a slice, not one an event,
and the correction's `time_us` (the boundary after the last mark, however far time then jumps) says from which mark on
it holds. After `revisable_us`: a dead letter.

`top_organisations` are those with the most tokens: the input tokens of the requests that arrived plus the output tokens
of the answers that ended in the slice. A surge shows when it is sent, and again when it is answered.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from msgspec import Struct

from pipeline.prices import Price, cost_microusd
from pipeline.sketch import Counts, add, to_record
from pipeline.stage import EVERY_PARTITION, Batch, Output, State
from topics.codec import rfc3339
from topics.control import Relayed
from topics.fields import MINUTE_US, SECOND_US
from topics.records import DeadLetter, Mark, OrganisationTokens, Slice
from topics.table import BY_ALIAS
from topics.traffic import Completion, Request, Tick

CLOCK = "clock"
OTHER_MODELS = "(other models)"
TRAFFIC = BY_ALIAS["traffic"].name


class SlicesParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Times in microseconds. `lateness_us`: how long a slice waits for events that are out of order.

    `models_max` bounds the models in a slice (more are counted together as "(other models)"), `organisations_max` the
    organisations followed in a slice (beyond, the half with the fewest tokens is forgotten).
    """

    slice_us: int = 10 * SECOND_US
    lateness_us: int = 5 * SECOND_US
    revisable_us: int = 10 * MINUTE_US
    prices: dict[str, Price] = {}
    default_price: Price = Price()
    models_max: int = 1_000
    organisations_max: int = 512
    top_organisations: int = 8

    def __post_init__(self) -> None:
        if self.slice_us < 1 or self.models_max < 1 or self.organisations_max < 2:
            raise ValueError("slices.slice_us, models_max must be at least 1, organisations_max at least 2")


class Clock(Struct, tag="clock"):
    """`latest_us`: highest event time seen. `marked_us`: the boundary up to which slices are out; None before any.

    `kept_us`: slices that start earlier are final. `corrections`: (start, model) of published slices that late events
    have changed since the last boundary.
    """

    latest_us: int = 0
    marked_us: int | None = None
    kept_us: int = 0
    corrections: list[tuple[int, str]] = []


class Models(Struct, tag="models"):
    """Which models have a cell in the slice that starts at the key's time."""

    names: list[str] = []


class Cell(Struct, tag="cell"):
    """What one slice of one model has counted. `revision`: the next to be published; `changed`: it is a correction."""

    revision: int = 0
    changed: bool = False
    requests: int = 0
    completions: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0
    late_events: int = 0
    first_token_us: Counts = {}
    duration_us: Counts = {}
    organisations: dict[str, int] = {}


Value = Clock | Models | Cell


class Slices:
    """State: a `Cell` for each (start, model) that may still change, the `Models` of each start, and the `Clock`."""

    values: ClassVar[Any] = Value

    def __init__(self, params: SlicesParams) -> None:
        self._params = params

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        outputs: list[Output] = []
        clock = state.get(CLOCK) or Clock()
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            kind = type(event)
            if kind is Relayed:
                continue  # concerns quotas, and its time is not this partition's
            if kind is not Tick and (letter := self._count(state, clock, batch.partition, offset, event)):
                outputs.append(letter)
            if event.time_us > clock.latest_us or clock.marked_us is None:
                clock.latest_us = max(clock.latest_us, event.time_us)
                outputs += self._advance(state, clock, batch, offset)
        if batch.events:
            state.put(CLOCK, clock)
        return outputs

    def _count(
        self, state: State[Any], clock: Clock, partition: int, offset: int, event: Request | Completion
    ) -> Output | None:
        start_us = event.time_us - event.time_us % self._params.slice_us
        late = clock.marked_us is not None and start_us + self._params.slice_us <= clock.marked_us
        if late and start_us < clock.kept_us:
            return _too_late(partition, offset, event, clock.kept_us)
        key = f"{start_us} {event.model}"
        cell = state.values.get(key)
        if cell is None:
            key, cell = self._opened(state, start_us, event.model)
        if isinstance(event, Request):
            self._count_request(cell, event)
        else:
            self._count_completion(cell, event)
        if late:
            _note_late(clock, cell, start_us, key)
        state.put(key, cell)
        return None

    def _opened(self, state: State[Any], start_us: int, model: str) -> tuple[str, Cell]:
        """A new cell, or the common one of all models that are too many."""
        models: Models = state.get(str(start_us)) or Models()
        if len(models.names) >= self._params.models_max:
            model = OTHER_MODELS
        key = f"{start_us} {model}"
        if model not in models.names:
            models.names.append(model)
            state.put(str(start_us), models)
        return key, state.get(key) or Cell()

    def _count_request(self, cell: Cell, request: Request) -> None:
        cell.requests += 1
        self._count_tokens(cell, request.organisation, request.input_tokens)

    def _count_completion(self, cell: Cell, completion: Completion) -> None:
        params = self._params
        cell.completions += 1
        cell.input_tokens += completion.input_tokens
        cell.output_tokens += completion.output_tokens
        cell.cost_microusd += cost_microusd(completion, params.prices, params.default_price)
        self._count_tokens(cell, completion.organisation, completion.output_tokens)
        if completion.error_type:
            cell.errors += 1
            return
        if completion.first_token_s is not None:
            add(cell.first_token_us, round(completion.first_token_s * SECOND_US))
        if completion.duration_s is not None:
            add(cell.duration_us, round(completion.duration_s * SECOND_US))

    def _count_tokens(self, cell: Cell, organisation: str, tokens: int) -> None:
        organisations = cell.organisations
        organisations[organisation] = organisations.get(organisation, 0) + tokens
        if len(organisations) > self._params.organisations_max:
            cell.organisations = dict(_most(organisations, self._params.organisations_max // 2))

    def _advance(self, state: State[Any], clock: Clock, batch: Batch, offset: int) -> list[Output]:
        """Publish what the watermark has passed: slices, then corrections, then one mark for all boundaries passed."""
        slice_us = self._params.slice_us
        watermark_us = max(0, clock.latest_us - self._params.lateness_us)
        boundary_us = watermark_us - watermark_us % slice_us
        if clock.marked_us is not None and boundary_us <= clock.marked_us:
            return []
        marked_us = boundary_us if clock.marked_us is None else clock.marked_us
        starts = _starts(state, marked_us, boundary_us, slice_us)
        passed = [(start_us, model, start_us + slice_us) for start_us in starts for model in _models(state, start_us)]
        corrected = [(start_us, model, marked_us + slice_us) for start_us, model in sorted(clock.corrections)]
        outputs: list[Output] = []
        for start_us, model, at_us in passed + corrected:
            value = self._published(state, batch.partition, offset, len(outputs), start_us, model, at_us)
            outputs.append(Output(offset, "slices", model, value))
        clock.corrections = []
        clock.marked_us = boundary_us
        self._forget(state, clock)
        mark = Mark(
            id=f"{batch.partition}-{offset}-{len(outputs)}",
            time_us=boundary_us,
            partition=batch.partition,
            partitions=batch.partitions,
            offset=offset,
        )
        return [*outputs, Output(offset, "slices", EVERY_PARTITION, mark)]

    def _published(
        self, state: State[Any], partition: int, offset: int, index: int, start_us: int, model: str, at_us: int
    ) -> Slice:
        key = f"{start_us} {model}"
        cell: Cell = state.values[key]
        revision, cell.revision, cell.changed = cell.revision, cell.revision + 1, False
        state.put(key, cell)
        return Slice(
            id=f"{partition}-{offset}-{index}",
            time_us=at_us,
            model=model,
            start_us=start_us,
            partition=partition,
            offset=offset,
            revision=revision,
            requests=cell.requests,
            completions=cell.completions,
            errors=cell.errors,
            input_tokens=cell.input_tokens,
            output_tokens=cell.output_tokens,
            cost_microusd=cell.cost_microusd,
            late_events=cell.late_events,
            first_token_us=to_record(cell.first_token_us),
            duration_us=to_record(cell.duration_us),
            top_organisations=[
                OrganisationTokens(name, tokens)
                for name, tokens in _most(cell.organisations, self._params.top_organisations)
            ],
        )

    def _forget(self, state: State[Any], clock: Clock) -> None:
        """Drop the slices that no late event may change any more."""
        assert clock.marked_us is not None
        slice_us = self._params.slice_us
        horizon_us = max(0, clock.marked_us - self._params.revisable_us)
        horizon_us -= horizon_us % slice_us
        for start_us in _starts(state, clock.kept_us or horizon_us, horizon_us, slice_us):
            for model in _models(state, start_us):
                state.drop(f"{start_us} {model}")
            state.drop(str(start_us))
        clock.kept_us = horizon_us


def _note_late(clock: Clock, cell: Cell, start_us: int, key: str) -> None:
    """A slice that was published (or, without events, passed over) becomes a correction."""
    cell.late_events += 1
    cell.revision = max(cell.revision, 1)
    if not cell.changed:
        cell.changed = True
        clock.corrections.append((start_us, key.partition(" ")[2]))


def _starts(state: State[Any], begin_us: int, end_us: int, slice_us: int) -> Sequence[int]:
    """The starts in [begin_us, end_us) that may have cells; after a gap of days, only those that have."""
    every = range(begin_us, end_us, slice_us)
    if len(every) <= len(state.values):
        return every
    return sorted(int(key) for key in state.values if key.isdigit() and begin_us <= int(key) < end_us)


def _models(state: State[Any], start_us: int) -> list[str]:
    models: Models | None = state.get(str(start_us))
    return sorted(models.names) if models else []


def _most(organisations: dict[str, int], count: int) -> list[tuple[str, int]]:
    return sorted(organisations.items(), key=lambda item: (-item[1], item[0]))[:count]


def _too_late(partition: int, offset: int, event: Request | Completion, kept_us: int) -> Output:
    letter = DeadLetter(
        id=f"d-slices-{partition}-{offset}",
        time_us=event.time_us,
        topic=TRAFFIC,
        partition=partition,
        offset=offset,
        stage="slices",
        field="time_us",
        reason=f"too late for a correction: slices before {rfc3339(kept_us)} are final",
        size_bytes=0,  # the record is intact and lies in its topic; the stage sees it decoded
    )
    return Output(offset, "dead-letters", TRAFFIC, letter)
