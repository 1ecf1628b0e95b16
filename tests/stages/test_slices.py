"""Slices: small cases in seconds, and an oracle that counts the traffic without any state."""

from collections import Counter
from fractions import Fraction
from math import ceil
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.prices import Price
from pipeline.sketch import Counts, add_many, from_record, quantile
from pipeline.stage import EVERY_PARTITION, Batch, Output, State
from pipeline.stages.slices import OTHER_MODELS, Slices, SlicesParams
from tests.streams.slices import streams
from topics.codec import rfc3339
from topics.control import Plan, Relayed
from topics.fields import HOUR_US, MINUTE_US, SECOND_US
from topics.records import DeadLetter, Mark, OrganisationTokens, Slice
from topics.traffic import Completion, Request, Tick

START_US = 1_790_000_000 * SECOND_US


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


def ask(at_s: float, tokens: int = 5, organisation: str = "acme", model: str = "owl") -> Request:
    return Request(id="r", time_us=at(at_s), organisation=organisation, model=model, input_tokens=tokens)


def end(at_s: float, **fields: Any) -> Completion:
    fields = {"organisation": "acme", "model": "owl", "input_tokens": 5, "output_tokens": 7} | fields
    return Completion(id="r", time_us=at(at_s), **fields)


def tick(at_s: float) -> Tick:
    return Tick(time_us=at(at_s))


def run(*events: Any, params: SlicesParams | None = None) -> list[Output]:
    stage = Slices(params or SlicesParams())
    return stage.step(State(), Batch(2, 3, range(100, 100 + len(events)), events))


def cost_of(*completions: Completion, **prices: Any) -> int:
    (part,) = slices_in(run(*completions, tick(60), params=SlicesParams(**prices)))
    return part.cost_microusd


def slices_in(outputs: list[Output]) -> list[Slice]:
    return [output.value for output in outputs if isinstance(output.value, Slice)]


def marks_in(outputs: list[Output]) -> list[float]:
    return [(o.value.time_us - START_US) / SECOND_US for o in outputs if isinstance(o.value, Mark)]


def test_a_slice_is_published_when_the_watermark_passes_its_end_and_a_mark_follows() -> None:
    outputs = run(ask(6), end(7), ask(14.999), ask(15))
    assert [(o.offset, o.to, o.key, type(o.value)) for o in outputs] == [
        (100, "slices", EVERY_PARTITION, Mark),
        (103, "slices", "owl", Slice),
        (103, "slices", EVERY_PARTITION, Mark),
    ]
    (part,) = slices_in(outputs)
    assert (part.id, part.start_us, part.time_us, part.revision) == ("2-103-0", at(0), at(10), 0)
    assert (part.partition, part.offset, part.requests, part.completions) == (2, 103, 1, 1)
    assert outputs[-1].value == Mark(id="2-103-1", time_us=at(10), partition=2, partitions=3, offset=103)


def test_one_mark_for_all_boundaries_passed_and_none_for_empty_slices() -> None:
    outputs = run(ask(1), ask(61), tick(500))
    assert marks_in(outputs) == [-10, 50, 490]
    assert [part.start_us for part in slices_in(outputs)] == [at(0), at(60)]


def test_models_of_a_slice_come_in_order() -> None:
    outputs = run(ask(1, model="owl"), ask(2, model="heron"), tick(60))
    assert [(part.model, part.id) for part in slices_in(outputs)] == [("heron", "2-102-0"), ("owl", "2-102-1")]


def test_requests_count_when_they_arrive_and_the_rest_when_they_end() -> None:
    outputs = run(ask(9), end(11, first_token_s=0.5, duration_s=2.0), end(12, error_type="timeout"), tick(60))
    first, second = slices_in(outputs)
    assert (first.requests, first.completions, first.input_tokens) == (1, 0, 0)
    assert (second.requests, second.completions, second.errors) == (0, 2, 1)
    assert (second.input_tokens, second.output_tokens) == (10, 14)
    assert abs((quantile(from_record(second.duration_us), 1, 2) or 0) - 2_000_000) <= 20_000
    assert sum(second.first_token_us.counts) == 1


def test_latencies_are_of_answers_not_of_failures() -> None:
    (part,) = slices_in(run(end(1, duration_s=0.01, error_type="overloaded"), tick(60)))
    assert (part.errors, part.duration_us.buckets) == (1, [])


