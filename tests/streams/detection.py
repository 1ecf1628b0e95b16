"""What detection reads: closed windows of two models with incidents, gaps and repeats in them, and control events."""

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from tests.streams.minutes import START_US, Incident, windows
from topics.control import ControlEvent, Deployment, Feedback, Launch, Maintenance, Relayed
from topics.fields import MINUTE_US, SECOND_US
from topics.links import Moment
from topics.records import MetricWindow

MINUTES = 70
MOMENT_US = 10 * SECOND_US
KINDS = {
    "error_burst": 0.9,
    "latency_spike": 4.0,
    "traffic_drop": 0.0,
    "token_surge": 5.0,
    "latency_leak": 0.08,
    "region_failure": 0.4,
}


@st.composite
def incidents(draw: st.DrawFn) -> Incident:
    kind = draw(st.sampled_from(sorted(KINDS)))
    return Incident(kind, draw(st.integers(22, 50)), draw(st.integers(3, 20)), KINDS[kind])


@st.composite
def controls(draw: st.DrawFn) -> ControlEvent:
    at_us = START_US + draw(st.integers(-25 * 60, MINUTES)) * MINUTE_US
    return draw(
        st.sampled_from(
            [
                Maintenance(id="m", time_us=at_us, start_us=at_us, end_us=at_us + 20 * MINUTE_US, model="m-large"),
                Maintenance(id="all", time_us=at_us, start_us=at_us, end_us=at_us + 5 * MINUTE_US, reason="new racks"),
                Deployment(id="d", time_us=at_us, model="m-small", version="2.0", stable="1.9"),
                Launch(
                    id="l", time_us=at_us, start_us=at_us, end_us=at_us + 30 * MINUTE_US, factor=3.0, model="m-small"
                ),
                Launch(
                    id="by",
                    time_us=at_us,
                    start_us=at_us,
                    end_us=at_us + 60 * MINUTE_US,
                    factor=9.0,
                    organisation="org-07",
                ),
                Feedback(id="f", time_us=at_us, alert="a0-1-0", verdict="false"),
            ]
        )
    )


def _with_moments(windows_of_one_minute: tuple[MetricWindow, ...]) -> list[Any]:
    """The six moments of each window, which share its counts evenly, then the windows."""
    found: list[Any] = []
    for at in range(6):
        for window in windows_of_one_minute:
            start_us = window.start_us + at * MOMENT_US
            requests, completions, errors = (
                (total * (at + 1)) // 6 - (total * at) // 6
                for total in (window.requests, window.completions, window.errors)
            )
            last_us = start_us + MOMENT_US - 200_000
            found.append(
                Moment(
                    model=window.model,
                    start_us=start_us,
                    end_us=start_us + MOMENT_US,
                    requests=requests,
                    completions=completions,
                    errors=errors,
                    last_request_us=last_us if requests else 0,
                    last_completion_us=last_us if completions else 0,
                )
            )
    return [*found, *windows_of_one_minute]


@st.composite
def streams(draw: st.DrawFn) -> list[Any]:
    """Windows of two models and their moments, minute by minute; now and then one is missing, or comes twice."""
    happened = tuple(draw(st.lists(incidents(), max_size=2)))
    seed = draw(st.integers(0, 1_000))
    large = windows(seed, MINUTES, happened, rate=150.0, model="m-large")
    small = windows(seed + 1, MINUTES, (), rate=draw(st.sampled_from([3.0, 60.0])), model="m-small")
    events: list[Any] = [one for pair in zip(large, small, strict=True) for one in _with_moments(pair)]
    for place in draw(st.lists(st.integers(0, len(events) - 1), max_size=3)):
        events.insert(place, replace(events[place % len(events)]))
    for place in draw(st.lists(st.integers(1, len(events) - 1), max_size=3)):
        del events[min(place, len(events) - 1)]
    for offset, control in enumerate(draw(st.lists(controls(), max_size=3))):
        events.insert(draw(st.integers(0, len(events))), Relayed(offset=offset, event=control))
    return events
