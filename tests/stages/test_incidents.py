"""Incidents: timelines drawn a letter a minute, a row an alert.

o  opens      u  an update      r  resolved      w  taken back      .  nothing
"""

from typing import Any, NamedTuple

import pytest

from pipeline.judging.grouping import MEMBERS_MAX, TIMELINE_MAX, listed
from pipeline.stage import Batch, State
from pipeline.stages.incidents import Incidents, IncidentsParams
from topics.fields import HOUR_US, MINUTE_US
from topics.records import Alert, Cause, Incident

START_US = 1_790_000_000_000_000
STATUS: dict[str, Any] = {"o": "open", "u": "update", "r": "resolved", "w": "withdrawn"}
EU = Cause("region", "eu-west", 0.92, 0.2, "Region eu-west explains 92 % of the additional errors.")
US = Cause("region", "us-east", 0.8, 0.1)
V2 = Cause("deployment", "2.0", 1.0)
ITSELF = Cause("model", "owl", 1.0)


class Drawn(NamedTuple):
    """One alert's life."""

    letters: str
    model: str = "owl"
    kind: str = "error_burst"
    cause: Cause | None = None
    severity: Any = "warning"


def step(number: int, drawn: Drawn, minute: int) -> Alert:
    started = next(at for at, letter in enumerate(drawn.letters) if letter != ".")
    return Alert(
        id=f"a0-{100 * minute + number}-0",
        time_us=START_US + minute * MINUTE_US,
        alert=f"alert-{number}",
        status=STATUS[drawn.letters[minute]],
        severity=drawn.severity,
        kind=drawn.kind,
        model=drawn.model,
        started_us=START_US + started * MINUTE_US,
        windows=3,
        summary=f"{drawn.kind} on {drawn.model}.",
        causes=[drawn.cause] if drawn.cause else [],
    )


def heard(*rows: Drawn, params: IncidentsParams | None = None) -> list[Incident]:
    steps = [
        step(number, row, minute)
        for minute in range(max(len(row.letters) for row in rows))
        for number, row in enumerate(rows)
        if minute < len(row.letters) and row.letters[minute] != "."
    ]
    outputs = Incidents(params or IncidentsParams()).step(State(), Batch(0, 1, range(len(steps)), steps))
    assert {output.to for output in outputs} <= {"incidents"}
    return [output.value for output in outputs]


def told(*rows: Drawn) -> list[str]:
    """`minute status incident`, incidents numbered in the order in which they open."""
    names: dict[str, int] = {}
    return [
        f"{(one.time_us - START_US) // MINUTE_US} {one.status} {names.setdefault(one.incident, len(names))}"
        for one in heard(*rows)
    ]


CASES: list[tuple[str, tuple[Drawn, ...], list[str]]] = [
    ("one alert", (Drawn(".o.u.r"),), ["1 opened 0", "5 resolved 0"]),
    (
        "two metrics of one model",
        (Drawn("o....r"), Drawn("..o....r", kind="latency_spike")),
        ["0 opened 0", "2 updated 0", "5 updated 0", "7 resolved 0"],
    ),
    (
        "one region of two models",
        (Drawn("o......r", cause=EU), Drawn("......o.r", model="heron", kind="latency_spike", cause=EU)),
        ["0 opened 0", "6 updated 0", "7 updated 0", "8 resolved 0"],
    ),
    (
        "two regions are two incidents",
        (Drawn("o...r", cause=EU), Drawn(".o...r", model="heron", cause=US)),
        ["0 opened 0", "1 opened 1", "4 resolved 0", "5 resolved 1"],
    ),
    (
        "two regions of one model too",
        (Drawn("o...r", cause=EU), Drawn(".o...r", kind="latency_spike", cause=US)),
        ["0 opened 0", "1 opened 1", "4 resolved 0", "5 resolved 1"],
    ),
    (
        "the same on several models at once is shared",
        (Drawn("o....r"), Drawn("..o..r", model="heron", cause=ITSELF)),
        ["0 opened 0", "2 updated 0", "5 updated 0", "5 resolved 0"],
    ),
    (
        "the same much later is not",
        (Drawn("o.........r"), Drawn("........o.r", model="heron")),
        ["0 opened 0", "8 opened 1", "10 resolved 0", "10 resolved 1"],
    ),
    (
        "a new version of one model is that model's",
        (Drawn("o...r", cause=V2), Drawn(".o..r", model="heron")),
        ["0 opened 0", "1 opened 1", "4 resolved 0", "4 resolved 1"],
    ),
    (
        "flapping: it comes back, by the same alert or another, and stays one incident",
        (Drawn("o.r..u.r"), Drawn("............o.r")),
        ["0 opened 0", "2 resolved 0", "5 updated 0", "7 resolved 0", "12 updated 0", "14 resolved 0"],
    ),
    (
        "after a long quiet it is another",
        (Drawn("o.r"), Drawn(".............o.r")),
        ["0 opened 0", "2 resolved 0", "13 opened 1", "15 resolved 1"],
    ),
    (
        "another kind soon after is another",
        (Drawn("o.r"), Drawn(".....o.r", kind="token_surge")),
        ["0 opened 0", "2 resolved 0", "5 opened 1", "7 resolved 1"],
    ),
    ("taken back", (Drawn("o.w"),), ["0 opened 0", "2 withdrawn 0"]),
    (
        "one taken back, one not",
        (Drawn("o.w"), Drawn(".o..r", kind="latency_spike")),
        ["0 opened 0", "1 updated 0", "2 updated 0", "4 resolved 0"],
    ),
    ("the end of what was never heard of", (Drawn("..r"),), []),
]


