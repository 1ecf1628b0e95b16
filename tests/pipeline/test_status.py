"""The status from records: what is open, what holds, what is over."""

from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.status import OBSERVE_US, Lag, Status, standing
from tests.streams.alerting import judged
from tests.streams.minutes import START_US
from topics.control import Command, Deployment, Launch, Maintenance
from topics.fields import MINUTE_US
from topics.records import Alert, Cause, FamilyThreshold, Incident, Thresholds

NOW_US = START_US + 60 * MINUTE_US
AT: dict[str, Any] = {"id": "c", "time_us": START_US}


def at(**given: Any) -> Status:
    records: dict[str, Any] = {name: [] for name in ("windows", "incidents", "alerts", "commands", "thresholds")}
    return standing(NOW_US, **{**records, "control": [], "lags": [], **given})


def alert(name: str, status: Any, minute: int = 0, model: str = "m-large") -> Alert:
    return Alert(
        id=f"{name}-{status}-{minute}",
        time_us=START_US + minute * MINUTE_US,
        alert=name,
        status=status,
        severity="warning",
        kind="error_burst",
        model=model,
        started_us=START_US + minute * MINUTE_US,
        windows=3,
        summary=f"{name} at {minute}",
    )


def incident(name: str, status: Any, minute: int = 0, open_alerts: int = 1) -> Incident:
    return Incident(
        id=f"{name}-{status}-{minute}",
        time_us=START_US + minute * MINUTE_US,
        incident=name,
        status=status,
        severity="critical",
        title=f"m-large: {name} at {minute}",
        started_us=START_US,
        cause=Cause("region", "eu-1", 0.9, explanation="region eu-1 has 90 % of it"),
        models=["m-large"],
        kinds=["error_burst"],
        alerts=["a1", "a2"],
        open_alerts=open_alerts,
    )


def command(name: str, state: Any, minute: int = 0, expires_us: int = NOW_US + 1) -> Command:
    return Command(
        id=f"{name}-{state}-{minute}",
        time_us=START_US + minute * MINUTE_US,
        command=name,
        alert="a1",
        model="m-large",
        action="roll_back",
        target="m-large",
        state=state,
        severity="critical",
        expires_us=expires_us,
        reason="errors since the deployment",
    )


def told(model: str = "m-large", windows: int = 100, minute: int = 50) -> Thresholds:
    family = FamilyThreshold("latency", k=1.5, taught=1.5, windows_min=3, false_alerts=3, reason="3 of 3 false")
    return Thresholds(
        id="t",
        time_us=START_US + minute * MINUTE_US,
        model=model,
        since_us=START_US,
        windows=windows,
        alerts_today=2,
        alerts_a_day=6,
        families=[family],
    )


def test_nothing_is_a_status_too() -> None:
    found = at()
    assert (found.models, found.incidents, found.alerts, found.commands) == ([], [], [], [])
    assert (found.announced, found.lags) == ([], [])


@pytest.mark.parametrize(
    ("steps", "still"),
    [
        (["open"], 1),
        (["open", "update"], 1),
        (["open", "resolved"], 0),
        (["open", "withdrawn"], 0),
        (["open", "resolved", "update"], 1),
    ],
)
def test_an_alert_is_open_until_its_last_step_ends_it(steps: list[str], still: int) -> None:
    found = at(alerts=[alert("a1", status, minute) for minute, status in enumerate(steps)])
    assert len(found.alerts) == still
    assert [model.alerts_open for model in found.models] == ([1] if still else [])
    assert all(each.summary == f"a1 at {len(steps) - 1}" for each in found.alerts)


