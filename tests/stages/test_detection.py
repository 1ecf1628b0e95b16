"""Detection alone, and detection with alerting over seeded traffic whose seeds were not used to choose any number."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.stage import Batch, Output, State
from pipeline.stages.alerting import Alerting, AlertingParams
from pipeline.stages.detection import Detection, DetectionParams
from tests.laws import as_bytes
from tests.streams.minutes import START_US, Incident, planned, windows
from topics.control import Deployment, Maintenance, Relayed
from topics.fields import HOUR_US, MINUTE_US, SECOND_US
from topics.links import Moment, Sudden
from topics.records import Alert, Anomaly, Judged, MetricWindow

HELD_OUT = range(9_000, 9_004)
RATES = (150.0, 300.0, 600.0)
MOMENT_US = 10 * SECOND_US


def stepped(events: Sequence[Any], state: State[Any] | None = None) -> list[Output]:
    return Detection(DetectionParams()).step(state or State(), Batch(3, 4, range(len(events)), events))


def judgements(outputs: Sequence[Output]) -> list[Judged]:
    return [output.value for output in outputs if type(output.value) is Judged]


def alerts(judged: Sequence[Judged]) -> list[Alert]:
    batch = Batch(3, 4, range(len(judged)), judged)
    return [o.value for o in Alerting(AlertingParams()).step(State(), batch) if o.to == "alerts"]


def minute_of(alert: Alert) -> int:
    return (alert.time_us - START_US) // MINUTE_US - 1


def found(judged: Judged) -> set[str]:
    return {f"{anomaly.metric}/{anomaly.detector}" for anomaly in judged.anomalies}


def test_one_judged_per_window_after_its_anomalies_with_ids_of_their_own() -> None:
    happened = (Incident("error_burst", 30, 3, 0.5),)
    events = windows(1, 35, happened)
    outputs = stepped(events)
    assert [judged.window for judged in judgements(outputs)] == events
    ids = [output.value.id for output in outputs]
    assert len(set(ids)) == len(ids)
    burst = [output for output in outputs if output.offset == 30]
    assert [output.to for output in burst] == ["anomalies"] * (len(burst) - 1) + ["judged"]
    assert burst[-1].value.anomalies == [output.value for output in burst[:-1]]
    assert burst[0].value.id == "3-30-0"


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (Incident("error_burst", 40, 8, 0.3), {"error_rate/counts", "error_rate/limit"}),
        (Incident("latency_spike", 40, 8, 4.0), {"duration_us_p50/arima", "duration_us_p50/cusum"}),
        (Incident("latency_spike", 40, 8, 1.3), {"us_per_output_token/pace"}),
        (Incident("traffic_drop", 40, 8, 0.1), {"requests/arima", "tokens_per_s/arima", "cost_microusd/arima"}),
        (Incident("token_surge", 40, 8, 6.0), {"tokens_per_s/arima", "tokens_per_s/organisation"}),
        (Incident("region_failure", 40, 8, 0.3), {"error_rate/part", "error_rate_elsewhere/elsewhere"}),
        (Incident("latency_leak", 40, 20, 0.06), {"duration_us_p50/cusum"}),
    ],
    ids=lambda value: value.kind if isinstance(value, Incident) else "",
)
def test_what_finds_which_incident(incident: Incident, expected: set[str]) -> None:
    judged = judgements(stepped(windows(7, incident.start + incident.length, (incident,))))
    during = [found(one) for one in judged[incident.start :]]
    assert expected <= set.union(*during)
    assert not any(expected & found(one) for one in judged[: incident.start])


def test_the_surging_organisation_is_named() -> None:
    surge = Incident("token_surge", 40, 6, 8.0, organisation=2)
    judged = judgements(stepped(windows(8, 46, (surge,))))[40:]
    assert {anomaly.organisation for one in judged for anomaly in one.anomalies} - {""} == {"org-02"}


def test_the_way_back_is_no_anomaly() -> None:
    drop = Incident("traffic_drop", 40, 20, 0.1)
    judged = judgements(stepped(windows(9, 80, (drop,))))
    assert any("requests/arima" in found(one) for one in judged[40:60])
    assert not any("requests/arima" in found(one) for one in judged[60:])


@pytest.mark.parametrize(("left", "expected"), [(1.0, False), (0.3, True)], ids=["usual again", "far below"])
def test_the_way_back_from_a_surge_that_was_accepted_is_no_anomaly(left: float, expected: bool) -> None:
    """Four times the traffic for 90 minutes; then what was usual before, or much less."""
    surge, after = Incident("traffic_drop", 60, 90, 4.0), Incident("traffic_drop", 150, 30, left)
    judged = judgements(stepped(windows(9, 180, (surge, after))))
    assert any("requests/arima" in found(one) for one in judged[60:80])
    assert not any("requests/arima" in found(one) for one in judged[130:150])
    assert any("requests/arima" in found(one) for one in judged[150:]) == expected


def test_a_forecast_that_still_follows_a_surge_finds_no_drop() -> None:
    """Three times the traffic for 25 minutes, then two thirds of what it was: after some minutes that is how it is."""
    surge, after = Incident("traffic_drop", 60, 25, 3.0), Incident("traffic_drop", 85, 40, 0.65)
    judged = judgements(stepped(windows(10, 125, (surge, after))))
    assert not any("requests/arima" in found(one) for one in judged[88:])


def test_longer_answers_are_no_slow_service() -> None:
    """The same change of the median, of the service and of what is asked of it."""
    slower, longer = Incident("latency_spike", 60, 20, 2.0), Incident("longer_answers", 60, 20, 2.2)
    for incident, expected in ((slower, True), (longer, False)):
        judged = judgements(stepped(windows(9, 80, (incident,))))
        before, during = (
            quantile([one.window.duration_us_p50 or 0 for one in part]) for part in (judged[30:60], judged[60:])
        )
        assert during > 1.8 * before
        latencies = {one.metric for each in judged[60:] for one in each.anomalies if "duration" in one.metric}
        assert bool(latencies) == expected


def quantile(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]


def test_a_level_that_lasts_is_accepted() -> None:
    slower = Incident("latency_spike", 40, 130, 3.0)
    judged = judgements(stepped(windows(10, 170, (slower,))))
    anomalous = [any(a.metric == "duration_us_p50" for a in one.anomalies) for one in judged]
    assert all(anomalous[41:60])
    assert not any(anomalous[140:])


def test_pelt_flags_the_break_for_review() -> None:
    slower = Incident("latency_spike", 40, 30, 3.0)
    judged = judgements(stepped(windows(11, 70, (slower,))))
    assert not any("duration_us_p50" in one.breaks for one in judged[:40])
    assert any("duration_us_p50" in one.breaks for one in judged[43:55])


def test_nothing_but_hard_limits_during_warm_up() -> None:
    judged = judgements(stepped(windows(12, 20, (Incident("latency_spike", 10, 5, 5.0),))))
    assert not any(found(one) for one in judged)
    judged = judgements(stepped(windows(12, 20, (Incident("error_burst", 0, 1, 0.5),))))
    assert found(judged[0]) == {"error_rate/limit"}


def test_an_explanation_has_actual_expected_and_interval() -> None:
    judged = judgements(stepped(windows(13, 42, (Incident("latency_spike", 40, 2, 4.0),))))
    anomaly = next(a for a in judged[40].anomalies if (a.metric, a.detector) == ("duration_us_p50", "arima"))
    assert anomaly.low < anomaly.expected < anomaly.high < anomaly.actual
    for number in (anomaly.actual, anomaly.expected, anomaly.low, anomaly.high):
        assert f"{number / 1e6:.2f} s" in anomaly.explanation


def maintenance(model: str, start: int, end: int) -> Relayed:
    start_us, end_us = START_US + start * MINUTE_US, START_US + end * MINUTE_US
    event = Maintenance(id="m", time_us=start_us, start_us=start_us, end_us=end_us, model=model, reason="new racks")
    return Relayed(offset=0, event=event)


@pytest.mark.parametrize(("model", "suppressed"), [("m-large", True), ("", True), ("other", False)])
def test_maintenance_is_recorded_and_suppressed(model: str, suppressed: bool) -> None:
    relayed = maintenance(model, 40, 44)
    outputs = stepped([relayed, *windows(14, 50, (Incident("error_burst", 40, 8, 0.4),))])
    assert outputs[0].to == "judged"
    assert outputs[0].value is relayed
    judged = judgements(outputs)
    assert all("error_rate/limit" in found(one) for one in judged[40:48])
    assert [bool(one.suppressed) for one in judged[39:45]] == [False, *[suppressed] * 4, False]
    assert not suppressed or "new racks" in judged[41].suppressed


def test_a_maintenance_teaches_nothing_of_what_is_usual() -> None:
    """An hour of planned work on a fifth of the traffic, then all of it: an anomaly if that hour were learnt."""
    judged = judgements(
        stepped([maintenance("m-large", 60, 120), *windows(15, 160, (Incident("traffic_drop", 60, 60, 0.2),))])
    )
    assert all(one.suppressed and one.anomalies for one in judged[61:120])
    assert not any(one.anomalies for one in judged[120:140])


def test_after_the_observation_of_a_deployment_only_what_came_after_it_counts() -> None:
    deployed = Relayed(offset=0, event=Deployment(id="d", time_us=START_US, model="m-large", version="2"))
    first_us = START_US + 23 * HOUR_US + 30 * MINUTE_US
    events = [
        window_at(window, first_us + minute * MINUTE_US)
        for minute, window in enumerate(windows(15, 60, (), rate=150.0))
    ]
    state: State[Any] = State()
    stepped([deployed, *events[:30]], state)
    assert not state.values["context"].deployments["m-large"].settled
    due = {metric: track.arima.fit_due for metric, track in state.values["filter/m-large"].tracks.items()}
    stepped(events[30:32], state)
    assert state.values["context"].deployments["m-large"].settled
    assert all(track.arima.fit_due > due[metric] for metric, track in state.values["filter/m-large"].tracks.items())


def test_windows_without_any_completion_are_judged() -> None:
    silent = [
        MetricWindow(
            id=f"0-{minute}-0",
            time_us=START_US + (minute + 1) * MINUTE_US,
            model="idle",
            start_us=START_US + minute * MINUTE_US,
            end_us=START_US + (minute + 1) * MINUTE_US,
            revision=0,
            requests=0,
            completions=0,
            errors=0,
            error_rate=0.0,
            input_tokens=0,
            output_tokens=0,
            tokens_per_s=0.0,
            cost_microusd=0,
        )
        for minute in range(80)
    ]
    assert not any(judged.anomalies for judged in judgements(stepped(silent)))


def test_history_is_kept_by_the_hour_and_bounded_by_the_week() -> None:
    state: State[Any] = State()
    quick = DetectionParams(models_max=1)
    events = windows(16, 3, (), rate=5.0)
    hours = [window_at(events[hour % 3], START_US + hour * HOUR_US) for hour in range(7 * 24 + 5)]
    Detection(quick).step(state, Batch(0, 1, range(len(hours)), hours))
    assert sum(key.startswith("history/") for key in state.values) == 7 * 24
    Detection(quick).step(state, Batch(0, 1, [1_000], [window_at(events[0], hours[-1].end_us, model="next")]))
    assert {key.split("/")[1] for key in state.values if "/" in key} <= {"next"}


def window_at(window: MetricWindow, start_us: int, model: str = "m-large") -> MetricWindow:
    return replace(window, start_us=start_us, end_us=start_us + MINUTE_US, time_us=start_us + MINUTE_US, model=model)


def test_a_window_is_judged_once() -> None:
    events = windows(17, 30)
    state: State[Any] = State()
    stepped(events, state)
    learned = state.values["filter/m-large"].learned
    again = judgements(stepped([events[10]], state))
    assert again[0].anomalies == []
    assert state.values["filter/m-large"].learned == learned


def test_what_is_due_is_learnt_between_windows_or_else_before_the_next() -> None:
    whole, plain = windows(13, 125), State[Any]()
    waiting = State[Any]()
    for place, window in enumerate(whole):
        if place and plain.values["filter/m-large"].due:
            break
        stepped([window], plain)
        stepped([window], waiting)
    assert waiting.values["filter/m-large"].due
    stepped(moments("m-large", window.start_us, [(25, 25, 0)]), plain)
    assert plain.values["filter/m-large"].due == []
    assert plain.values["filter/m-large"] != waiting.values["filter/m-large"]
    assert judgements(stepped([window], plain)) == judgements(stepped([window], waiting))
    assert plain.values["filter/m-large"] == waiting.values["filter/m-large"]


def hits(seed: int) -> tuple[int, int, int]:
    """Incidents, those detected, and false alarms in one seeded run of all five kinds."""
    happened, minutes = planned(seed)
    judged = judgements(stepped(windows(seed, minutes, happened, RATES[seed % 3])))
    opened = [minute_of(alert) for alert in alerts(judged) if alert.status == "open"]
    spans = [range(one.start, one.start + one.length + 3) for one in happened]
    detected = sum(any(minute in span for minute in opened) for span in spans)
    return len(spans), detected, sum(not any(minute in span for span in spans) for minute in opened)


def test_recall_and_false_alarms_on_seeds_held_out() -> None:
    results = [hits(seed) for seed in HELD_OUT]
    incidents, detected, false_alarms = (sum(column) for column in zip(*results, strict=True))
    assert incidents == 20
    assert detected >= 18
    assert false_alarms <= 2


def test_quiet_traffic_is_quiet() -> None:
    judged = judgements(stepped(windows(9_100, 400, (), rate=200.0)))
    assert len(alerts(judged)) <= 2
    lone: list[Anomaly] = [anomaly for one in judged for anomaly in one.anomalies]
    assert len(lone) < 0.15 * len(judged)


def moments(model: str, start_us: int, counts: Sequence[tuple[int, int, int]]) -> list[Moment]:
    """Ten seconds each of (requests, completions, errors), events spread evenly."""
    found = []
    for index, (requests, completions, errors) in enumerate(counts):
        at_us = start_us + index * MOMENT_US
        found.append(
            Moment(
                model=model,
                start_us=at_us,
                end_us=at_us + MOMENT_US,
                requests=requests,
                completions=completions,
                errors=errors,
                last_request_us=at_us + MOMENT_US - MOMENT_US // (requests + 1) if requests else 0,
                last_completion_us=at_us + MOMENT_US - MOMENT_US // (completions + 1) if completions else 0,
            )
        )
    return found


def sudden_in(counts: Sequence[tuple[int, int, int]], before: Sequence[Any] = ()) -> list[tuple[int, Sudden]]:
    """What the fast path finds after a window and 12 minutes of 5 requests a second: (seconds after them, what)."""
    usual = [(50, 50, 0)] * 72
    events = [*before, windows(4, 1)[0], *moments("m-large", START_US + MINUTE_US, usual + list(counts))]
    from_us = START_US + MINUTE_US + len(usual) * MOMENT_US
    found = [output.value for output in stepped(events) if isinstance(output.value, Sudden)]
    return [((one.time_us - from_us) // SECOND_US, one) for one in found]


@pytest.mark.parametrize(
    ("counts", "metric", "seconds"),
    [
        ([(0, 50, 0)] * 3, "requests", 10),
        ([(20, 50, 0), (0, 30, 0)], "requests", 20),
        ([(7, 50, 0)] * 3, "requests", 20),
        ([(50, 0, 0)] * 3, "completions", 10),
        ([(50, 50, 50)] * 3, "error_rate", 10),
        ([(50, 50, 15)] * 3, "error_rate", 10),
        ([(50, 50, 5)] * 9, "error_rate", 20),
        ([(50, 50, 2)] * 12, "error_rate", 50),
    ],
    ids=[
        "outage",
        "outage, begun within",
        "a seventh left",
        "hang",
        "storm",
        "storm of 30 %",
        "ten percent",
        "four percent",
    ],
)
def test_hard_failures_are_found_within_seconds(counts: list[tuple[int, int, int]], metric: str, seconds: int) -> None:
    at, first = sudden_in(counts)[0]
    assert (at, first.anomalies[0].metric, first.anomalies[0].detector) == (seconds, metric, "sequential")
    assert first.time_us - (seconds + 5) * SECOND_US <= first.started_us[0] < first.time_us
    assert first.suppressed == ""


@pytest.mark.parametrize(
    "counts",
    [
        [(50, 50, 0)] * 12,
        [(25, 25, 0)] * 12,
        [(50, 50, 3)] * 2 + [(50, 50, 0)] * 12,
        [(200, 200, 0)] * 12 + [(50, 50, 0)] * 12,
        [(50, 50, 1)] * 12,
        [(7, 50, 0), (30, 30, 0)],
    ],
    ids=["usual", "half the traffic", "six errors", "back from a surge", "two percent of errors", "a lost slice"],
)
def test_what_is_no_hard_failure_is_left_to_the_minutes(counts: list[tuple[int, int, int]]) -> None:
    assert sudden_in(counts) == []


def test_the_end_of_a_long_surge_is_no_outage() -> None:
    """Eight times the requests for 90 minutes: minutes and moments; then as before."""
    surge = Incident("traffic_drop", 60, 90, 8.0)
    records: list[Any] = []
    for window in windows(9, 180, (surge,)):
        n = window.requests // 6
        records += [*moments("m-large", window.start_us, [(n, n, 0)] * 6), window]
    outputs = stepped(records)
    assert not [one.value for one in outputs if type(one.value) is Sudden]
    assert not any("requests/silence" in found(one) for one in judgements(outputs))


def test_answers_that_trail_an_outage_are_no_hang() -> None:
    outage = [(0, 50, 0), *[(0, 0, 0)] * 11, *[(50, 0, 0)] * 3, *[(50, 50, 0)] * 6]
    assert {anomaly.metric for _, one in sudden_in(outage) for anomaly in one.anomalies} == {"requests"}


def test_a_finding_is_told_for_a_minute_and_not_for_ever() -> None:
    assert [at for at, _ in sudden_in([(0, 0, 0)] * 60)] == [10, 20, 30, 40, 50, 60]


def test_what_is_sudden_in_maintenance_is_recorded_and_suppressed() -> None:
    span = {"start_us": START_US, "end_us": START_US + HOUR_US}
    maintenance = Relayed(offset=0, event=Maintenance(id="m", time_us=START_US, model="m-large", **span))
    (_, first), *_ = sudden_in([(0, 0, 0)], [maintenance])
    assert first.suppressed.startswith("maintenance until ")
    assert [anomaly.metric for anomaly in first.anomalies] == ["requests"]


def test_moments_of_a_model_without_a_window_and_repeated_ones_are_ignored() -> None:
    state: State[Any] = State()
    alone = moments("m-large", START_US, [(50, 50, 0)] * 3)
    assert stepped(alone, state) == []
    assert state.values == {}
    stepped([windows(4, 1)[0], *alone], state)
    before = as_bytes(state)
    stepped(alone, state)
    assert as_bytes(state) == before


@pytest.mark.parametrize(
    ("requests", "completions", "expected"),
    [(300, 0, {"completions/silence"}), (300, 290, set()), (0, 0, {"requests/silence"}), (150, 100, set())],
)
def test_the_minute_says_too_that_it_was_silent(requests: int, completions: int, expected: set[str]) -> None:
    """Before any forecast is ready, so that a provisional alert can be confirmed."""
    usual = moments("m-large", START_US + MINUTE_US, [(50, 50, 0)] * 72)
    window = replace(windows(4, 14)[13], requests=requests, completions=completions, errors=0)
    outputs = stepped([windows(4, 1)[0], *usual, window])
    assert {one for one in found(judgements(outputs)[-1]) if one.endswith("silence")} == expected
