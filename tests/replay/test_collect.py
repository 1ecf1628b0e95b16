"""What is kept of a run's outputs, and its limits."""

import pytest

from replay import collect
from tests.replay.records import alert, at, collected, decision, window
from topics.records import DeadLetter


def test_outcomes_and_throttled_requests_are_counted() -> None:
    run = collected(
        decisions=[
            decision(1, 1.0),
            decision(2, 1.5, "throttled"),
            decision(3, 4.0, "throttled", tier="free", organisation="tiny"),
            decision(4, 4.0, "blocked"),
        ]
    )
    assert run.outcomes == {"admitted": 1, "throttled": 2, "blocked": 1}
    assert run.outcomes_per_minute[at(1)] == {"admitted": 1, "throttled": 1}
    assert run.flagged == {"jailbreak": 1}
    assert run.throttled_between("acme", at(1), at(3)) == 1
    assert run.throttled_between("acme", at(2), at(9)) == 0
    assert run.throttled_between("tier:free", at(0), at(9)) == 1


def test_the_highest_revision_of_a_window_holds_in_any_order() -> None:
    run = collected(windows=[window(1, requests=5, revision=1), window(1, requests=4), window(0), window(0, "m-two")])
    assert [(w.start_us, w.requests) for w in run.windows_of("m-one")] == [(at(0), 100), (at(1), 5)]
    assert run.models == ["m-one", "m-two"]


def test_a_record_that_comes_twice_is_kept_once() -> None:
    run = collected(alerts=[alert("a1", 3), alert("a1", 3), alert("a1", 5, "resolved")])
    assert len(run.alerts) == 2
    assert run.counts["alerts"] == 3


def test_limits_hold_and_say_how_much_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "RECORDS_MAX", 2)
    monkeypatch.setattr(collect, "WINDOWS_MAX", 1)
    monkeypatch.setattr(collect, "REASONS_MAX", 1)
    letters = [
        DeadLetter(
            id=f"d{n}", time_us=1, topic="t", partition=0, offset=n, stage="quota", field="", reason=f"reason {n}",
            size_bytes=1,
        )
        for n in range(3)
    ]  # fmt: skip
    run = collected(alerts=[alert(f"a{n}", n) for n in range(4)], windows=[window(0), window(1)], dead_letters=letters)
    assert (len(run.alerts), len(run.windows), run.dead) == (2, 1, {"reason 0": 1})
    assert run.dropped == 2 + 1 + 2
