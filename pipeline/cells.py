"""What one slice of one model has counted, how completions are counted into it, and how it is published.

A batch's completions are first put into *places*, one for each (slice, model) that it touches; then each place is
settled by one loop without calls, and the latencies of all by one search for their buckets.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from pipeline.heaviest import heaviest, ranked
from pipeline.prices import Rates
from pipeline.sketch import Counts, add_seconds, to_record
from pipeline.tallies import Tallies, answered, bound, count_requests, parts_of
from topics.records import Slice
from topics.traffic import Completion, Request


class Cell(Struct, tag="cell", gc=False):
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
    last_request_us: int = 0
    last_completion_us: int = 0
    first_token_us: Counts = {}
    duration_us: Counts = {}
    organisations: dict[str, int] = {}
    failures: dict[str, int] = {}
    asked: Tallies = field(default_factory=Tallies)
    answered: Tallies = field(default_factory=Tallies)


Coordinate = tuple[int, int, int]
"""Partition, offset and index of an output."""

Place = tuple[Cell, list[Request], list[Completion]]
"""What a batch has brought for one model's slice. Models that share a cell (they were too many) keep their places."""


def settle(places: Iterable[Place], rates: Mapping[str, Rates], default: Rates) -> None:
    """Count the completions into their cells (organisations have been). `rates`: what each model's tokens cost."""
    measured: list[tuple[Counts, list[float]]] = []
    for cell, requests, completions in places:
        if requests:
            cell.requests += len(requests)
            cell.last_request_us = max(cell.last_request_us, max([request.time_us for request in requests]))
            count_requests(cell.asked, requests)
            bound(cell.asked)
        if completions:
            measured += _count(cell, completions, rates.get(completions[0].model, default))
            bound(cell.answered)
    add_seconds(measured)


def _count(cell: Cell, completions: list[Completion], rates: Rates) -> Iterable[tuple[Counts, list[float]]]:
    """Returns the latencies, to be added to their sketches: of answers, not of failures."""
    input_tokens = output_tokens = errors = cost_microusd = 0
    last_us = cell.last_completion_us
    first_tokens_s: list[float] = []
    durations_s: list[float] = []
    per_input, per_cached, per_output, tokens = rates
    regions, clients, tiers = cell.answered.region, cell.answered.client, cell.answered.tier
    for completion in completions:
        input_tokens += (inputs := completion.input_tokens)
        output_tokens += (outputs := completion.output_tokens)
        cost = inputs * per_input + outputs * per_output
        if cached := completion.cached_tokens:  # part of the input, with a price of their own
            cost -= min(cached, inputs) * (per_input - per_cached)
        cost_microusd -= -cost // tokens  # rounded up
        if completion.time_us > last_us:
            last_us = completion.time_us
        if error := completion.error_type:
            errors += 1
        region, client, tier = completion.region, completion.client, completion.tier
        if region or client or tier:
            failed, seconds = (1, 0.0) if error else (0, completion.duration_s or 0.0)
            if region and regions is not None:
                answered(regions, region, outputs, failed, seconds)
            if client and clients is not None:
                answered(clients, client, outputs, failed, seconds)
            if tier and tiers is not None:
                answered(tiers, tier, outputs, failed, seconds)
        if error:
            continue
        if (first_token_s := completion.first_token_s) is not None:
            first_tokens_s.append(first_token_s)
        if (duration_s := completion.duration_s) is not None:
            durations_s.append(duration_s)
    cell.completions += len(completions)
    cell.errors += errors
    cell.input_tokens += input_tokens
    cell.output_tokens += output_tokens
    cell.cost_microusd += cost_microusd
    cell.last_completion_us = last_us
    return (cell.first_token_us, first_tokens_s), (cell.duration_us, durations_s)


def forget_lightest(cell: Cell, organisations_max: int) -> None:
    """Keep the half with the most tokens."""
    cell.organisations = heaviest(cell.organisations, organisations_max // 2)


def note_failure(cell: Cell, organisation: str, organisations_max: int) -> None:
    """Count one failure of an organisation; of too many, keep the half with the most."""
    cell.failures[organisation] = cell.failures.get(organisation, 0) + 1
    if len(cell.failures) > organisations_max:
        cell.failures = heaviest(cell.failures, organisations_max // 2)


def publish(cell: Cell, where: Coordinate, start_us: int, model: str, at_us: int, top: int) -> Slice:
    """The cell as it travels, under its next revision. `top`: how many organisations it names."""
    partition, offset, index = where
    revision, cell.revision, cell.changed = cell.revision, cell.revision + 1, False
    organisations = ranked(cell.organisations, top)
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
        last_request_us=cell.last_request_us,
        last_completion_us=cell.last_completion_us,
        first_token_us=to_record(cell.first_token_us),
        duration_us=to_record(cell.duration_us),
        top_organisations=organisations,
        parts=parts_of(cell.asked, cell.answered, organisations, cell.failures),
    )
