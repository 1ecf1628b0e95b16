"""What incidents reads: alerts of several models through their lives, with causes, among other control events."""

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from tests.streams.control import START_US, anything
from topics.fields import MINUTE_US, SECOND_US
from topics.records import Alert, Cause

MODELS = ("owl-large", "owl-small", "heron")
KINDS = ("error_burst", "latency_spike")
CAUSES = (
    (),
    (Cause("region", "eu-west", 0.9, 0.2, "Region eu-west explains 90 % of the additional errors."),),
    (Cause("region", "us-east", 0.8, 0.1),),
    (Cause("organisation", "acme", 1.0), Cause("tier", "pro", 0.7)),
    (Cause("model", "owl-large", 1.0),),
    (Cause("deployment", "2.0", 1.0),),
)
STEPS_US = (10 * SECOND_US, MINUTE_US, 4 * MINUTE_US, 11 * MINUTE_US, 14 * 60 * MINUTE_US)


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    """Six alerts; model and kind follow from the number, as they do through an alert's life."""
    number = draw(st.integers(0, 5))
    return Alert(
        id="unnumbered",
        time_us=START_US,
        alert=f"a0-{number}-0",
        status=draw(st.sampled_from(["open", "open", "update", "resolved", "resolved", "withdrawn"])),
        severity=draw(st.sampled_from(["info", "warning", "critical"])),
        kind=KINDS[number % len(KINDS)],
        model=MODELS[number // 2],
        started_us=START_US,
        windows=1,
        summary="Something moved.",
        causes=list(draw(st.sampled_from(CAUSES))),
    )


@st.composite
def streams(draw: st.DrawFn) -> list[Any]:
    events = draw(st.lists(st.one_of(alerts(), alerts(), alerts(), anything()), max_size=50))
    time_us, timed = START_US, []
    for index, event in enumerate(events):
        time_us += draw(st.sampled_from(STEPS_US))
        at = replace(event, id=f"a0-{index}-0", time_us=time_us)
        timed.append(replace(at, started_us=time_us - MINUTE_US) if isinstance(at, Alert) else at)
    return timed
