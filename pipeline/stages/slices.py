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

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from msgspec import Struct

from pipeline.cells import Cell, Place, forget_lightest, note_failure, publish, settle
from pipeline.prices import Price, rates_of
from pipeline.stage import EVERY_PARTITION, Batch, Output, State
from topics.codec import rfc3339
from topics.control import Relayed
from topics.fields import MINUTE_US, SECOND_US
from topics.records import DeadLetter, Mark
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
    """`latest_us`: highest event time seen; -1 before any. `marked_us`: the boundary up to which slices are out.

    `kept_us`: slices that start earlier are final. `corrections`: (start, model) of published slices that late events
    have changed since the last boundary.
    """

    latest_us: int = -1
    marked_us: int | None = None
    kept_us: int = 0
    corrections: list[tuple[int, str]] = []


class Models(Struct, tag="models"):
    """Which models have a cell in the slice that starts at the key's time."""

    names: list[str] = []


Value = Clock | Models | Cell


class Slices:
    """State: a `Cell` for each (start, model) that may still change, the `Models` of each start, and the `Clock`."""

    values: ClassVar[Any] = Value

    def __init__(self, params: SlicesParams) -> None:
        self._params = params
        self._rates = {model: rates_of(price) for model, price in params.prices.items()}
        self._default_rates = rates_of(params.default_price)

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        outputs: list[Output] = []
        clock = state.get(CLOCK) or Clock()
        events = zip(batch.offsets, batch.events, strict=True)
        passing: int | None = 0
        while passing is not None:
            places: list[Place] = []
            passing = self._place(state, clock, batch.partition, events, places, outputs)
            if places:
                settle(places, self._rates, self._default_rates)
            if passing is not None:
                outputs += self._advance(state, clock, batch, passing)
        if batch.events:
            state.put(CLOCK, clock)
        return outputs

    def _place(
        self,
        state: State[Any],
        clock: Clock,
        partition: int,
        events: Iterator[tuple[int, Any]],
        places: list[Place],
        outputs: list[Output],
    ) -> int | None:
        """Put events into places up to one that moves the watermark past a boundary: its offset, or None at the end.

        The loop over all events: it is in one piece, and reads an attribute where the type is known, because it costs
        as much as all the rest. Organisations are counted here, since which are forgotten depends on the order.
        """
        slice_us, organisations_max = self._params.slice_us, self._params.organisations_max
        latest_us = clock.latest_us
        passing_us = 0 if clock.marked_us is None else clock.marked_us + slice_us + self._params.lateness_us
        start_us = end_us = 0  # of the slice whose places are `by_model`: the last event's
        by_model: dict[str, Place] = {}
        slices: dict[int, dict[str, Place]] = {}
        passing: int | None = None
        for offset, event in events:
            kind = type(event)
            if kind is Completion:
                time_us, model = event.time_us, event.model
                organisation, tokens = event.organisation, event.output_tokens
            elif kind is Request:
                time_us, model = event.time_us, event.model
                organisation, tokens = event.organisation, event.input_tokens
            elif kind is Relayed:
                continue  # concerns quotas, and its time is not this partition's
            else:
                time_us = event.time_us
            if kind is not Tick:
                if not start_us <= time_us < end_us:
                    if time_us < clock.kept_us:
                        outputs.append(_too_late(partition, offset, event, clock.kept_us))
                        continue
                    start_us = time_us - time_us % slice_us
                    end_us = start_us + slice_us
                    by_model = slices.setdefault(start_us, {})
                place = by_model.get(model)
                if place is None:
                    place = by_model[model] = (self._opened(state, clock, start_us, model), [], [])
                    places.append(place)
                cell, requests, completions = place
                if kind is Completion:
                    completions.append(event)
                    if event.error_type:
                        note_failure(cell, organisation, organisations_max)
                else:
                    requests.append(event)
                organisations = cell.organisations
                if organisation in organisations:
                    organisations[organisation] += tokens
                else:
                    organisations[organisation] = tokens
                    if len(organisations) > organisations_max:
                        forget_lightest(cell, organisations_max)
                if cell.changed:
                    cell.late_events += 1
            if time_us > latest_us:
                latest_us = time_us
                if time_us >= passing_us:
                    passing = offset
                    break
        clock.latest_us = latest_us
        return passing

    def _opened(self, state: State[Any], clock: Clock, start_us: int, model: str) -> Cell:
        """The model's cell in this slice, or the common one of all models that are too many."""
        key = f"{start_us} {model}"
        cell: Cell | None = state.values.get(key)
        if cell is None:
            key, cell = self._new_cell(state, start_us, model)
        if clock.marked_us is not None and start_us + self._params.slice_us <= clock.marked_us:
            _note_late(clock, cell, start_us, key)
        state.put(key, cell)
        return cell

    def _new_cell(self, state: State[Any], start_us: int, model: str) -> tuple[str, Cell]:
        models: Models = state.get(str(start_us)) or Models()
        if len(models.names) >= self._params.models_max:
            model = OTHER_MODELS
        key = f"{start_us} {model}"
        cell: Cell | None = state.get(key)
        if cell is None:
            cell = Cell()
            models.names.append(model)
            state.put(str(start_us), models)
        return key, cell

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
            key = f"{start_us} {model}"
            cell: Cell = state.values[key]
            where = (batch.partition, offset, len(outputs))
            value = publish(cell, where, start_us, model, at_us, self._params.top_organisations)
            state.put(key, cell)
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
