"""The life of commands: what alerts, time and people make of them."""

from typing import Any

import msgspec
import pytest
from hypothesis import given

from pipeline.incidents import Value
from pipeline.rules import RULES, Rule
from pipeline.stage import Batch, Output, State
from pipeline.stages.mitigation import Mitigation, MitigationParams
from tests.streams.mitigation import streams
from topics.control import Approval, Command, Deployment, Feedback, Relayed
from topics.fields import HOUR_US, MINUTE_US
from topics.records import Alert
from topics.traffic import Tick

START = 1_790_000_000_000_000
MODEL = "owl"


class Bench:
    """A mitigation stage in partition 3, fed one event an offset."""

    def __init__(self, **params: Any) -> None:
        self.stage = Mitigation(MitigationParams(**params))
        self.state: State[Value] = State()
        self.offset = 99
        self.outputs: list[Output] = []

    def feed(self, event: Any) -> list[Command]:
        self.offset += 1
        outputs = self.stage.step(self.state, Batch(3, 8, [self.offset], [event]))
        self.outputs += outputs
        return [output.value for output in outputs if output.to == "commands"]

    def alert(self, kind: str, status: Any = "open", minute: int = 0, **more: Any) -> list[Command]:
        fields: dict[str, Any] = {
            "alert": "a3-7-0",
            "severity": "warning",
            "model": MODEL,
            "windows": 3,
            "summary": "It rose.",
            "started_us": START,
        }
        fields |= more
        step = Alert(id=f"alert-{self.offset}", time_us=START + minute * MINUTE_US, kind=kind, status=status, **fields)
        return self.feed(step)

    def tick(self, minute: int) -> list[Command]:
        return self.feed(Tick(time_us=START + minute * MINUTE_US))

    def deploy(self, version: str, stable: str = "", hours_before: int = 1) -> list[Command]:
        time_us = START - hours_before * HOUR_US
        event = Deployment(id="d", time_us=time_us, model=MODEL, version=version, stable=stable)
        return self.feed(Relayed(offset=self.offset, event=event))

    def answer(self, command: str, approved: bool) -> list[Command]:
        event = Approval(id="p", time_us=START, command=command, approved=approved, by="ana")
        return self.feed(Relayed(offset=self.offset, event=event))

    def judge(self, alert: str, verdict: Any) -> list[Command]:
        event = Feedback(id="f1", time_us=START, alert=alert, verdict=verdict)
        return self.feed(Relayed(offset=self.offset, event=event))

    def watched(self) -> int:
        return sum(key.startswith("incident/") for key in self.state.values)


def brief(commands: list[Command]) -> list[tuple[str, str, str]]:
    return [(command.action, command.target, command.state) for command in commands]


ROWS: list[tuple[str, str, list[tuple[str, str, str]]]] = [
    ("token_surge", "info", [("throttle", "acme", "pending_approval")]),
    ("token_surge", "warning", [("throttle", "acme", "issued")]),
    ("cost_anomaly", "critical", [("throttle", "acme", "pending_approval")]),
    ("error_burst", "info", []),
    ("error_burst", "warning", [("shift_traffic", MODEL, "issued")]),
    ("latency_spike", "warning", [("free_gpus", MODEL, "issued")]),
    ("latency_spike", "critical", [("free_gpus", MODEL, "issued"), ("shift_traffic", MODEL, "issued")]),
    ("latency_leak", "warning", [("free_gpus", MODEL, "issued")]),
    ("latency_leak", "critical", [("free_gpus", MODEL, "issued"), ("shift_traffic", MODEL, "issued")]),
    ("traffic_drop", "warning", [("invalidate_cache", MODEL, "issued")]),
    ("multi_metric", "warning", []),
    ("multi_metric", "critical", [("shift_traffic", MODEL, "issued")]),
    ("unheard_of", "critical", []),
]


@pytest.mark.parametrize(("kind", "severity", "expected"), ROWS)
def test_table(kind: str, severity: Any, expected: list[tuple[str, str, str]]) -> None:
    assert brief(Bench().alert(kind, severity=severity, organisation="acme")) == expected


def test_a_command_says_who_what_until_when_and_why() -> None:
    (command,) = Bench().alert("token_surge", organisation="acme")
    assert command == Command(
        id="c3-100-0",
        command="c3-100-0",
        time_us=START,
        alert="a3-7-0",
        model=MODEL,
        action="throttle",
        target="acme",
        state="issued",
        severity="warning",
        expires_us=START + 15 * MINUTE_US,
        reason="Token surge on owl: hold acme to 50 % of its rate. It rose.",
        parameters={"percent": 50},
        source=(3, 100, 0),
    )