@pytest.mark.parametrize(
    ("steps", "still"),
    [
        (["opened"], 1),
        (["opened", "updated"], 1),
        (["opened", "resolved"], 0),
        (["opened", "withdrawn"], 0),
        (["opened", "resolved", "updated"], 1),
    ],
)
def test_an_incident_is_open_until_its_last_step_ends_it(steps: list[str], still: int) -> None:
    found = at(incidents=[incident("i1", status, minute) for minute, status in enumerate(steps)])
    assert [each.title for each in found.incidents] == [f"m-large: i1 at {len(steps) - 1}"] * still
    assert all((each.alerts, each.alerts_open, each.cause[:6]) == (2, 1, "region") for each in found.incidents)


@pytest.mark.parametrize(
    ("steps", "waits"),
    [
        (["pending_approval"], [True]),
        (["pending_approval", "issued"], [False]),
        (["pending_approval", "rejected"], []),
        (["issued", "reversed"], []),
        (["issued", "expired"], []),
    ],
)
def test_a_command_stands_until_it_is_undone_or_answered(steps: list[str], waits: list[bool]) -> None:
    found = at(commands=[command("c1", state, minute) for minute, state in enumerate(steps)])
    assert [each.waits for each in found.commands] == waits


def test_a_command_that_has_run_out_does_not_stand() -> None:
    found = at(commands=[command("c1", "issued", expires_us=NOW_US), command("c2", "issued")])
    assert [each.command for each in found.commands] == ["c2"]


def test_open_alerts_come_oldest_first_and_count_for_their_model() -> None:
    found = at(alerts=[alert("b", "open", 5), alert("a", "open", 9), alert("c", "open", 1, "m-small")])
    assert [each.alert for each in found.alerts] == ["c", "b", "a"]
    assert {each.model: each.alerts_open for each in found.models} == {"m-large": 2, "m-small": 1}


def test_a_model_has_its_newest_window_and_what_was_told_last() -> None:
    windows = [judged(".", minute).window for minute in (57, 56)]
    found = at(windows=windows, thresholds=[told(windows=1, minute=1), told()])
    (model,) = found.models
    assert model.age_us == 2 * MINUTE_US
    assert model.windows == 108  # 100 until minute 50, one a minute since
    assert [each.k for each in model.thresholds] == [1.5]
    assert (model.alerts_today, model.alerts_a_day) == (2, 6)


def test_a_model_without_windows_or_thresholds_is_told_as_such() -> None:
    found = at(windows=[judged(".", 59, "seen").window], thresholds=[told("told")])
    seen, known = found.models
    assert (seen.model, seen.age_us, seen.since_us, seen.thresholds) == ("seen", 0, None, [])
    assert (known.model, known.age_us, known.windows) == ("told", None, 100)


@pytest.mark.parametrize(("ago_us", "version"), [(OBSERVE_US - 1, "2"), (OBSERVE_US, "")])
def test_a_deployment_is_told_of_while_it_is_observed(ago_us: int, version: str) -> None:
    deployment = Deployment(id="d", time_us=NOW_US - ago_us, model="m-large", version="2")
    older = replace(deployment, time_us=NOW_US - OBSERVE_US - 9, version="1")
    (model,) = at(windows=[judged(".", 59).window], control=[older, deployment]).models
    assert model.deployed == version


def test_what_was_announced_is_told_until_it_is_over() -> None:
    over = Maintenance(**AT, start_us=START_US, end_us=NOW_US)
    now = Maintenance(**AT, start_us=START_US, end_us=NOW_US + 1, reason="new racks")
    to_come = Launch(
        **AT, start_us=NOW_US + 1, end_us=NOW_US + 2, factor=2.5, model="m-large", organisation="acme", reason="party"
    )
    found = at(control=[over, now, to_come])
    assert [(each.what, each.whom, each.reason) for each in found.announced] == [
        ("maintenance", "every model", "new racks"),
        ("launch × 2.5", "m-large, organisation acme", "party"),
    ]


def test_lags_pass_as_they_were_read() -> None:
    assert at(lags=[Lag("tidegate", "traffic", 2, 10)]).lags == [Lag("tidegate", "traffic", 2, 10)]
