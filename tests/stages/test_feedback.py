"""Alerting that learns: verdicts, the noise budget, launches; days drawn as letters (tests/streams/alerting.py)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.stage import Batch, Output, State
from pipeline.stages.alerting import Alerting, AlertingParams
from tests.streams.alerting import judged, sudden
from tests.streams.minutes import START_US
from topics.control import Feedback, Launch, Relayed
from topics.fields import HOUR_US, MINUTE_US, SECOND_US
from topics.records import Alert, FamilyThreshold, Thresholds

DAY_MINUTES = 24 * 60
MIDNIGHT = -(START_US // MINUTE_US) % DAY_MINUTES  # the first minute of the next day


class Line:
    """One partition's alerting, fed piece by piece. `minute` is the next window's."""

    def __init__(self, params: AlertingParams | None = None) -> None:
        params = replace(
            params or AlertingParams(), plain_reach=9.0, lone_reach=9.0
        )  # every alert opens after three windows
        self.stage, self.state = Alerting(params), State[Any]()
        self.outputs: list[Output] = []
        self.minute = self.offset = 0

    def windows(self, letters: str, model: str = "m-large") -> list[Alert]:
        """Feed a window a letter; the alerts published meanwhile."""
        before = len(self.outputs)
        for letter in letters:
            self._feed(judged(letter, self.minute, model))
            self.minute += 1
        return [output.value for output in self.outputs[before:] if output.to == "alerts"]

    def sudden(self, letter: str, lasted_s: int) -> list[Alert]:
        """The fast path has found something for so long; the alerts published of it."""
        before = len(self.outputs)
        found = sudden(letter, self.minute, seconds=lasted_s)
        self._feed(replace(found, started_us=[found.time_us - lasted_s * SECOND_US for _ in found.anomalies]))
        return [output.value for output in self.outputs[before:] if output.to == "alerts"]

    def say(self, alert: str, verdict: Any) -> None:
        said = Feedback(id=f"f-{self.offset}", time_us=0, alert=alert, verdict=verdict)
        self._feed(Relayed(offset=self.offset, event=said))

    def launch(self, **fields: Any) -> None:
        self._feed(Relayed(offset=self.offset, event=Launch(id="l", time_us=0, **fields)))

    def days(self, count: int) -> None:
        """Nothing for so many days."""
        self.minute += count * DAY_MINUTES

    def _feed(self, event: Any) -> None:
        self.outputs += self.stage.step(self.state, Batch(0, 1, [self.offset], [event]))
        self.offset += 1

    @property
    def told(self) -> list[Thresholds]:
        return [output.value for output in self.outputs if output.to == "thresholds"]

    def threshold(self, family: str) -> FamilyThreshold:
        """As last published."""
        return next(each for each in self.told[-1].families if each.family == family)


def opened(alerts: list[Alert]) -> list[Alert]:
    return [alert for alert in alerts if alert.status == "open"]


QUIET = "." * 12
AT_ALL = AlertingParams(alerts_a_day=1_000, alerts_a_day_partition=1_000)


def judged_false(line: Line, times: int, letters: str = "xxx") -> None:
    for _ in range(times):
        (alert, *_) = opened(line.windows(letters + QUIET))
        line.say(alert.alert, "false")


def test_an_anomaly_judged_false_again_and_again_no_longer_alerts() -> None:
    line = Line(AT_ALL)
    line.minute = MIDNIGHT  # nothing fades until the next one
    judged_false(line, 3)
    assert opened(line.windows("xxx" + QUIET)) == []  # three false: one window more is asked for
    judged_false(line, 4, "xxxx")
    assert line.windows("xxxxxxxx" + QUIET) == []  # seven: 1.15^7 is over the 2.33 times its threshold that it reaches
    threshold = line.threshold("latency")
    assert (threshold.k, threshold.windows_min, threshold.false_alerts) == (pytest.approx(2.66, abs=0.01), 4, 7)
    assert threshold.reason == "7 of 7 alerts judged false in 28 days"


def test_what_nobody_repeats_fades_and_the_anomaly_alerts_again() -> None:
    line = Line(AT_ALL)
    judged_false(line, 3)
    judged_false(line, 4, "xxxx")
    line.days(7)
    assert len(opened(line.windows("xxxx" + QUIET))) == 1
    assert line.threshold("latency").k < 2.33


def test_true_alerts_hold_it_down() -> None:
    line = Line(AT_ALL)
    for verdict in ["true"] * 20 + ["false"]:
        (alert,) = opened(line.windows("xxx" + QUIET))
        line.say(alert.alert, verdict)
    assert line.threshold("latency").k == 1.0


def test_a_verdict_moves_its_own_family_of_its_own_model_only() -> None:
    line = Line(AT_ALL)
    judged_false(line, 7, "xxxx")
    assert [each.family for each in line.told[-1].families if each.k > 1.0] == ["latency"]
    assert len(opened(line.windows("xxx" + QUIET, model="m-small"))) == 1
    assert len(opened(line.windows("ttt" + QUIET))) == 1


def test_a_hard_limit_is_never_silent() -> None:
    line = Line(AT_ALL)
    judged_false(line, 30, "EEE")
    assert line.threshold("errors").k == 4.0
    assert opened(line.windows("EE" + QUIET)) == []
    assert len(opened(line.windows("EEE" + QUIET))) == 1  # one window later than at first


def test_the_fast_path_is_only_delayed() -> None:
    line = Line(AT_ALL)
    judged_false(line, 7, "dddd")  # a drop to a quarter
    assert line.threshold("traffic").k > 2.4
    assert line.sudden("!", lasted_s=20) == []
    (alert,) = line.sudden("!", lasted_s=60)
    assert (alert.status, alert.provisional) == ("open", True)
    assert [(each.status, each.provisional) for each in line.windows("d")] == [("update", False)]


def test_of_errors_only_few_are_held_back_on_the_fast_path() -> None:
    line = Line(AT_ALL)
    judged_false(line, 7, "EEE")
    assert line.threshold("errors").k > 2.4
    assert line.sudden("3", lasted_s=60) == []  # three percent, out by 2.3 times the test's threshold
    (alert,) = line.sudden("?", lasted_s=20)  # half of the answers
    assert (alert.status, alert.kind) == ("open", "error_burst")


@pytest.mark.parametrize(
    ("alert", "verdicts", "k"),
    [
        ("a0-2-0", ["false"], 1.15),
        ("a0-2-0", ["false", "false"], 1.15),
        ("a0-2-0", ["note"], 1.0),
        ("a9-9-9", ["false"], 1.0),
        ("a0-2-0", ["true", "false"], 1.15),
    ],
    ids=["false", "said twice counts once", "a note moves nothing", "an unknown alert", "a change of mind"],
)
def test_a_verdict(alert: str, verdicts: list[str], k: float) -> None:
    line = Line()
    line.windows("xxx")
    for verdict in verdicts:
        line.say(alert, verdict)
    assert line.threshold("latency").k == k


def test_an_alert_says_how_sensitive_it_is_and_why() -> None:
    line = Line(AT_ALL)
    judged_false(line, 1)
    (alert,) = opened(line.windows("xxx"))
    assert alert.summary.endswith(
        "Findings speak from 1.15 times their threshold on: 1 of 1 alerts judged false in 28 days."
    )


def test_an_open_alert_judged_false_is_held_open_only_by_what_reaches_the_new_threshold() -> None:
    line = Line(AT_ALL)
    judged_false(line, 3)
    judged_false(line, 3, "xxxx")
    (alert,) = opened(line.windows("xxxx"))
    line.say(alert.alert, "false")
    assert [each.status for each in line.windows("xxxxx")] == ["resolved"]


def test_alerts_remembered_are_bounded() -> None:
    line = Line(AlertingParams(alerts_remembered=2, alerts_a_day=100))
    alerts = [opened(line.windows(letters + QUIET))[0] for letters in ("xxx", "ttt", "ddd")]
    assert list(line.state.values["raised"].alerts) == [alert.alert for alert in alerts[1:]]
    line.say(alerts[0].alert, "false")
    assert all(each.k == 1.0 for each in line.told[-1].families)


def test_over_the_budget_the_family_must_reach_further_until_midnight() -> None:
    line = Line(AlertingParams(alerts_a_day=3))
    line.minute = MIDNIGHT
    alerts = [opened(line.windows("xxx" + QUIET))[0] for _ in range(3)]
    assert "noise budget" not in alerts[1].summary
    assert "noise budget is used up (3 of this model today)" in alerts[2].summary
    assert line.threshold("latency").reason == "the noise budget of the day is used up"
    assert len(opened(line.windows("xxx" + QUIET))) == 1  # 2.33 reaches 1.5, but not 1.5²
    assert line.threshold("latency").k == 2.25
    assert len(opened(line.windows("xxx" + QUIET))) == 1
    assert opened(line.windows("xxx" + QUIET)) == []
    assert len(opened(line.windows("EE" + QUIET))) == 1
    assert line.told[-1].alerts_today == 6
    line.minute = MIDNIGHT + DAY_MINUTES
    assert len(opened(line.windows("xxx"))) == 1
    assert (line.told[-1].alerts_today, line.threshold("latency").k) == (1, 1.0)


def test_a_partition_has_a_budget_too() -> None:
    line = Line(AlertingParams(alerts_a_day_partition=2))
    (first,) = opened(line.windows("xxx" + QUIET, model="one"))
    (second,) = opened(line.windows("xxx" + QUIET, model="two"))
    assert "noise budget" not in first.summary
    assert "noise budget is used up (2 of all models today)" in second.summary


def test_what_only_informs_uses_up_no_budget() -> None:
    line = Line(AlertingParams(alerts_a_day=1))
    (alert,) = opened(line.windows("ccc" + QUIET))
    assert (alert.severity, "budget" in alert.summary) == ("info", False)


def test_an_alert_that_flaps_is_held_open_for_longer_each_time() -> None:
    line = Line(AT_ALL)
    alerts = line.windows("EE.....EE.....EE.....EE" + "." * 25)
    assert [alert.status for alert in alerts] == ["open", "resolved", "update", "resolved"]
    assert len({alert.alert for alert in alerts}) == 1
    assert "came back 1 times, so it resolves after 10 quiet windows" in alerts[2].summary


def between(start: int, minutes: int) -> dict[str, int]:
    start_us = START_US + start * MINUTE_US
    return {"start_us": start_us, "end_us": start_us + minutes * MINUTE_US}


@pytest.mark.parametrize(
    ("fields", "kind", "severity"),
    [
        ({"factor": 5.0, **between(0, 60)}, "announced_change", "info"),
        ({"factor": 2.0, **between(0, 60)}, "token_surge", "warning"),
        ({"factor": 5.0, **between(30, 60)}, "token_surge", "warning"),
        ({"factor": 5.0, "model": "m-large", **between(0, 60)}, "announced_change", "info"),
        ({"factor": 5.0, "model": "m-small", **between(0, 60)}, "token_surge", "warning"),
        ({"factor": 5.0, "organisation": "org-07", **between(0, 60)}, "announced_change", "info"),
        ({"factor": 5.0, "organisation": "acme", **between(0, 60)}, "token_surge", "warning"),
    ],
    ids=["as announced", "more than announced", "not yet", "its model", "another model", "by whom", "by another"],
)
def test_growth_during_a_launch(fields: dict[str, Any], kind: str, severity: str) -> None:
    line = Line()
    line.launch(reason="acme opens", **fields)
    (alert,) = line.windows("ttt")
    assert (alert.kind, alert.severity) == (kind, severity)
    assert ("A launch of up to" in alert.summary and "acme opens" in alert.summary) == (severity == "info")


@pytest.mark.parametrize(
    ("minute", "factor", "severity"),
    [(0, 4.0, "warning"), (70, 4.0, "info"), (130, 4.0, "info"), (130, 1.5, "warning"), (120 + 121, 4.0, "warning")],
    ids=["during it a drop is a drop", "it may end early", "after it", "too far back", "two hours later"],
)
def test_a_fall_after_a_launch(minute: int, factor: float, severity: str) -> None:
    line = Line()
    line.launch(factor=factor, **between(0, 120))
    line.minute = minute
    (alert,) = line.windows("ddd")
    assert alert.severity == severity


def test_errors_and_hard_limits_during_a_launch_are_judged_as_ever() -> None:
    line = Line()
    line.launch(factor=5.0, **between(0, 60))
    assert [alert.severity for alert in line.windows("EE" + QUIET + "XX")] == ["warning", "warning", "critical"]


@pytest.mark.parametrize(
    ("letters", "factor", "kind"),
    [
        ("sss", 2.0, "announced_change"),  # a token takes 1.3 times as long, √2 is what twice the load may cost
        ("sss", 1.5, "latency_spike"),
        ("xxx", 4.0, "announced_change"),  # a median of 1.5 times the upper end of what is usual
        ("xxx", 2.0, "latency_spike"),
        ("sssff", 2.0, "announced_change"),  # and p99s that are far out beside it
    ],
)
def test_a_busier_service_is_a_slower_one(letters: str, factor: float, kind: str) -> None:
    line = Line()
    line.launch(factor=factor, **between(0, 60))
    (alert,) = line.windows(letters)
    assert alert.kind == kind
    assert alert.severity == "info" or kind != "announced_change"


def test_a_launch_that_is_outgrown_becomes_a_surge() -> None:
    line = Line()
    line.launch(factor=5.0, **between(0, 3))
    alerts = line.windows("tttt")  # the fourth window lies after the launch
    assert [(alert.status, alert.kind) for alert in alerts] == [("open", "announced_change"), ("update", "token_surge")]


@given(
    st.lists(st.tuples(st.sampled_from(["xxx", "EEE", "ttt", "ddd"]), st.sampled_from(["false", "true"])), max_size=15)
)
def test_thresholds_are_told_when_they_change_and_only_then(happened: list[tuple[str, str]]) -> None:
    line = Line()
    for letters, verdict in happened:
        for alert in opened(line.windows(letters + QUIET)):
            line.say(alert.alert, verdict)
    watches = line.state.values["model/m-large"].watches if happened else {}
    assert all(1.0 <= each.k <= 4.0 for told in line.told for each in told.families)
    if happened:
        shown = {each.family: (each.taught, each.false_alerts) for each in line.told[-1].families}
        assert shown == {n: (w.sensitivity.taught, len(w.sensitivity.false_us)) for n, w in watches.items()}


def test_a_model_is_told_of_when_it_is_first_seen_and_once_a_day() -> None:
    line = Line()
    line.windows("....")
    assert [told.since_us for told in line.told] == [START_US + MINUTE_US]
    line.days(2)
    line.windows("....")
    assert [told.since_us for told in line.told] == [START_US + MINUTE_US] * 2
    assert line.told[1].time_us - line.told[0].time_us == 48 * HOUR_US + 4 * MINUTE_US


def test_every_alert_that_pages_is_counted_where_people_can_see_it() -> None:
    line = Line()
    line.windows("xxx" + QUIET + "ccc" + QUIET + "EE" + QUIET)  # the second only informs
    assert [told.alerts_today for told in line.told] == [0, 1, 2]
