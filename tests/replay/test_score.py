"""Which alert finds which incident, what is false, what was done: a table of cases, times in minutes.

incident            |######|               10 to 20, m-one
an alert finds it   [------->..]           from 10 to 23
recovery            ........[-->]          to 25: counted neither way
"""

import msgspec
import pytest

from replay.score import Score, score
from tests.replay.records import (
    alert,
    at,
    collected,
    command,
    decision,
    incident,
    invalidated,
    job,
    touched,
)

END = at(60)


@pytest.mark.parametrize(
    ("minute", "model", "expected"),
    [
        (9.9, "m-one", "false"),
        (10.0, "m-one", "found"),
        (12.5, "m-one", "found"),
        (23.0, "m-one", "found"),
        (23.1, "m-one", "related"),
        (25.0, "m-one", "related"),
        (25.1, "m-one", "false"),
        (12.5, "m-two", "false"),
        (60.5, "m-one", "after_end"),
    ],
)
def test_an_alert_is_judged_by_when_it_opens_and_its_model(minute: float, model: str, expected: str) -> None:
    run = collected(alerts=[alert("a1", minute, model=model)])
    judged = score([incident("error_burst", 10, 20)], [touched("m-one")], run, END)
    places = {
        "found": judged.detected,
        "false": len(judged.false_alarms),
        "related": len(judged.related),
        "after_end": len(judged.after_end),
    }
    assert places == {**dict.fromkeys(places, 0), expected: 1}


def test_delay_counts_from_the_start_to_the_first_alert() -> None:
    run = collected(alerts=[alert("a2", 14, kind="latency_spike"), alert("a1", 12.5), alert("a1", 30, "resolved")])
    (row,) = score([incident("error_burst", 10, 20)], [touched("m-one")], run, END).incidents
    assert row.delay_us == at(2.5) - at(0)
    assert [life.alert for life in row.alerts] == ["a1", "a2"]
    assert row.named_rightly
    assert row.alerts[0].resolved_us == at(30)
    assert row.alerts[1].resolved_us is None
    assert row.events_touched == 7


def test_a_missed_incident_has_no_delay() -> None:
    (row,) = score([incident("latency_leak", 10, 20)], [touched("m-one")], collected(), END).incidents
    assert (row.detected, row.delay_us, row.alerts, row.commands) == (False, None, [], [])


def test_a_token_surge_may_show_in_any_model_that_the_organisation_uses() -> None:
    run = collected(alerts=[alert("a1", 12, model="m-two", kind="token_surge"), alert("a2", 12, model="m-three")])
    judged = score([incident("token_surge", 10, 20, "acme")], [touched("m-one", "m-two")], run, END)
    assert [life.model for life in judged.incidents[0].alerts] == ["m-two"]
    assert [life.model for life in judged.false_alarms] == ["m-three"]


def test_a_withdrawn_alert_is_over() -> None:
    run = collected(alerts=[alert("a1", 40, provisional=True), alert("a1", 42, "withdrawn")])
    (life,) = score([], [], run, END).false_alarms
    assert life.resolved_us == at(42)


def test_an_alert_keeps_its_highest_severity_and_all_confirmations() -> None:
    steps = [alert("a1", 12), alert("a1", 13, "update", severity="critical"), alert("a1", 20, "resolved")]
    judged = score([incident("error_burst", 10, 20)], [touched("m-one")], collected(alerts=steps), END)
    (life,) = judged.incidents[0].alerts
    assert life.severity == "critical"
    assert life.confirmations == ["error_rate/arima", "error_rate/counts"]


def test_commands_follow_their_alert_with_states_and_answers() -> None:
    run = collected(
        alerts=[alert("a1", 12)],
        commands=[
            command("c1", 12),
            command("c2", 12, action="invalidate_cache"),
            command("c1", 25, "reversed"),
            command("c9", 12, alert="a-other"),
        ],
        jobs=[
            job("one", 12.1, command="c1"),
            job("two", 25.1, "traffic_restored", command="c1"),
            job("x", 13, command="c9"),
        ],
        invalidations=[invalidated(12.2, "c2")],
    )
    (row,) = score([incident("error_burst", 10, 20)], [touched("m-one")], run, END).incidents
    shift, drop = row.commands
    assert shift.states == [("issued", at(12)), ("reversed", at(25))]
    assert [(answer.by, answer.what) for answer in shift.answers] == [
        ("scheduler", "traffic_shifted"),
        ("scheduler", "traffic_restored"),
    ]
    assert [(answer.by, answer.what) for answer in drop.answers] == [
        ("cache", "entries of m-one below epoch 4 dropped")
    ]


@pytest.mark.parametrize(("states", "expected"), [(("issued",), 3), (("issued", "reversed"), 2), (("rejected",), None)])
def test_the_quotas_answer_is_what_it_refused_while_the_throttle_held(
    states: tuple[str, ...], expected: int | None
) -> None:
    refused = [decision(n, minute, "throttled") for n, minute in enumerate([5, 12.5, 16, 22, 50])]
    steps = [
        command("c1", 12 + 6 * n, state, action="throttle", target="acme", expires_us=at(30))
        for n, state in enumerate(states)
    ]
    run = collected(alerts=[alert("a1", 12)], decisions=refused, commands=steps)
    (row,) = score([incident("token_surge", 10, 20, "acme")], [touched("m-one")], run, END).incidents
    answers = [answer.what for answer in row.commands[0].answers]
    assert answers == ([] if expected is None else [f"{expected} requests of acme throttled"])


def test_a_score_survives_json() -> None:
    run = collected(alerts=[alert("a1", 12), alert("a2", 40)], commands=[command("c1", 12)])
    judged = score([incident("error_burst", 10, 20)], [touched("m-one")], run, END)
    assert msgspec.json.decode(msgspec.json.encode(judged), type=Score) == judged