def test_each_command_goes_to_subscribers_and_into_the_control_log() -> None:
    bench = Bench()
    bench.alert("latency_spike", severity="critical")
    assert [(o.offset, o.to, o.key, o.value.id) for o in bench.outputs] == [
        (100, "commands", MODEL, "c3-100-0"),
        (100, "control", "c3-100-0", "c3-100-0"),
        (100, "commands", MODEL, "c3-100-1"),
        (100, "control", "c3-100-1", "c3-100-1"),
    ]


def test_nobody_named_throttles_the_free_tier() -> None:
    assert brief(Bench().alert("token_surge")) == [("throttle", "tier:free", "issued")]


def test_the_organisation_once_found_is_throttled_instead_of_the_tier() -> None:
    bench = Bench()
    bench.alert("token_surge")
    assert brief(bench.alert("token_surge", "update", 1, organisation="acme")) == [
        ("throttle", "tier:free", "reversed"),
        ("throttle", "acme", "issued"),
    ]
    assert bench.alert("token_surge", "update", 2, organisation="zenith") == []
    assert brief(bench.alert("token_surge", "resolved", 3)) == [("throttle", "acme", "reversed")]


def test_no_action_twice_for_one_alert() -> None:
    bench = Bench()
    bench.alert("error_burst")
    assert bench.alert("error_burst", "update", 1) == []
    assert bench.alert("error_burst", "open", 2) == []


def test_resolved_reverses_what_can_be_reversed_and_forgets() -> None:
    bench = Bench()
    (issued,) = bench.alert("error_burst")
    (undone,) = bench.alert("error_burst", "resolved", 5)
    assert (undone.command, undone.state, undone.reason) == (issued.command, "reversed", "the alert resolved")
    assert (issued.id, undone.id) == ("c3-100-0", "c3-101-0")
    assert bench.alert("error_burst", "resolved", 6) == []
    assert bench.watched() == 0


def test_a_provisional_alert_commands_only_what_can_be_undone_until_it_is_confirmed() -> None:
    bench = Bench()
    bench.deploy("2.0", stable="1.9")
    assert brief(bench.alert("error_burst", severity="critical", provisional=True)) == [
        ("shift_traffic", MODEL, "issued")
    ]
    assert brief(bench.alert("error_burst", "update", 1, severity="critical")) == [
        ("roll_back", MODEL, "pending_approval")
    ]
    other = Bench()
    assert other.alert("traffic_drop", severity="critical", provisional=True) == []
    assert brief(other.alert("traffic_drop", "update", 1, severity="critical")) == [
        ("invalidate_cache", MODEL, "issued")
    ]


def test_withdrawn_takes_back_what_was_done_and_forgets() -> None:
    bench = Bench()
    (issued,) = bench.alert("no_answers", severity="critical", provisional=True)
    (undone,) = bench.alert("no_answers", "withdrawn", 2, severity="critical", provisional=True)
    assert (issued.action, undone.command) == ("shift_traffic", issued.command)
    assert (undone.state, undone.reason) == ("reversed", "the alert was withdrawn")
    assert bench.watched() == 0


def test_a_dropped_cache_is_not_reversed() -> None:
    bench = Bench()
    bench.alert("traffic_drop")
    assert bench.alert("traffic_drop", "resolved", 5) == []


def test_rising_severity_adds_and_enlarges() -> None:
    bench = Bench()
    (freed,) = bench.alert("latency_leak")
    more, shifted = bench.alert("latency_leak", "update", 2, severity="critical")
    assert (more.command, more.state, more.parameters) == (freed.command, "issued", {"gpus": 16})
    assert (shifted.action, shifted.state) == ("shift_traffic", "issued")
    assert bench.alert("latency_leak", "update", 3, severity="warning") == []
    assert bench.alert("latency_leak", "update", 4, severity="critical") == []


def test_rising_severity_does_what_was_only_proposed() -> None:
    bench = Bench()
    (proposed,) = bench.alert("token_surge", severity="info")
    (issued,) = bench.alert("token_surge", "update", 1)
    assert (issued.command, issued.state, issued.severity) == (proposed.command, "issued", "warning")
    assert bench.answer(proposed.command, True) == []


