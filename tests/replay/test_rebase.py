"""Moving a recording in time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import rebase as rebasing
from replay.event import Event, ReplayError
from replay.rebase import rebase
from topics.control import Command, Deployment, Launch, Maintenance
from topics.fields import TIME_US_MAX
from topics.traffic import Request, Tick


def _request(time_us: int) -> Request:
    return Request(id="r", time_us=time_us, organisation="acme", model="m", input_tokens=1)


@given(st.lists(st.integers(10**12, 10**13), min_size=1, max_size=20), st.integers(10**13, 10**14))
def test_distances_stay(times: list[int], start_us: int) -> None:
    moved = list(rebase([_request(time_us) for time_us in times], start_us))
    assert [event.time_us - start_us for event in moved if isinstance(event, Request)] == [t - times[0] for t in times]


def test_control_before_the_first_request_is_moved_by_the_same_distance() -> None:
    events: list[Event] = [
        b"junk",
        Deployment(id="d", time_us=400, model="m", version="2"),
        _request(1_000),
        Maintenance(id="x", time_us=1_100, start_us=1_200, end_us=1_300),
        Launch(id="y", time_us=1_150, start_us=1_250, end_us=1_350, factor=2.0),
        Tick(time_us=1_400),
    ]
    assert list(rebase(events, 11_000)) == [
        b"junk",
        Deployment(id="d", time_us=10_400, model="m", version="2"),
        _request(11_000),
        Maintenance(id="x", time_us=11_100, start_us=11_200, end_us=11_300),
        Launch(id="y", time_us=11_150, start_us=11_250, end_us=11_350, factor=2.0),
        Tick(time_us=11_400),
    ]


def test_a_commands_expiry_moves_and_stays_in_range() -> None:
    command = Command(
        id="c", time_us=10, command="c", alert="a", model="m", action="throttle", target="acme", state="issued",
        severity="info", expires_us=20, reason="too much",
    )  # fmt: skip
    (moved,) = rebase([command], TIME_US_MAX - 5)
    assert isinstance(moved, Command)
    assert (moved.time_us, moved.expires_us) == (TIME_US_MAX - 5, TIME_US_MAX)


def test_an_endless_beginning_without_a_request_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebasing, "WAITING_MAX", 3)
    with pytest.raises(ReplayError, match="more than 3 events before the first request"):
        list(rebase([b"junk"] * 4, 0))
