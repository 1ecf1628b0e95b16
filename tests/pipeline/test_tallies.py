"""The parts of slices and windows against a count without any state."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cells import Cell
from pipeline.stage import Batch, State
from pipeline.stages.slices import Slices, SlicesParams
from pipeline.tallies import PARTS_MAX, VALUES_MAX, merged_parts, weight_of
from topics.fields import SECOND_US
from topics.records import Part, Slice
from topics.traffic import Completion, Request, Tick

START_US = 1_790_000_000 * SECOND_US
NAMES = st.sampled_from(["", "a", "b", "c"])
EVENTS = st.lists(st.tuples(st.booleans(), NAMES, NAMES, st.integers(0, 99), st.booleans()), max_size=40)


def event(ends: bool, region: str, client: str, tokens: int, fails: bool, organisation: str = "acme") -> Any:
    common = {"id": "r", "time_us": START_US, "organisation": organisation, "model": "owl", "input_tokens": tokens}
    if not ends:
        return Request(region=region, client=client, tier="pro", **common)
    took: dict[str, Any] = {"error_type": "timeout"} if fails else {"duration_s": tokens / 4}
    return Completion(output_tokens=2 * tokens, region=region, client=client, tier=region, **took, **common)


def parts_of(events: list[Any]) -> list[Part]:
    fed = [*events, Tick(time_us=START_US + 60 * SECOND_US)]
    outputs = Slices(SlicesParams()).step(State(), Batch(0, 1, range(len(fed)), fed))
    return [part for output in outputs if isinstance(output.value, Slice) for part in output.value.parts]


def naive(events: list[Any], dimension: str, said: Callable[[Any], str]) -> dict[str, Part]:
    found = {}
    for value in {said(event) for event in events} - {""}:
        asked = [e for e in events if isinstance(e, Request) and said(e) == value]
        ended = [e for e in events if isinstance(e, Completion) and said(e) == value]
        found[value] = Part(
            dimension,
            value,
            requests=len(asked),
            completions=len(ended),
            errors=sum(bool(e.error_type) for e in ended),
            tokens=sum(e.input_tokens for e in asked) + sum(e.output_tokens for e in ended),
            duration_us=round(sum(e.duration_s or 0 for e in ended) * SECOND_US),
        )
    return found


@settings(deadline=None)
@given(EVENTS)
def test_parts_count_what_says_the_value_and_nothing_else(drawn: list[Any]) -> None:
    events = [event(*one) for one in drawn]
    parts = parts_of(events)
    for dimension in ("region", "client", "tier"):
        counted = {part.value: part for part in parts if part.dimension == dimension}
        assert counted == naive(events, dimension, lambda e, name=dimension: getattr(e, name))  # type: ignore[misc]


def test_organisations_are_counted_in_tokens_and_failures() -> None:
    events = [event(False, "", "", 50, False), event(True, "", "", 5, True), event(True, "", "", 9, False, "zenith")]
    assert [part for part in parts_of(events) if part.dimension == "organisation"] == [
        Part("organisation", "acme", errors=1, tokens=60),
        Part("organisation", "zenith", tokens=18),
    ]


def test_a_small_region_that_fails_is_named_beside_large_ones() -> None:
    large = [event(True, f"r{number}", "", 1, False) for number in range(PARTS_MAX + 3) for _ in range(30)]
    regions = {part.value for part in parts_of([*large, *[event(True, "tiny", "", 1, True)] * 3])}
    assert "tiny" in regions
    assert len({part.value for part in parts_of(large) if part.dimension == "region"}) == PARTS_MAX


def test_a_small_organisation_that_fails_is_named_beside_large_ones() -> None:
    large = [event(True, "", "", 5_000, False, f"org-{number:02}") for number in range(40)]
    parts = parts_of([*large, *[event(True, "", "", 0, True, "tiny")] * 2])
    (tiny,) = [part for part in parts if part.value == "tiny"]
    assert tiny.errors == 2


def test_a_dimension_with_too_many_values_names_none_and_hides_no_other() -> None:
    events = [event(ends, "eu", f"client/{n}", 1, False) for n in range(VALUES_MAX + 1) for ends in (True, False)]
    parts = parts_of(events)
    assert {part.dimension for part in parts} == {"organisation", "region", "tier"}
    (region,) = [part for part in parts if part.dimension == "region"]
    assert (region.requests, region.completions) == (VALUES_MAX + 1, VALUES_MAX + 1)


@pytest.mark.parametrize("ends", [False, True])
def test_a_dimension_with_too_many_values_is_given_up_whoever_says_them(ends: bool) -> None:
    state: State[Any] = State()
    for number in range(3):
        sent = [event(ends, "eu", f"client/{number}/{n}", 1, False) for n in range(VALUES_MAX)]
        Slices(SlicesParams()).step(state, Batch(0, 1, range(len(sent)), sent))
    (cell,) = [value for value in state.values.values() if isinstance(value, Cell)]
    tallies = cell.answered if ends else cell.asked
    assert tallies.client is None
    assert tallies.region is not None


def test_a_window_adds_its_slices_up() -> None:
    eu, us = Part("region", "eu", 1, 2, 3, 4, 5), Part("region", "us", 9, 9)
    assert merged_parts([[eu, us], [], [eu]]) == [Part("region", "eu", 2, 4, 6, 8, 10), us]
    many = [Part("client", f"c{number}", requests=number) for number in range(20)]
    assert [part.requests for part in merged_parts([many])] == list(range(19, 19 - PARTS_MAX, -1))
    assert weight_of(Part("region", "eu", 1, 2, 3)) == 63