# -- time -----------------------------------------------------------------------------------------------------------


def test_an_open_alert_renews_its_command_so_often_and_no_more() -> None:
    bench = Bench(renewals_max=2)
    (first,) = bench.alert("token_surge")  # 15 minutes, renewed 3 minutes ahead
    assert bench.tick(11) == []
    (renewed,) = bench.tick(12)
    assert (renewed.command, renewed.state, renewed.expires_us) == (first.command, "issued", START + 27 * MINUTE_US)
    assert brief(bench.tick(24)) == [("throttle", "tier:free", "issued")]
    assert bench.tick(38) == []
    (over,) = bench.tick(39)
    assert (over.command, over.state, over.reason) == (first.command, "reversed", "expired: its time is up")
    assert bench.tick(500) == []
    assert bench.alert("token_surge", "update", 501) == []


def test_a_question_nobody_answers_expires() -> None:
    bench = Bench()
    bench.alert("token_surge", severity="info")
    assert bench.tick(29) == []
    assert brief(bench.tick(30)) == [("throttle", "tier:free", "expired")]
    assert bench.answer("c3-100-0", True) == []


def test_time_never_goes_back() -> None:
    bench = Bench()
    bench.tick(60)
    (command,) = bench.alert("error_burst", minute=10)
    assert command.time_us == START + 60 * MINUTE_US
    assert command.expires_us == START + 90 * MINUTE_US


# -- deployments and approval ---------------------------------------------------------------------------------------


def test_a_recent_deployment_is_shifted_off_and_its_roll_back_waits_for_a_person() -> None:
    bench = Bench()
    bench.deploy("2.0", stable="1.9")
    shift, asked = bench.alert("error_burst")
    assert (shift.state, shift.parameters) == ("issued", {"to": "1.9", "from": "2.0"})
    assert (asked.action, asked.state) == ("roll_back", "pending_approval")
    done, dropped = bench.answer(asked.command, True)
    assert (done.command, done.state, done.parameters["to"]) == (asked.command, "issued", "1.9")
    assert done.reason.startswith("approved by ana")
    assert (dropped.action, dropped.state, dropped.target) == ("invalidate_cache", "issued", MODEL)
    assert brief(bench.alert("error_burst", "resolved", 9)) == [("shift_traffic", MODEL, "reversed")]


def test_rejected_is_not_done_nor_asked_again() -> None:
    bench = Bench()
    bench.deploy("2.0", stable="1.9")
    _, asked = bench.alert("error_burst")
    assert brief(bench.answer(asked.command, False)) == [("roll_back", MODEL, "rejected")]
    assert bench.answer(asked.command, True) == []
    assert bench.alert("error_burst", "update", 3, severity="critical") == []


@pytest.mark.parametrize(
    ("version", "stable", "hours_before", "asked"),
    [("2.0", "1.9", 1, True), ("2.0", "1.9", 24, True), ("2.0", "1.9", 25, False), ("1.9", "1.9", 1, False)],
)
def test_only_a_recent_deployment_of_another_version_is_suspect(
    version: str, stable: str, hours_before: int, asked: bool
) -> None:
    bench = Bench()
    bench.deploy(version, stable, hours_before)
    actions = [command.action for command in bench.alert("error_burst")]
    assert ("roll_back" in actions) == asked


def test_a_deployment_after_the_incident_began_is_not_its_cause() -> None:
    bench = Bench()
    bench.deploy("2.0", "1.9", hours_before=-1)
    assert [command.action for command in bench.alert("error_burst", minute=70)] == ["shift_traffic"]


def test_the_version_before_is_the_stable_one_where_none_is_named() -> None:
    bench = Bench()
    bench.deploy("1.0", hours_before=50)
    bench.deploy("2.0")
    shift, _ = bench.alert("error_burst")
    assert shift.parameters == {"to": "1.0", "from": "2.0"}


def test_after_a_roll_back_nothing_is_left_to_roll_back() -> None:
    bench = Bench()
    bench.deploy("2.0", stable="1.9")
    _, asked = bench.alert("error_burst")
    bench.answer(asked.command, True)
    bench.alert("error_burst", "resolved", 5)
    assert [c.action for c in bench.alert("error_burst", alert="a3-8-0", minute=9)] == ["shift_traffic"]


