"""Alerting: cases drawn as one letter a window (tests/streams/alerting.py says what each stands for)."""

from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.stage import Batch, Output, State
from pipeline.stages.alerting import Alerting, AlertingParams
from tests.streams.alerting import MODEST, judged, sudden, timeline
from tests.streams.minutes import START_US
from topics.control import Deployment, Relayed
from topics.fields import MINUTE_US, SECOND_US
from topics.records import Alert, Judged, OrganisationTokens, Part
from topics.traffic import Tick

DEFAULTS = AlertingParams()
Step = tuple[int, str, str, str]


def fed(letters: str, params: AlertingParams = DEFAULTS, before: tuple[Any, ...] = ()) -> list[Output]:
    """Findings are out by 1.1 times their thresholds; `y` is x out by 2.3."""
    events = [*before, *timeline(letters, score=MODEST)]
    return Alerting(params).step(State(), Batch(0, 1, range(len(events)), events))


def published(outputs: list[Output]) -> list[Alert]:
    return [output.value for output in outputs if output.to == "alerts"]


def steps(outputs: list[Output]) -> list[Step]:
    """(window, status, kind, severity) of every alert published."""
    minutes = [(alert.time_us - START_US) // MINUTE_US - 1 for alert in published(outputs)]
    return [
        (minute, alert.status, alert.kind, alert.severity)
        for minute, alert in zip(minutes, published(outputs), strict=True)
    ]


CASES: list[tuple[str, str, list[Step]]] = [
    ("two of five are too few", "..x.x......", []),
    ("three of five open", ".x.x.x...", [(5, "open", "latency_spike", "warning")]),
    ("three of six do not", ".x..x..x..", []),
    (
        "quiet for five resolves",
        "xxx.....",
        [(2, "open", "latency_spike", "warning"), (7, "resolved", "latency_spike", "warning")],
    ),
    ("flapping holds it open", "xxx....x....x..", [(2, "open", "latency_spike", "warning")]),
    ("what is plain opens after two", ".yy", [(2, "open", "latency_spike", "warning")]),
    ("a few errors for long are plain too", "aa", [(1, "open", "error_burst", "info")]),
    ("two of three do, two of four do not", "y.y....y..y", [(2, "open", "latency_spike", "warning")]),
    ("one witness never opens", "llllllllll", []),
    ("one witness keeps it open", "xxxllllllll", [(2, "open", "latency_spike", "warning")]),
    ("what moved the other way is no witness", "wwwwwwww", []),
    ("a break confirms", "ppp", [(2, "open", "latency_spike", "warning")]),
    ("a hard limit opens after two", ".EE", [(2, "open", "error_burst", "warning")]),
    ("errors below the limit alone do not", "eeeeee", []),
    ("more than half failing is critical", "FF", [(1, "open", "error_burst", "critical")]),
    (
        "an update when it gets graver",
        "xxxX",
        [(2, "open", "latency_spike", "warning"), (3, "update", "latency_spike", "critical")],
    ),
    ("none when it gets milder", "XXxxx", [(1, "open", "latency_spike", "critical")]),
    (
        "an update every ten",
        "x" * 13,
        [(2, "open", "latency_spike", "warning"), (12, "update", "latency_spike", "warning")],
    ),
    ("what begins together is one incident", "bbbbb", [(1, "open", "error_burst", "warning")]),
    (
        "what begins later is another",
        "EEEEEEEEbbb",
        [(1, "open", "error_burst", "warning"), (10, "open", "latency_spike", "warning")],
    ),
    (
        "what is graver is not folded",
        "bbbXX",
        [(1, "open", "error_burst", "warning"), (3, "open", "latency_spike", "critical")],
    ),
    ("traffic gone", "ddd", [(2, "open", "traffic_drop", "warning")]),
    ("one organisation's tokens", "ttt", [(2, "open", "token_surge", "warning")]),
    ("one region that fails", "rrr", [(2, "open", "error_burst", "warning")]),
    ("none leads", "ccc", [(2, "open", "multi_metric", "info")]),
    ("maintenance alerts nobody", "mmmmmm", []),
    (
        "sudden, then confirmed and resolved as any other",
        "..!d.....",
        [
            (1, "open", "traffic_drop", "critical"),
            (2, "update", "traffic_drop", "critical"),
            (7, "resolved", "traffic_drop", "critical"),
        ],
    ),
    (
        "sudden, confirmed by the second window only",
        "..!.d",
        [(1, "open", "traffic_drop", "critical"), (3, "update", "traffic_drop", "critical")],
    ),
    (
        "sudden, and two windows say nothing",
        "..!....",
        [(1, "open", "traffic_drop", "critical"), (3, "withdrawn", "traffic_drop", "critical")],
    ),
    (
        "another family's window is no confirmation",
        "..!xxx.",
        [
            (1, "open", "traffic_drop", "critical"),
            (3, "withdrawn", "traffic_drop", "critical"),
            (4, "open", "latency_spike", "warning"),
        ],
    ),
    ("sudden in maintenance", "../....", []),
    (
        "maintenance does not confirm",
        "..!mm",
        [(1, "open", "traffic_drop", "critical"), (3, "withdrawn", "traffic_drop", "critical")],
    ),
    (
        "told again only when graver",
        "..?**F",
        [
            (1, "open", "error_burst", "warning"),
            (1, "update", "error_burst", "critical"),
            (2, "update", "error_burst", "critical"),
        ],
    ),
    (
        "a few errors more, on seconds of evidence, confirmed by what has added up",
        "..3a",
        [(1, "open", "error_burst", "info"), (2, "update", "error_burst", "info")],
    ),
    ("two at once are one incident", "..&", [(1, "open", "traffic_drop", "critical")]),
    ("an open alert needs no provisional one", "FF?&", [(1, "open", "error_burst", "critical")]),
    ("sudden before any window is not believed", "!..", []),
    (
        "withdrawn, it may come again",
        "..!..!dd",
        [
            (1, "open", "traffic_drop", "critical"),
            (3, "withdrawn", "traffic_drop", "critical"),
            (3, "open", "traffic_drop", "critical"),
            (4, "update", "traffic_drop", "critical"),
        ],
    ),
    (
        "back soon after it was resolved: the same alert, and not provisional",
        "..!d.....!d",
        [
            (1, "open", "traffic_drop", "critical"),
            (2, "update", "traffic_drop", "critical"),
            (7, "resolved", "traffic_drop", "critical"),
            (7, "update", "traffic_drop", "critical"),
        ],
    ),
    ("answers stopped", "..%..", [(1, "open", "no_answers", "critical"), (3, "withdrawn", "no_answers", "critical")]),
    (
        "back soon after it was resolved: the same alert, now held twice as long",
        "EE.....EE..........",
        [
            (1, "open", "error_burst", "warning"),
            (6, "resolved", "error_burst", "warning"),
            (8, "update", "error_burst", "warning"),
            (18, "resolved", "error_burst", "warning"),
        ],
    ),
    (
        "a new one later",
        "EE..........EE",
        [
            (1, "open", "error_burst", "warning"),
            (6, "resolved", "error_burst", "warning"),
            (13, "open", "error_burst", "warning"),
        ],
    ),
]


@pytest.mark.parametrize(("letters", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_drawn_case(letters: str, expected: list[Step]) -> None:
    assert steps(fed(letters)) == expected


@pytest.mark.parametrize(
    ("letters", "score", "minute"),
    [
        ("..tt", 0.66, 3),
        (".t..t", 0.66, None),
        ("..t", 0.72, 2),
        ("..t", 0.71, None),
        ("..l..", 0.9, None),
        ("..m", 0.9, None),
        ("..o", 0.76, 2),
        ("..o", 0.74, None),
    ],
    ids=[
        "two windows",
        "not in a row",
        "one window",
        "not quite",
        "one source alone",
        "maintenance",
        "what a token takes",
        "and not quite",
    ],
)
def test_overwhelming_evidence_needs_no_persistence(letters: str, score: float, minute: int | None) -> None:
    """`t` has two witnesses, out by 1.9, 2.6, 2.4 times their thresholds."""
    outputs = Alerting(DEFAULTS).step(State(), Batch(0, 1, range(len(letters)), timeline(letters, score=score)))
    assert [step[0] for step in steps(outputs)] == ([] if minute is None else [minute])


def test_three_in_a_row_is_a_setting() -> None:
    strict = AlertingParams(windows_min=3, windows_of=3)
    assert steps(fed("xx.xx.xx", strict)) == []
    assert steps(fed("xx.xxx", strict)) == [(5, "open", "latency_spike", "warning")]


def test_an_alert_keeps_its_name_and_its_steps_have_their_own() -> None:
    alerts = published(fed("xxxX....."))
    assert {alert.alert for alert in alerts} == {"a0-2-0"}
    assert [alert.id for alert in alerts] == ["a0-2-0", "a0-3-0", "a0-8-0"]


def test_an_alert_tells_what_why_and_what_to_do() -> None:
    alert = published(fed("..ttt"))[0]
    assert alert.organisation == "org-07"
    assert alert.started_us == START_US + 2 * MINUTE_US
    assert alert.windows == 3
    assert alert.confirmations == ["tokens_per_s/organisation", "tokens_share/share"]
    assert alert.metrics["tokens_per_s_expected"] == 700.0
    assert "org-07" in alert.summary
    assert alert.recommended


def test_a_folded_family_joins_the_confirmations() -> None:
    alerts = published(fed("bbb....."))
    assert [alert.status for alert in alerts] == ["open", "resolved"]
    assert "duration_us_p50/arima" in alerts[-1].confirmations


def test_a_provisional_alert_says_so_until_a_window_confirms_it() -> None:
    opened, confirmed = published(fed("..!d"))
    assert (opened.provisional, confirmed.provisional) == (True, False)
    assert opened.alert == confirmed.alert == opened.id
    assert opened.time_us == START_US + 2 * MINUTE_US + 20 * SECOND_US
    assert opened.started_us == confirmed.started_us == opened.time_us - 8 * SECOND_US
    assert opened.summary == "Provisional, on 8 s of evidence: Traffic drop on m-large: requests stopped."
    assert (opened.windows, confirmed.windows) == (0, 1)
    assert opened.confirmations == ["requests/sequential"]
    assert confirmed.confirmations == ["requests/sequential", "requests/arima", "tokens_per_s/arima"]
    assert opened.recommended == confirmed.recommended


def test_a_withdrawn_alert_says_why() -> None:
    withdrawn = published(fed("..!...."))[-1]
    assert withdrawn.provisional
    assert withdrawn.summary == ("Traffic drop on m-large is withdrawn: 2 minute windows since then do not confirm it.")


def test_a_window_that_closed_before_the_finding_does_not_speak_against_it() -> None:
    events = [*timeline(".."), sudden("!", 3), *timeline("....")[2:]]
    alerts = published(Alerting(DEFAULTS).step(State(), Batch(0, 1, range(len(events)), events)))
    assert [(alert.time_us - START_US) // MINUTE_US for alert in alerts] == [3]


def test_every_window_is_followed_by_its_tick_and_alerts_pass_before_it() -> None:
    outputs = [output for output in fed("xxx") if output.to == "raised"]
    assert [type(output.value) for output in outputs] == [Tick, Tick, Alert, Tick]
    ticks = [output.value.time_us for output in outputs if type(output.value) is Tick]
    assert ticks == [START_US + minute * MINUTE_US for minute in (1, 2, 3)]


def deployed(hours_before: int, model: str = "m-large") -> tuple[Relayed, ...]:
    at_us = START_US - hours_before * 60 * MINUTE_US
    return (Relayed(offset=0, event=Deployment(id="d", time_us=at_us, model=model, version="2")),)


@pytest.mark.parametrize(
    ("letters", "before", "severity"),
    [
        ("xxx", deployed(1), "info"),
        ("xxx", deployed(25), "warning"),
        ("xxx", deployed(1, model="other"), "warning"),
        ("XX", deployed(1), "critical"),
        ("EE", deployed(1), "warning"),
        ("ddd", deployed(1), "warning"),
    ],
    ids=[
        "statistics only inform",
        "a day later",
        "another model",
        "hard limit",
        "failing",
        "traffic is no version's doing",
    ],
)
def test_after_a_deployment(letters: str, before: tuple[Relayed, ...], severity: str) -> None:
    outputs = fed(letters, before=before)
    assert [alert.severity for alert in published(outputs)] == [severity]
    assert outputs[0].value is before[0]
    assert outputs[0].to == "raised"


def test_models_are_watched_apart() -> None:
    events = [judged("x", minute, model) for minute in range(2) for model in ("m-large", "m-small")]
    assert (
        published(
            Alerting(AlertingParams(plain_reach=9.0, lone_reach=9.0)).step(State(), Batch(0, 1, range(4), events))
        )
        == []
    )


def test_models_long_gone_are_forgotten() -> None:
    state: State[Any] = State()
    stage = Alerting(AlertingParams(models_max=2))
    for offset, model in enumerate(("one", "two", "three")):
        stage.step(state, Batch(0, 1, [offset], [judged(".", offset, model)]))
    assert sorted(key for key in state.values if key.startswith("model/")) == ["model/three", "model/two"]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="windows_min"):
        AlertingParams(windows_min=6, windows_of=5)
    with pytest.raises(ValueError, match="withdraw_after"):
        AlertingParams(withdraw_after=0)
    with pytest.raises(ValueError, match="resolve_after"):
        AlertingParams(resolve_after=0)


def test_an_alert_names_its_cause_to_the_end() -> None:
    opened, *_, resolved = published(fed("ttt......"))
    assert (opened.causes[0].dimension, opened.causes[0].value) == ("organisation", "org-07")
    assert opened.organisation == "org-07"
    assert opened.causes[0].explanation in opened.summary
    assert resolved.causes == opened.causes


def test_without_a_part_that_stands_out_the_model_or_its_new_version_is_blamed() -> None:
    (alert,) = published(fed("EE"))
    assert (alert.causes[0].dimension, alert.causes[0].value) == ("model", "m-large")
    (alert,) = published(fed("EE", before=deployed(1)))
    assert (alert.causes[0].dimension, alert.causes[0].value) == ("deployment", "2")


def test_a_part_that_stands_out_later_is_told() -> None:
    """Ten usual minutes by region, then errors that at first no region explains, then eu-west alone."""
    drawn = "." * 12 + "EEEEE"
    failed = {14: (2, 2), 15: (90, 1), 16: (90, 1)}
    events = [
        _with_regions(judged(letter, minute), failed.get(minute, (45, 45) if letter == "E" else (1, 1)))
        for minute, letter in enumerate(drawn)
    ]
    alerts = published(Alerting(AlertingParams()).step(State(), Batch(0, 1, range(len(events)), events)))
    assert [alert.causes[0].value for alert in alerts] == ["m-large", "eu-west"]
    assert [alert.status for alert in alerts] == ["open", "update"]


@pytest.mark.parametrize(("letter", "runs", "opens"), [("t", 0, 1), ("t", 3, 0), ("d", 0, 1), ("d", 3, 0), ("E", 3, 1)])
def test_who_comes_and_goes_as_ever_opens_nothing(letter: str, runs: int, opens: int) -> None:
    """org-07 sends in runs of an hour; then a surge of it, or a fall when it ends, or errors in its run."""
    idle, busy = [(".", False)] * 60, [(".", True)] * 60
    drawn = (idle + busy) * runs + idle + (busy if letter == "d" else []) + [(letter, letter != "d")] * 5
    events = [_with_job(judged(of, minute), sends) for minute, (of, sends) in enumerate(drawn)]
    alerts = published(Alerting(AlertingParams()).step(State(), Batch(0, 1, range(len(events)), events)))
    assert len([alert for alert in alerts if alert.status == "open"]) == opens


def _with_job(one: Judged, runs: bool) -> Judged:
    """180,000 tokens without org-07, and half as many of it while it runs."""
    shares = [OrganisationTokens("org-01", 100_000), OrganisationTokens("org-02", 80_000)]
    job = [OrganisationTokens("org-07", 90_000)] if runs else []
    window = replace(one.window, requests=450 if runs else 300, top_organisations=[*shares, *job])
    return replace(one, window=replace(window, input_tokens=120_000 + 90_000 * runs))


def _with_regions(one: Judged, errors: tuple[int, int]) -> Judged:
    parts = [Part("region", name, 150, 150, n) for name, n in zip(("eu-west", "us-east"), errors, strict=True)]
    window = replace(one.window, requests=300, completions=300, errors=sum(errors), parts=parts)
    return replace(one, window=window)
