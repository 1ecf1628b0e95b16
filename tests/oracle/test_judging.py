"""The comparison finds what is wrong, and the timelines hold every kind of fault."""

import msgspec
import pytest

from tests.oracle.faults import FIRST, THIRD, timeline
from tests.oracle.reading import Record
from tests.oracle.recorded import Findings, compare, once
from tests.oracle.traffic import traffic

SESSION_S = 3.0


@pytest.mark.parametrize(
    ("recorded", "kind"),
    [
        ({"1": "a"}, "thing missing"),
        ({"1": "a", "2": "b", "3": "c"}, "thing that nothing caused"),
        ({"1": "a", "2": "c"}, "thing different"),
    ],
)
def test_a_difference_is_found(recorded: dict[str, str], kind: str) -> None:
    findings = Findings()
    compare("thing", recorded, {"1": "a", "2": "b"}, findings)
    assert findings.counts == {kind: 1}


def test_no_difference_is_none() -> None:
    findings = Findings()
    compare("thing", {"1": "a"}, {"1": "a"}, findings)
    assert findings.lines() == []


def record(offset: int, **value: object) -> Record:
    return Record(offset, 0, msgspec.json.encode(value))


def test_a_repetition_is_counted_once() -> None:
    findings = Findings()
    log = {0: [record(0, id="x", n=1), record(1, id="x", n=1), record(2, id="y", n=2)]}
    assert once(log, "things", findings) == ({"x": {"id": "x", "n": 1}, "y": {"id": "y", "n": 2}}, 1)
    assert not findings.counts


def test_a_repetition_that_says_something_else_is_found() -> None:
    findings = Findings()
    once({0: [record(0, id="x", n=1)], 1: [record(0, id="x", n=2)]}, "things", findings)
    assert findings.counts == {"things came twice with different content": 1}


@pytest.mark.parametrize("seed", range(20))
def test_every_timeline_has_every_kind_of_fault(seed: int) -> None:
    faults = timeline(seed, 3, SESSION_S)
    actions = [fault.action for fault in faults]
    assert {"kill", "freeze", "restart broker", "join", "leave", "plan", "throttle"} <= set(actions)
    assert {fault.member for fault in faults if fault.action == "kill"} >= set(FIRST)
    assert actions.index("join") < actions.index("leave")
    assert all(fault.lasts_s > SESSION_S for fault in faults if fault.action == "freeze")
    assert {fault.member for fault in faults} <= {"", *FIRST, THIRD}


def test_the_seed_decides() -> None:
    assert timeline(1, 3, SESSION_S) == timeline(1, 3, SESSION_S)
    assert timeline(1, 3, SESSION_S) != timeline(2, 3, SESSION_S)
    assert traffic(1, 2_000, 4, 0) == traffic(1, 2_000, 4, 0)
    assert traffic(1, 2_000, 4, 0) != traffic(2, 2_000, 4, 0)