def test_the_question_outlives_an_alert_that_the_shift_has_calmed() -> None:
    bench = Bench()
    bench.deploy("2.0", stable="1.9")
    _, asked = bench.alert("error_burst")
    assert brief(bench.alert("error_burst", "resolved", 5)) == [("shift_traffic", MODEL, "reversed")]
    assert brief(bench.answer(asked.command, True)) == [
        ("roll_back", MODEL, "issued"),
        ("invalidate_cache", MODEL, "issued"),
    ]
    assert bench.watched() == 0


@pytest.mark.parametrize("command", ["c3-1-0", "c0-100-0", "nonsense"])
def test_an_answer_to_what_is_not_asked_changes_nothing(command: str) -> None:
    bench = Bench()
    bench.alert("token_surge", severity="info")
    assert bench.answer(command, True) == []
    assert brief(bench.answer("c3-100-0", True)) == [("throttle", "tier:free", "issued")]


def test_an_alert_judged_false_is_undone_and_stays_quiet() -> None:
    bench = Bench()
    bench.deploy("2.0", stable="1.9")
    bench.alert("error_burst")
    assert bench.judge("a3-7-0", "true") == []
    assert brief(bench.judge("a3-7-0", "false")) == [
        ("shift_traffic", MODEL, "reversed"),
        ("roll_back", MODEL, "expired"),
    ]
    assert bench.alert("error_burst", "update", 4, severity="critical") == []
    assert bench.alert("error_burst", "resolved", 9) == []
    assert bench.watched() == 0


# -- reach ----------------------------------------------------------------------------------------------------------


def test_traffic_is_shifted_off_so_many_models_and_no_more_unasked() -> None:
    bench = Bench(shifted_models_max=1)
    bench.alert("error_burst")
    (asked,) = bench.alert("error_burst", alert="a3-8-0", model="heron")
    assert (asked.state, asked.target) == ("pending_approval", "heron")
    assert asked.reason.startswith("1 models are shifted already")
    assert bench.alert("error_burst", "update", 1, alert="a3-8-0", model="heron", severity="critical") == []
    assert brief(bench.answer(asked.command, True)) == [("shift_traffic", "heron", "issued")]


def test_a_second_alert_is_covered_by_what_stands_and_takes_it_over() -> None:
    bench = Bench()
    (freed,) = bench.alert("latency_spike")
    assert bench.alert("latency_leak", alert="a3-8-0") == []
    assert bench.alert("latency_spike", "resolved", 3) == []
    (undone,) = bench.alert("latency_leak", "resolved", 6, alert="a3-8-0")
    assert (undone.command, undone.state) == (freed.command, "reversed")


def test_an_alert_judged_false_takes_nothing_over() -> None:
    bench = Bench()
    bench.alert("latency_spike")
    bench.alert("latency_leak", alert="a3-8-0")
    assert bench.judge("a3-8-0", "false") == []
    assert brief(bench.alert("latency_spike", "resolved", 3)) == [("free_gpus", MODEL, "reversed")]


def test_a_graver_second_alert_does_what_the_first_only_proposed() -> None:
    bench = Bench()
    (proposed,) = bench.alert("token_surge", severity="info", organisation="acme")
    second = {"alert": "a3-8-0", "model": "heron", "organisation": "acme"}
    assert bench.alert("token_surge", severity="info", **second) == []
    (issued,) = bench.alert("token_surge", "update", 1, **second)
    assert (issued.command, issued.state, issued.target) == (proposed.command, "issued", "acme")
    assert bench.alert("token_surge", "resolved", 2, organisation="acme") == []
    assert brief(bench.alert("token_surge", "resolved", 3, **second)) == [("throttle", "acme", "reversed")]


def test_a_covered_alert_does_not_begin_again_what_has_ended() -> None:
    bench = Bench(renewals_max=0)
    bench.alert("latency_spike")
    bench.alert("latency_leak", alert="a3-8-0")
    assert brief(bench.tick(30)) == [("free_gpus", MODEL, "reversed")]
    assert bench.alert("latency_leak", "update", 31, alert="a3-8-0") == []


def test_the_oldest_incident_makes_room_and_leaves_nothing_standing() -> None:
    bench = Bench(incidents_max=2)
    bench.alert("latency_spike", alert="a3-1-0")
    bench.alert("latency_spike", alert="a3-2-0", model="heron")
    undone, issued = bench.alert("latency_spike", alert="a3-3-0", model="ibis")
    assert (undone.alert, undone.state) == ("a3-1-0", "reversed")
    assert (issued.alert, issued.state) == ("a3-3-0", "issued")
    assert bench.watched() == 2


