"""The driver without Kafka: whole flow, nothing lost, the same again, control fed back, logs replayed verbatim."""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.intake import Raw
from pipeline.settings import Settings
from pipeline.stages.detection import DetectionParams
from replay.collect import Collected
from replay.context import context
from replay.event import Event
from replay.offline import TICK_US, Offline
from replay.sources import synthetic
from replay.synthesis import Synthesis
from topics.codec import encoder
from topics.control import Command, Plan
from topics.fields import MINUTE_US, SECOND_US
from topics.links import Handoff
from topics.records import DeadLetter, Decision, Judged, Mark, MetricWindow
from topics.table import BY_ALIAS
from topics.traffic import Request

START_US = 1_760_000_400_000_000
SOURCE = synthetic(Synthesis(duration_s=300, rate_per_s=20, seed=8), START_US)
TRAFFIC_STAGES = ("quota", "safety", "slices")


class Outputs:
    """A sink that keeps everything, by topic."""

    def __init__(self) -> None:
        self.by_topic: dict[str, list[Any]] = defaultdict(list)

    def __call__(self, alias: str, key: str, value: Any) -> None:
        self.by_topic[alias].append(value)


def _run(events: list[Event], partitions: int = 4, **options: Any) -> Outputs:
    outputs = Outputs()
    driver = Offline(Settings(), outputs, partitions, **options)
    driver.feed(events)
    driver.finish()
    return outputs


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return [*context(SOURCE.models, START_US, START_US + SOURCE.duration_us), *SOURCE.events()]


@pytest.fixture(scope="module")
def outputs(events: list[Event]) -> Outputs:
    return _run(events)


def _requests(events: list[Event]) -> list[Request]:
    return [event for event in events if isinstance(event, Request)]


def test_every_request_gets_exactly_one_decision(events: list[Event], outputs: Outputs) -> None:
    decided = Counter(decision.request for decision in outputs.by_topic["decisions"])
    assert decided == Counter(request.id for request in _requests(events))


