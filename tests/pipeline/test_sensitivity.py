"""k of a family of alerts: what moves it, what bounds it, and what it lets through."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.judging.families import FAMILIES
from pipeline.judging.sensitivity import (
    DAY_US,
    VERDICTS_MAX,
    Sensitivity,
    SensitivityParams,
    in_force,
    overspent,
    pass_days,
    patience,
    reach,
    reason,
    teach,
    weighed,
)
from tests.streams.alerting import judged

DEFAULTS = SensitivityParams()
BY_NAME = {family.name: family for family in FAMILIES}

# f: judged false, t: judged true, $: an alert over the budget, a digit: so many days pass
CASES: list[tuple[str, str, float, int]] = [
    ("nothing said", "", 1.0, 0),
    ("one false", "f", 1.15, 0),
    ("three false ask for patience too", "fff", 1.5209, 1),
    ("false among many true moves nothing", "t" * 20 + "f", 1.0, 0),
    ("one false of ten moves", "t" * 9 + "f", 1.15, 0),
    ("true holds while some were false", "ft", 1.15, 0),
    ("true lowers once the false are forgotten", "ffff9999t", 1.0463, 0),
    ("never below 1", "tttt", 1.0, 0),
    ("never above k_max", "f" * 20, 4.0, 1),
    ("fades by half in two weeks", "fff77", 1.2332, 1),
    ("and in the end is forgotten", "f" + "9" * 6, 1.0, 0),
    ("over the budget", "$$", 2.25, 0),
    ("the budget is whole the next day", "$$1", 1.0, 0),
    ("both together", "f$", 1.725, 0),
    ("both together are bounded", "ffffff$$", 4.0, 1),
]


def after(said: str) -> Sensitivity:
    s, now_us = Sensitivity(), 100 * DAY_US
    for letter in said:
        if letter in "ft":
            teach(s, DEFAULTS, letter == "f", now_us)
        elif letter == "$":
            overspent(s, DEFAULTS)
        else:
            now_us += int(letter) * DAY_US
            pass_days(s, DEFAULTS, int(letter), now_us)
    return s


@pytest.mark.parametrize(("said", "k", "more"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_drawn_case(said: str, k: float, more: int) -> None:
    s = after(said)
    assert in_force(s, DEFAULTS) == pytest.approx(k, abs=1e-4)
    assert patience(s, DEFAULTS) == more
    assert not (k > 1.0 and not reason(s, DEFAULTS))


@given(st.text("ft$1279", max_size=120))
def test_whatever_is_said_k_stays_in_its_bounds_and_the_state_is_small(said: str) -> None:
    s = after(said)
    assert DEFAULTS.threshold.k_min <= in_force(s, DEFAULTS) <= DEFAULTS.threshold.k_max
    assert 0 <= patience(s, DEFAULTS) <= DEFAULTS.patience_max
    assert max(len(s.false_us), len(s.true_us)) <= VERDICTS_MAX
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(s), type=Sensitivity) == s


@given(st.text("ft$1279", max_size=60))
def test_a_false_alert_never_makes_more_sensitive_nor_a_true_one_less(said: str) -> None:
    k = in_force(after(said), DEFAULTS)
    assert in_force(after(said + "f"), DEFAULTS) >= k
    assert in_force(after(said + "t"), DEFAULTS) <= k


def test_a_change_of_mind_takes_the_first_verdict_back() -> None:
    s = after("")
    teach(s, DEFAULTS, false=False, now_us=1)
    teach(s, DEFAULTS, false=True, now_us=2, instead_of_us=1)
    assert (s.true_us, s.false_us, s.taught) == ([], [2], 1.15)
    teach(s, DEFAULTS, false=False, now_us=3, instead_of_us=2)
    assert (s.true_us, s.false_us, s.taught) == ([3], [], 1.0952)


def test_silence_for_days_at_once_fades_as_day_by_day() -> None:
    one, many = after("fff"), after("fff")
    pass_days(one, DEFAULTS, 6, 106 * DAY_US)
    for day in range(6):
        pass_days(many, DEFAULTS, 1, (101 + day) * DAY_US)
    assert one.taught == pytest.approx(many.taught, abs=1e-3)


def test_reach_is_in_units_of_the_detectors_own_threshold() -> None:
    found = judged("x", 0).anomalies[0]
    assert reach(replace(found, score=0.5)) == pytest.approx(1.0)
    assert reach(replace(found, score=0.75)) == pytest.approx(3.0)
    assert reach(replace(found, score=1.0)) > 1e6
    forest = judged("c", 0).anomalies[0]
    assert reach(replace(forest, score=0.6)) == pytest.approx(1.0)  # the forest's threshold is a score, 0.6


@pytest.mark.parametrize(
    ("letter", "family", "k", "left"),
    [("x", "latency", 1.0, 2), ("x", "latency", 2.3, 2), ("x", "latency", 2.4, 0), ("E", "errors", 4.0, 2)],
    ids=["at first all", "what reaches k", "not what falls short", "a hard limit speaks at any k"],
)
def test_what_a_family_hears(letter: str, family: str, k: float, left: int) -> None:
    assert len(weighed(judged(letter, 0), BY_NAME[family], k).anomalies) == left


def test_a_hard_limit_of_another_family_lets_nothing_through() -> None:
    assert weighed(judged("b", 0), BY_NAME["latency"], 4.0).anomalies == []


@pytest.mark.parametrize(
    "wrong", [{"memory_days": 0}, {"half_life_days": 0.0}, {"noise_step": 0.5}, {"patient_after": 0}]
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        SensitivityParams(**wrong)