def test_deployments_remembered_are_bounded() -> None:
    bench = Bench(deployments_max=2)
    for index in range(5):
        event = Deployment(id=f"d{index}", time_us=START, model=f"m{index}", version="1")
        bench.feed(Relayed(offset=index, event=event))
    deployments: Any = bench.state.get("deployments")
    assert list(deployments.models) == ["m3", "m4"]


WALK = {
    None: {"issued", "pending_approval"},
    "pending_approval": {"issued", "rejected", "expired"},
    "issued": {"issued", "reversed"},
    "reversed": set(),
    "rejected": set(),
    "expired": set(),
}


@given(streams())
def test_every_command_walks_the_allowed_states_and_reach_is_bounded(events: list[Any]) -> None:
    params = MitigationParams(shifted_models_max=1, incidents_max=3)
    outputs = Mitigation(params).step(State(), Batch(0, 1, range(len(events)), events))
    sent = [output.value for output in outputs if output.to == "commands"]
    assert sent == [output.value for output in outputs if output.to == "control"]
    assert len({command.id for command in sent}) == len(sent)
    state_of: dict[str, str | None] = {}
    for command in sent:
        assert command.state in WALK[state_of.get(command.command)], command
        state_of[command.command] = command.state
        assert command.action != "roll_back" or command.state != "issued" or command.reason.startswith("approved")
    coordinates = [command.source for command in sent]
    assert coordinates == sorted(coordinates)


@given(streams())
def test_when_every_alert_resolves_and_time_passes_nothing_stands(events: list[Any]) -> None:
    last_us = max((e.event.time_us if isinstance(e, Relayed) else e.time_us for e in events), default=START)
    names = {event.alert: event for event in events if isinstance(event, Alert)}
    ends = [msgspec.structs.replace(alert, status="resolved", time_us=last_us) for alert in names.values()]
    events = [*events, *ends, Tick(time_us=last_us + 48 * HOUR_US)]
    state: State[Value] = State()
    outputs = Mitigation(MitigationParams(incidents_max=3)).step(state, Batch(0, 1, range(len(events)), events))
    last = {output.value.command: output.value for output in outputs}
    standing = [c for c in last.values() if c.state in ("issued", "pending_approval")]
    assert all(c.action in ("invalidate_cache", "roll_back") and c.state == "issued" for c in standing)
    assert not [key for key in state.values if key.startswith("incident/")]


# -- the table as configuration -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('action = "roll_back", parameters = {to = "1"}', "needs_approval must be true"),
        ('action = "free_gpus"', "parameters must have 'gpus' (int)"),
        ('action = "throttle", parameters = {percent = "half"}', "parameters must have 'percent' (int)"),
        ('action = "invalidate_cache", ttl_us = 0', "ttl_us must be above 0"),
        ('action = "shift_traffic", parameters = {to = "{version.__class__.x}"}', "it may name kind, severity"),
        ('action = "invalidate_cache", reason = "{prompt}"', "it may name kind, severity"),
    ],
)
def test_a_rule_that_cannot_be_obeyed_is_refused_when_read(row: str, message: str) -> None:
    reason = "" if "reason" in row else ', reason = "why"'
    text = f'rules = [{{alert = "error_burst", severity = "warning", {row}{reason}}}]'
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.toml.decode(text, type=MitigationParams)
    assert message in str(caught.value)


def test_an_operators_own_table_replaces_the_defaults() -> None:
    text = """
    [[rules]]
    alert = "error_burst"
    severity = "info"
    action = "throttle"
    reason = "{model} fails: slow {target} down"
    target = "organisation"
    parameters = {percent = 10}
    """
    params = msgspec.toml.decode(text, type=MitigationParams)
    bench = Bench(rules=params.rules)
    (command,) = bench.alert("error_burst", severity="info", organisation="acme")
    assert (command.parameters, command.reason) == ({"percent": 10}, "owl fails: slow acme down")


def test_default_rules_never_do_unasked_what_cannot_be_undone_but_dropping_a_cache() -> None:
    unasked = [rule for rule in RULES if not rule.reversible and not rule.needs_approval]
    assert {rule.action for rule in unasked} == {"invalidate_cache"}


def test_rules_round_trip() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(RULES), type=tuple[Rule, ...]) == RULES