def test_windows_count_every_event_and_the_last_minute_is_closed(events: list[Event], outputs: Outputs) -> None:
    windows: list[MetricWindow] = outputs.by_topic["windows"]
    assert sum(window.requests for window in windows) == len(_requests(events))
    assert sum(window.completions for window in windows) == len(_requests(events))
    last_us = max(
        event.time_us for event in SOURCE.events() if not isinstance(event, bytes) and hasattr(event, "time_us")
    )
    assert max(window.end_us for window in windows) == (last_us // MINUTE_US + 1) * MINUTE_US


def test_the_same_events_give_the_same_outputs(events: list[Event], outputs: Outputs) -> None:
    assert _run(events).by_topic == outputs.by_topic


def test_windows_do_not_hang_on_the_number_of_partitions(events: list[Event], outputs: Outputs) -> None:
    def facts(run: Outputs) -> set[tuple[str, int, int, int | None]]:
        return {(w.model, w.start_us, w.requests, w.duration_us_p99) for w in run.by_topic["windows"]}

    assert facts(_run(events, partitions=1)) == facts(outputs)


def test_marks_move_on_every_ten_seconds_in_every_partition(outputs: Outputs) -> None:
    marks = [record for record in outputs.by_topic["slices"] if isinstance(record, Mark)]
    for partition in range(4):
        own = [mark.time_us for mark in marks if mark.partition == partition]
        assert own == sorted(own)
        before_the_closing_tick = own[:-1]
        assert {later - earlier for earlier, later in pairwise(before_the_closing_tick)} == {TICK_US}
    assert {mark.partitions for mark in marks} == {4}


def test_bad_lines_end_in_dead_letters_and_their_neighbours_go_on() -> None:
    requests: list[Event] = [
        Request(id=f"r{n}", time_us=START_US + n, organisation="acme", model="m", input_tokens=3) for n in range(4)
    ]
    bad = [b"{", b'{"type":"request","id":"x"}', b"\xff\xfe", b'{"type":"nothing"}']
    mixed = [event for pair in zip(requests, bad, strict=True) for event in pair]
    outputs = _run(mixed, partitions=2)
    letters: list[DeadLetter] = outputs.by_topic["dead-letters"]
    assert sorted(letter.size_bytes for letter in letters) == sorted(map(len, bad))
    assert all(letter.reason and letter.topic == "tidegate.traffic.v1" for letter in letters)
    assert len({(letter.partition, letter.offset) for letter in letters}) == 4
    assert [decision.request for decision in outputs.by_topic["decisions"]] == ["r0", "r1", "r2", "r3"]


def test_a_good_line_that_came_as_bytes_is_an_event_like_any_other() -> None:
    first, second = (
        Request(id=f"r{n}", time_us=START_US + n, organisation="acme", model="m", input_tokens=3) for n in range(2)
    )
    raw = encoder(BY_ALIAS["traffic"])(second)
    decisions = _run([first, raw], partitions=1).by_topic["decisions"]
    assert [decision.request for decision in decisions] == ["r0", "r1"]


def _plan_then_request() -> list[Event]:
    return [
        Plan(id="p1", time_us=START_US, organisation="acme", tier="enterprise"),
        Request(id="r", time_us=START_US + 5, organisation="acme", model="m", input_tokens=3, tier="free"),
    ]


def test_control_comes_back_through_the_relay() -> None:
    (decision,) = _run(_plan_then_request()).by_topic["decisions"]
    assert decision.tier == "enterprise"


def test_control_does_not_come_back_into_a_log_that_is_recorded() -> None:
    outputs = _run(_plan_then_request(), recorded=("traffic",))
    assert [decision.tier for decision in outputs.by_topic["decisions"]] == ["free"]
    assert len(outputs.by_topic["traffic"]) == 1  # the sink still sees what the relay wrote


def test_some_stages_alone_can_run(events: list[Event], outputs: Outputs) -> None:
    alone = _run(events, stages=TRAFFIC_STAGES)
    assert alone.by_topic["decisions"] == outputs.by_topic["decisions"]
    assert not alone.by_topic["windows"]


def test_a_recorded_log_gives_what_it_gave_when_it_was_written(events: list[Event], outputs: Outputs) -> None:
    """Record the slices log of a run, then feed it back verbatim: windows, alerts and so on are the same."""
    encode = encoder(BY_ALIAS["slices"])
    recording = Outputs()
    driver = Offline(Settings(), recording, partitions=1, stages=TRAFFIC_STAGES)
    driver.feed(events)
    driver.finish()
    raws = [Raw(offset, START_US, encode(value)) for offset, value in enumerate(recording.by_topic["slices"])]
    again = Outputs()
    replayed = Offline(Settings(), again, partitions=1, recorded=("slices",))
    replayed.feed_log("slices", 0, raws)
    assert replayed.position("slices") == [len(raws)]
    whole = _run(events, partitions=1).by_topic["windows"]
    facts = [(w.model, w.start_us, w.revision, w.requests, w.errors, w.duration_us_p99) for w in whole]
    assert facts
    assert [
        (w.model, w.start_us, w.revision, w.requests, w.errors, w.duration_us_p99) for w in again.by_topic["windows"]
    ] == facts


def test_typed_windows_and_judgements_give_what_the_whole_flow_gives(events: list[Event]) -> None:
    """Each link fed by itself, as by workers that hold one stage each: the same records, forecasts or not."""
    settings = replace(Settings(), detection=DetectionParams(forecasts=True))
    whole = _run(events, partitions=1, stages=("slices", "windows", "detection"))
    windows = [window for window in whole.by_topic["windows"] if window.revision == 0]
    judging = Outputs()
    Offline(settings, judging, partitions=1, stages=("detection",)).feed_records("closed", 0, windows)
    handoffs: list[Handoff] = judging.by_topic["judged"]
    judged = [event for handoff in handoffs for event in handoff.events]
    assert [event.window for event in judged] == windows
    expected = [event for handoff in whole.by_topic["judged"] for event in handoff.events if isinstance(event, Judged)]
    assert [replace(event, id="", forecasts=[]) for event in judged] == [replace(e, id="") for e in expected]
    assert any(event.forecasts for event in judged)
    assert not any(event.forecasts for event in expected)


def test_typed_slices_give_the_windows_that_they_gave(events: list[Event], outputs: Outputs) -> None:
    whole = _run(events, partitions=1)
    again = Outputs()
    driver = Offline(Settings(), again, partitions=1, recorded=("slices",))
    driver.feed_records("slices", 0, whole.by_topic["slices"])
    assert again.by_topic["windows"] == whole.by_topic["windows"]
    assert again.by_topic["alerts"] == whole.by_topic["alerts"]


def test_a_clock_gone_wrong_does_not_flood_the_log_with_ticks() -> None:
    far = START_US + 30 * 24 * 3600 * SECOND_US
    request = Request(id="r", time_us=START_US, organisation="acme", model="m", input_tokens=3)
    late = Request(id="s", time_us=far, organisation="acme", model="m", input_tokens=3)
    driver = Offline(Settings(), Outputs(), partitions=1, stages=TRAFFIC_STAGES)
    driver.feed([request, late])
    driver.finish()
    assert driver.position("traffic")[0] < 10


def test_collected_takes_a_run_as_its_sink(events: list[Event]) -> None:
    run = Collected()
    driver = Offline(Settings(), run)
    driver.feed(events)
    driver.finish()
    assert run.outcomes.total() == len(_requests(events))
    assert run.models[0] == "tide-70b"
    assert all(isinstance(command, Command) for command in run.commands.values())
    assert run.counts["decisions"] == run.outcomes.total()


def test_ids_of_decisions_are_coordinates(outputs: Outputs) -> None:
    decisions: list[Decision] = outputs.by_topic["decisions"]
    assert len({decision.id for decision in decisions}) == len(decisions)