def test_a_late_event_corrects_its_slice_at_the_next_boundary() -> None:
    outputs = run(ask(1), tick(20), ask(2), ask(3), tick(24.9), tick(25))
    first, corrected = slices_in(outputs)
    assert (corrected.start_us, corrected.revision, corrected.offset) == (at(0), 1, 105)
    assert (corrected.requests, corrected.late_events, corrected.time_us) == (3, 2, at(20))
    assert (first.revision, first.requests, first.late_events) == (0, 1, 0)
    assert outputs[-1].value == Mark(id="2-105-1", time_us=at(20), partition=2, partitions=3, offset=105)


def test_a_late_event_of_an_empty_slice_is_a_correction_of_nothing() -> None:
    (part,) = slices_in(run(tick(20), ask(2), tick(30)))
    assert (part.revision, part.requests, part.late_events) == (1, 1, 1)


def test_a_correction_keeps_its_time_when_time_jumps() -> None:
    _, corrected = slices_in(run(ask(1), tick(20), ask(2), tick(5_000)))
    assert corrected.time_us == at(20)


def test_each_correction_has_the_next_revision() -> None:
    outputs = run(ask(1), tick(20), ask(2), tick(30), ask(3), tick(40))
    assert [(part.revision, part.requests) for part in slices_in(outputs)] == [(0, 1), (1, 2), (2, 3)]


def test_too_late_for_a_correction_is_a_dead_letter() -> None:
    outputs = run(tick(620), ask(9.9), ask(10), tick(630))
    (letter,) = (output for output in outputs if isinstance(output.value, DeadLetter))
    assert (letter.offset, letter.to, letter.key) == (101, "dead-letters", "tidegate.traffic.v1")
    assert (letter.value.partition, letter.value.offset, letter.value.field) == (2, 101, "time_us")
    assert letter.value.reason == f"too late for a correction: slices before {rfc3339(at(10))} are final"
    assert [part.start_us for part in slices_in(outputs)] == [at(10)]


def test_what_is_final_is_forgotten() -> None:
    stage, state = Slices(SlicesParams()), State[Any]()
    events = [ask(1), ask(2, model="heron"), tick(20), tick(614)]
    stage.step(state, Batch(0, 1, range(4), events))
    assert len(state.values) == 4
    stage.step(state, Batch(0, 1, [4], [tick(615)]))
    assert state.values.keys() == {"clock"}


def test_organisations_with_the_most_tokens_are_named() -> None:
    events = [ask(1, tokens=number, organisation=f"o{number:02}") for number in range(10)]
    (part,) = slices_in(run(*events, end(2, organisation="o00", output_tokens=9), tick(60)))
    names = [(entry.organisation, entry.tokens) for entry in part.top_organisations]
    assert names == [("o00", 9), *((f"o{number:02}", number) for number in range(9, 2, -1))]


def test_organisations_followed_are_bounded_and_the_heaviest_stay() -> None:
    events = [ask(1, tokens=number, organisation=f"o{number:02}") for number in range(50)]
    (part,) = slices_in(run(*events, tick(60), params=SlicesParams(organisations_max=10)))
    assert part.top_organisations[0] == OrganisationTokens("o49", 49)
    assert part.requests == 50


def test_models_are_bounded_and_none_is_lost() -> None:
    events = [ask(1, model=f"m{number}") for number in (1, 2, 3, 4, 3, 1)]
    parts = slices_in(run(*events, tick(60), params=SlicesParams(models_max=2)))
    assert [(part.model, part.requests) for part in parts] == [(OTHER_MODELS, 3), ("m1", 2), ("m2", 1)]


def test_relayed_events_do_not_move_time() -> None:
    plan = Plan(id="p", time_us=at(9_999), organisation="acme", tier="pro")
    assert marks_in(run(ask(1), Relayed(offset=0, event=plan))) == [-10]


def test_cost_is_rounded_up_and_cached_input_has_its_own_price() -> None:
    price = Price(input_microusd=2_000_000, cached_microusd=500_000, output_microusd=10_000_000)
    one = end(0, input_tokens=100, cached_tokens=40, output_tokens=3)
    assert cost_of(one, default_price=price) == 60 * 2 + 20 + 30
    assert cost_of(replace(one, cached_tokens=41), prices={"owl": price}) == 59 * 2 + 21 + 30
    assert cost_of(replace(one, cached_tokens=500), default_price=price) == 50 + 30
    assert cost_of(*[replace(one, cached_tokens=41)] * 3, prices={"owl": price}) == 3 * (59 * 2 + 21 + 30)


