"""Every law over every row of the flow, with the streams in tests/streams; and what holds for windows alone."""

import importlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.flow import FLOW, LOGS, Row
from pipeline.settings import Settings
from pipeline.stage import Batch, State
from pipeline.stages.windows import Windows, WindowsParams
from tests import laws
from tests.laws import Stream
from tests.streams.windows import TURNS, interleaved, partition_logs
from topics.records import MetricWindow

EXAMPLES = {"detection": 6}
EXAMPLES_USUAL = 50
PLACES = st.lists(st.integers(0, 200), max_size=8)


def law(row: Row) -> Any:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=EXAMPLES.get(row.stage, EXAMPLES_USUAL), deadline=None, suppress_health_check=slow)


def streams_of(row: Row) -> st.SearchStrategy[Stream]:
    """The row's stream, numbered: one event an offset in a log, one or more in a link (but for requests)."""
    events = importlib.import_module(f"tests.streams.{row.stage}").streams()
    if row.reads in (*LOGS, "admitted"):
        return events.map(lambda found: Stream(range(7, 7 + len(found)), found))
    steps = st.lists(st.integers(0, 1), min_size=300, max_size=300)
    return st.builds(_grouped, events, steps)


def _grouped(events: list[Any], steps: list[int]) -> Stream:
    offsets, offset = [], 7
    for index in range(len(events)):
        offset += steps[index % len(steps)]
        offsets.append(offset)
    return Stream(offsets, events)


rows = pytest.mark.parametrize("row", FLOW, ids=lambda row: row.stage)


@rows
def test_batch_cuts_change_nothing(row: Row) -> None:
    @law(row)
    @given(streams_of(row), PLACES)
    def check(stream: Stream, wanted: list[int]) -> None:
        laws.check_batch_cuts(lambda: row.build(Settings()), stream, wanted)
        laws.check_output_order(lambda: row.build(Settings()), stream)

    check()


@rows
def test_checkpoints_hold_the_whole_state(row: Row) -> None:
    @law(row)
    @given(streams_of(row), PLACES)
    def check(stream: Stream, wanted: list[int]) -> None:
        laws.check_checkpoints(lambda: row.build(Settings()), stream, wanted)

    check()


@rows
def test_a_crash_changes_nothing(row: Row) -> None:
    @law(row)
    @given(streams_of(row), PLACES, st.integers(0, 8))
    def check(stream: Stream, wanted: list[int], crash: int) -> None:
        laws.check_crash(lambda: row.build(Settings()), stream, wanted, crash)

    check()


@rows
def test_outputs_go_where_the_flow_says(row: Row) -> None:
    allowed = {*row.writes, row.passes} - {""}

    @law(row)
    @given(streams_of(row))
    def check(stream: Stream) -> None:
        outputs = laws.run(row.build(Settings()), stream, [0, len(stream.events)], State())
        assert {output.to for output in outputs} <= allowed
        published = [output for output in outputs if output.to in row.writes]
        ids = [(output.to, output.value.id) for output in published if hasattr(output.value, "id")]
        assert len(set(ids)) == len(ids)

    check()


def windows_of(events: list[Any]) -> tuple[list[Any], list[Any]]:
    """What subscribers and what detection get, without the coordinates."""
    outputs = Windows(WindowsParams()).step(State(), Batch(0, 1, range(len(events)), events))
    assert all(output.to in ("windows", "closed") for output in outputs)
    published = [replace(output.value, id="-") for output in outputs if output.to == "windows"]
    passed = [output.value for output in outputs if output.to == "closed"]
    return published, [replace(one, id="-") if isinstance(one, MetricWindow) else one for one in passed]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(partition_logs(), TURNS, TURNS)
def test_windows_do_not_depend_on_how_partitions_interleave(
    logs: list[list[Any]], one: list[int], two: list[int]
) -> None:
    published, closed = windows_of(interleaved(logs, one))
    assert windows_of(interleaved(logs, two)) == (published, closed)
    assert [one for one in closed if isinstance(one, MetricWindow)] == [w for w in published if w.revision == 0]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(partition_logs(), TURNS, st.integers(0, 60), st.integers(1, 60))
def test_a_repeated_stretch_of_a_partition_changes_no_window(
    logs: list[list[Any]], turns: list[int], start: int, length: int
) -> None:
    """A partition that crashed publishes again what it had published since its checkpoint."""
    repeated = [log[: start + length] + log[start:] for log in logs]
    assert windows_of(interleaved(repeated, turns)) == windows_of(interleaved(logs, turns))
