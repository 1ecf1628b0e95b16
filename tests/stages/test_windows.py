"""Windows: cases drawn as the log of two traffic partitions, and an oracle that counts the slices."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from pipeline.minutes import PROGRESS
from pipeline.sketch import Counts, add_many, quantile, to_record
from pipeline.stage import Batch, Output, State
from pipeline.stages.windows import Windows, WindowsParams
from tests.streams.windows import TURNS, interleaved, partition_logs
from topics.control import Deployment, Relayed
from topics.fields import HOUR_US, MINUTE_US, SECOND_US
from topics.links import Moment
from topics.records import DeadLetter, Mark, MetricWindow, OrganisationTokens, Sketch, Slice

START_US = 1_790_000_040 * SECOND_US  # a whole minute


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


class Log:
    """A slices log with two traffic partitions, written in seconds."""

    def __init__(self, params: WindowsParams | None = None) -> None:
        self.events: list[Any] = []
        self.params = params or WindowsParams()

    def slice(self, partition: int, start_s: int, requests: int, **fields: Any) -> "Log":
        fields = {"model": "owl", "revision": 0, "offset": len(self.events), "time_us": at(start_s + 10)} | fields
        self.events.append(Slice(id="s", start_us=at(start_s), partition=partition, requests=requests, **fields))
        return self

    def mark(self, partition: int, up_to_s: float, offset: int | None = None) -> "Log":
        stamp = len(self.events) if offset is None else offset
        self.events.append(Mark(id="m", time_us=at(up_to_s), partition=partition, partitions=2, offset=stamp))
        return self

    def outputs(self) -> list[Output]:
        return Windows(self.params).step(State(), Batch(5, 6, range(100, 100 + len(self.events)), self.events))

    def windows(self) -> list[tuple[str, int, int, int]]:
        """(model, start in seconds, revision, requests) of what was published."""
        return [
            (w.model, (w.start_us - START_US) // SECOND_US, w.revision, w.requests)
            for w in (output.value for output in self.outputs() if output.to == "windows")
        ]

    def moments(self) -> list[tuple[str, int, int, int, int]]:
        """(model, start in seconds, requests, completions, errors) of what passed to the fast path."""
        return [
            (m.model, (m.start_us - START_US) // SECOND_US, m.requests, m.completions, m.errors)
            for m in (output.value for output in self.outputs())
            if isinstance(m, Moment)
        ]


def started() -> Log:
    return Log().mark(0, 0).mark(1, 0)


def test_a_minute_closes_when_every_partition_has_marked_its_end() -> None:
    log = started().slice(0, 0, 3).slice(1, 50, 4).slice(0, 60, 9).mark(0, 120).mark(1, 50)
    assert log.windows() == []
    outputs = log.mark(1, 60).outputs()
    assert [(o.offset, o.to, o.key) for o in outputs] == [(107, "windows", "owl"), (107, "closed", "owl")]
    window = outputs[0].value
    assert outputs[1].value == window
    assert (window.id, window.time_us, window.start_us, window.end_us) == ("5-107-0", at(60), at(0), at(60))
    assert (window.requests, window.revision) == (7, 0)


def test_every_ten_seconds_of_a_known_model_pass_as_a_moment_before_the_window_they_complete() -> None:
    log = started().slice(0, 0, 3).mark(0, 60).mark(1, 60)
    log.slice(0, 60, 2, last_request_us=at(63)).slice(1, 60, 4, last_request_us=at(67), completions=3, errors=1)
    log.slice(1, 110, 1).mark(0, 70).mark(1, 120)
    assert log.moments() == [("owl", 60, 6, 3, 1)]
    assert next(o.value for o in log.outputs() if isinstance(o.value, Moment)).last_request_us == at(67)
    log.mark(0, 120)
    assert log.moments()[1:] == [*(("owl", start_s, 0, 0, 0) for start_s in (70, 80, 90, 100)), ("owl", 110, 1, 0, 0)]
    closed = [o.value for o in log.outputs() if o.to == "closed"]
    assert [type(one) for one in closed[-2:]] == [Moment, MetricWindow]


def test_a_correction_changes_no_moment() -> None:
    log = started().slice(0, 0, 3).mark(0, 60).mark(1, 60)
    log.slice(0, 60, 2).mark(0, 70).slice(0, 60, 9, revision=1, time_us=at(80)).mark(0, 90).mark(1, 90)
    assert log.moments() == [("owl", 60, 2, 0, 0), ("owl", 70, 0, 0, 0), ("owl", 80, 0, 0, 0)]


def test_moments_may_be_shorter_if_slices_are() -> None:
    log = Log(WindowsParams(moment_us=5 * SECOND_US)).mark(0, 0).mark(1, 0).slice(0, 0, 1).mark(0, 60).mark(1, 60)
    log.slice(0, 65, 2).mark(0, 75).mark(1, 75)
    assert log.moments() == [("owl", 60, 0, 0, 0), ("owl", 65, 2, 0, 0), ("owl", 70, 0, 0, 0)]
    with pytest.raises(ValueError, match="multiple"):
        WindowsParams(moment_us=7 * SECOND_US)


def test_one_mark_can_close_many_minutes_each_in_order() -> None:
    log = started().slice(0, 0, 1).slice(0, 60, 2).slice(0, 70, 3, model="heron").mark(0, 180).mark(1, 180)
    assert log.windows() == [
        ("owl", 0, 0, 1),
        ("heron", 60, 0, 3),
        ("owl", 60, 0, 2),
        ("heron", 120, 0, 0),
        ("owl", 120, 0, 0),
    ]


def test_a_model_without_traffic_is_reported_until_it_has_been_idle_for_long() -> None:
    log = Log(WindowsParams(model_idle_us=2 * MINUTE_US)).mark(0, 0).mark(1, 0)
    log.slice(0, 0, 1).mark(0, 600).mark(1, 600)
    assert log.windows() == [("owl", 0, 0, 1), ("owl", 60, 0, 0)]


def test_a_model_is_not_reported_before_its_first_slice_although_that_has_arrived() -> None:
    log = started().slice(0, 120, 1).mark(0, 180).mark(1, 60)
    assert log.windows() == []
    assert log.mark(1, 180).windows() == [("owl", 120, 0, 1)]


def test_an_empty_window_has_no_latency_and_no_errors() -> None:
    log = started().slice(0, 0, 1).mark(0, 120).mark(1, 120)
    empty = [output.value for output in log.outputs() if output.to == "windows"][1]
    assert (empty.requests, empty.error_rate, empty.tokens_per_s, empty.duration_us_p99) == (0, 0.0, 0.0, None)


def test_a_correction_after_the_close_is_a_revision_for_subscribers_only() -> None:
    log = started().slice(0, 0, 3).mark(0, 60).mark(1, 60)
    log.slice(0, 0, 5, revision=1, late_events=2, time_us=at(70)).mark(0, 70)
    assert log.windows() == [("owl", 0, 0, 3)]  # not before partition 1 has come as far
    outputs = log.mark(1, 70).outputs()
    assert log.windows() == [("owl", 0, 0, 3), ("owl", 0, 1, 5)]
    assert [(o.to, type(o.value)) for o in outputs] == [
        ("windows", MetricWindow),
        ("closed", MetricWindow),
        ("closed", Moment),
        ("windows", MetricWindow),
    ]
    assert (outputs[-1].value.late_events, outputs[-1].value.time_us) == (2, at(70))


def test_a_correction_before_the_close_does_not_touch_revision_zero() -> None:
    log = started().slice(0, 0, 3).slice(0, 0, 5, revision=1, time_us=at(30)).mark(0, 60)
    assert log.mark(1, 60).windows() == [("owl", 0, 0, 3), ("owl", 0, 1, 5)]


def test_corrections_of_one_boundary_are_one_revision() -> None:
    log = started().slice(0, 0, 3).slice(1, 0, 4).mark(0, 60).mark(1, 60)
    log.slice(0, 0, 5, revision=1, time_us=at(70)).slice(1, 0, 6, revision=1, time_us=at(70)).mark(0, 70)
    assert log.mark(1, 70).windows() == [("owl", 0, 0, 7), ("owl", 0, 1, 11)]


def test_a_correction_of_a_window_that_never_was_is_its_first_revision() -> None:
    log = started().mark(0, 60).mark(1, 60).slice(0, 0, 1, revision=1, time_us=at(70)).mark(0, 70).mark(1, 70)
    assert log.windows() == [("owl", 0, 1, 1)]


def test_repetitions_and_older_slices_do_no_harm() -> None:
    log = started().slice(0, 0, 3, offset=10).slice(0, 0, 99, offset=9).slice(0, 0, 3, offset=10)
    log.mark(0, 60, offset=11).mark(0, 0, offset=10).mark(1, 60).slice(0, 0, 99, offset=8).mark(0, 60, offset=11)
    assert log.mark(0, 120, offset=12).windows() == [("owl", 0, 0, 3)]


def test_the_first_minute_may_be_partial() -> None:
    log = Log().mark(0, 30).mark(1, 90).slice(0, 30, 2).mark(0, 60)
    assert log.windows() == [("owl", 0, 0, 2)]


def test_a_correction_that_comes_too_late_is_a_dead_letter() -> None:
    log = started().slice(0, 0, 1).mark(0, 2_000).mark(1, 2_000)
    log.slice(0, 0, 2, revision=1, time_us=at(60 + 12 * 60)).slice(0, 0, 2, revision=1, time_us=at(60 + 12 * 60 + 1))
    (letter,) = (o for o in log.outputs() if isinstance(o.value, DeadLetter))
    assert (letter.value.partition, letter.value.offset, letter.value.field) == (5, 106, "time_us")
    assert letter.value.topic == letter.key == "tidegate.slices.v1"


def test_a_partition_cannot_run_ahead_without_bound() -> None:
    log = Log(WindowsParams(ahead_us_max=HOUR_US)).mark(0, 0).mark(1, 0).slice(0, 3_600, 1).slice(0, 3_610, 1)
    (letter,) = (o for o in log.outputs() if isinstance(o.value, DeadLetter))
    assert letter.value.offset == 103
    assert "a tick in every partition moves it on" in letter.value.reason


def test_what_is_no_sketch_is_a_dead_letter() -> None:
    log = started().slice(0, 0, 1, duration_us=Sketch([1, 2], [1]))
    (letter,) = log.outputs()
    assert letter.value.reason == "not a sketch: 2 buckets but 1 counts"


def test_relayed_events_are_passed_on() -> None:
    relayed = Relayed(offset=3, event=Deployment(id="d", time_us=1, model="owl", version="2"))
    log = started()
    log.events.append(relayed)
    assert log.outputs() == [Output(102, "closed", "d", relayed)]


def test_a_window_adds_up_its_slices() -> None:
    one: Counts = {}
    two: Counts = {}
    add_many(one, [1_000_000] * 60)
    add_many(two, [3_000_000] * 40)
    both = dict(one) | dict(two)
    tokens = [OrganisationTokens("acme", 5), OrganisationTokens("zenith", 4)]
    fields: dict[str, Any] = {
        "completions": 50,
        "errors": 1,
        "input_tokens": 300,
        "output_tokens": 60,
        "cost_microusd": 7,
    }
    log = started().slice(0, 0, 1, **fields, duration_us=to_record(one), top_organisations=tokens)
    log.slice(1, 10, 1, **fields, duration_us=to_record(two), top_organisations=[OrganisationTokens("zenith", 2)])
    window: MetricWindow = log.mark(0, 60).mark(1, 60).outputs()[0].value
    assert (window.completions, window.errors, window.error_rate, window.cost_microusd) == (100, 2, 0.02, 14)
    assert window.tokens_per_s == 720 / 60
    assert (window.duration_us_p50, window.duration_us_p99) == (quantile(both, 1, 2), quantile(both, 99, 100))
    assert window.first_token_us_p50 is None
    assert window.top_organisations == [OrganisationTokens("zenith", 6), OrganisationTokens("acme", 5)]


def test_the_state_holds_only_what_can_still_count() -> None:
    stage, state = Windows(WindowsParams(model_idle_us=MINUTE_US)), State[Any]()
    log = Log()
    for minute in range(60):
        log.slice(0, minute * 60, 1).mark(0, minute * 60 + 60).mark(1, minute * 60 + 60)
    stage.step(state, Batch(0, 1, range(len(log.events)), log.events))
    assert len(state.values[PROGRESS].minutes) <= 14
    assert len(state.values) <= 2 * 14 + 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(partition_logs(), TURNS)
def test_the_last_revisions_add_up_to_the_last_slices(logs: list[list[Any]], turns: list[int]) -> None:
    events = interleaved(logs, turns)
    parts = {(e.partition, e.model, e.start_us): e for log in logs for e in log if isinstance(e, Slice)}
    outputs = Windows(WindowsParams()).step(State(), Batch(0, 1, range(len(events)), events))
    last = {(o.value.model, o.value.start_us): o.value for o in outputs if o.to == "windows"}
    assert sum(w.requests for w in last.values()) == sum(part.requests for part in parts.values())
    assert sum(w.completions for w in last.values()) == sum(part.completions for part in parts.values())
    assert sum(w.late_events for w in last.values()) == sum(part.late_events for part in parts.values())
    revisions = [(o.value.model, o.value.start_us, o.value.revision) for o in outputs if o.to == "windows"]
    assert len(set(revisions)) == len(revisions)