def test_models_that_share_a_cell_keep_their_prices() -> None:
    dear, cheap = Price(output_microusd=90_000_000), Price(output_microusd=2_000_000)
    events = [end(0, model=model, input_tokens=0) for model in ("first", "dear", "cheap", "dear")]
    (others, _) = slices_in(
        run(*events, tick(60), params=SlicesParams(models_max=1, prices={"dear": dear, "cheap": cheap}))
    )
    assert (others.model, others.cost_microusd) == (OTHER_MODELS, 7 * (90 + 2 + 90))


@given(
    st.builds(Price, *[st.integers(0, 40_000_000)] * 3),
    st.lists(st.tuples(*[st.integers(0, 100_000_000)] * 3), min_size=1, max_size=9),
)
def test_cost_is_the_sum_of_costs_each_rounded_up(price: Price, tokens: list[tuple[int, int, int]]) -> None:
    ends = [end(0, input_tokens=i, cached_tokens=c, output_tokens=o) for i, c, o in tokens]
    exact = [
        Fraction((i - min(c, i)) * price.input_microusd + min(c, i) * price.cached_microusd, 1_000_000)
        + Fraction(o * price.output_microusd, 1_000_000)
        for i, c, o in tokens
    ]
    assert cost_of(*ends, default_price=price) == sum(ceil(cost) for cost in exact)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.booleans()), min_size=1, max_size=60))
def test_organisations_are_forgotten_in_the_order_of_events(draws: list[tuple[int, int, bool]]) -> None:
    """Requests and completions of all models that share a cell, in one order."""
    events: list[Any] = [ask(0, model="first", organisation="nobody")]
    followed: dict[str, int] = {}
    for number, (who, tokens, ends) in enumerate(draws):
        fields = {"organisation": f"o{who}", "model": f"m{number % 3}"}
        events.append(end(1, output_tokens=tokens, **fields) if ends else ask(1, tokens, **fields))
        followed[f"o{who}"] = followed.get(f"o{who}", 0) + tokens
        if len(followed) > 4:
            followed = dict(sorted(followed.items(), key=lambda item: (-item[1], item[0]))[:2])
    others, _ = slices_in(run(*events, tick(60), params=SlicesParams(models_max=1, organisations_max=4)))
    named = {entry.organisation: entry.tokens for entry in others.top_organisations}
    assert named == followed


@given(st.lists(st.floats(0, 86_400), min_size=1, max_size=60))
def test_latencies_are_counted_one_by_one_or_many_at_once(values_s: list[float]) -> None:
    counts: Counts = {}
    add_many(counts, [round(value_s * SECOND_US) for value_s in values_s])
    events = [end(1, first_token_s=value_s, duration_s=value_s) for value_s in values_s]
    (part,) = slices_in(run(*events, tick(60)))
    assert (from_record(part.first_token_us), from_record(part.duration_us)) == (counts, counts)


@settings(deadline=None)
@given(streams())
def test_every_event_is_counted_once_or_a_dead_letter(events: list[Any]) -> None:
    """The latest revision of every slice adds up to the traffic that no dead letter names."""
    last_us = max((e.time_us for e in events if not isinstance(e, Relayed)), default=START_US)
    fed = [*events, Tick(time_us=last_us + MINUTE_US), Tick(time_us=last_us + HOUR_US)]
    outputs = Slices(SlicesParams()).step(State(), Batch(0, 1, range(len(fed)), fed))
    dead = {output.offset for output in outputs if output.to == "dead-letters"}
    latest = {(part.model, part.start_us): part for part in slices_in(outputs)}
    expected, counted = Counter[Any](), Counter[Any]()
    for offset, event in enumerate(events):
        if offset not in dead and isinstance(event, Request | Completion):
            where = (event.model, event.time_us - event.time_us % (10 * SECOND_US))
            expected[(*where, type(event) is Request)] += 1
            expected[(*where, "output")] += 0 if isinstance(event, Request) else event.output_tokens
    for where, part in latest.items():
        counted.update({(*where, True): part.requests, (*where, False): part.completions})
        counted[(*where, "output")] += part.output_tokens
    assert +counted == +expected
    revisions = [(part.model, part.start_us, part.revision) for part in slices_in(outputs)]
    assert len(set(revisions)) == len(revisions)