@pytest.mark.parametrize(("rows", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_drawn_timeline(rows: tuple[Drawn, ...], expected: list[str]) -> None:
    assert told(*rows) == expected


def test_an_incident_tells_what_where_why_and_how_it_went() -> None:
    last = heard(
        Drawn("o....r", cause=EU), Drawn("..o.r", model="heron", kind="latency_spike", cause=EU, severity="critical")
    )[-1]
    assert last.title == "Error burst and latency spike on owl and heron: region eu-west explains 92 % of it."
    assert (last.severity, last.cause, last.status) == ("critical", EU, "resolved")
    assert (last.models, last.alerts, last.open_alerts) == (["owl", "heron"], ["alert-0", "alert-1"], 0)
    assert (last.started_us, last.ended_us) == (START_US, START_US + 5 * MINUTE_US)
    assert [(m.time_us - START_US) // MINUTE_US for m in last.timeline] == [0, 2, 4, 5]


def test_what_several_models_share_is_named() -> None:
    *_, two, _, _ = heard(Drawn("o....r"), Drawn(".o...r", model="heron"))
    assert (two.cause.dimension, two.cause.value) == ("shared", "infrastructure")
    assert two.title == "Error burst on owl and heron: shared infrastructure."


def test_a_cause_found_later_is_told() -> None:
    late = [step(0, Drawn("o.u", cause=cause), minute) for minute, cause in ((0, ITSELF), (2, EU))]
    outputs = Incidents(IncidentsParams()).step(State(), Batch(0, 1, range(2), late))
    assert [output.value.cause for output in outputs] == [ITSELF, EU]


def test_a_reopened_incident_says_so() -> None:
    assert [one.reopened for one in heard(Drawn("o.r..u.r"))] == [0, 0, 1, 1]


def test_what_nobody_speaks_of_is_resolved() -> None:
    quiet, other = Drawn("o"), Drawn("o", model="heron", kind="token_surge")
    late = step(1, other, 0)
    late = Alert(**{**{n: getattr(late, n) for n in late.__struct_fields__}, "time_us": START_US + 13 * HOUR_US})
    outputs = Incidents(IncidentsParams()).step(State(), Batch(0, 1, range(2), [step(0, quiet, 0), late]))
    assert [output.value.status for output in outputs] == ["opened", "resolved", "opened"]


def test_everything_is_bounded() -> None:
    stage, state = Incidents(IncidentsParams(incidents_max=3)), State[Any]()
    alerts = [
        step(number, Drawn("o", model=f"m{number}", cause=Cause("client", f"c{number}", 1.0)), 0) for number in range(9)
    ]
    stage.step(state, Batch(0, 1, range(9), alerts))
    assert sum(key.startswith("case/") for key in state.values) == 3
    assert len(state.values["names"].incidents) == 3
    many = [step(number, Drawn("o"), 0) for number in range(MEMBERS_MAX + 5)]
    outputs = Incidents(IncidentsParams()).step(State(), Batch(0, 1, range(len(many)), many))
    assert max(len(output.value.alerts) for output in outputs) == MEMBERS_MAX
    assert max(len(output.value.timeline) for output in outputs) == TIMELINE_MAX


def test_names_are_listed() -> None:
    assert [listed(list("abcdef"[:count])) for count in (1, 2, 3, 4, 6)] == [
        "a",
        "a and b",
        "a, b and c",
        "a, b, c and 1 other",
        "a, b, c and 3 others",
    ]
