"""What alerting passes on: alerts through their lives, ticks between them, and relayed control events."""

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from tests.streams.control import MODELS, ORGANISATIONS, START_US, answer, approvals, deployments, feedback
from topics.control import Approval, Relayed
from topics.fields import MINUTE_US, SECOND_US
from topics.records import Alert
from topics.traffic import Tick

KINDS = (
    "error_burst",
    "latency_spike",
    "latency_leak",
    "traffic_drop",
    "token_surge",
    "cost_anomaly",
    "multi_metric",
    "announced_change",
    "unheard_of",
)


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    """Eight alerts at most; model and kind follow from the name, as they do through an alert's life."""
    number = draw(st.integers(0, len(KINDS) - 1))
    return Alert(
        id="unnumbered",
        time_us=START_US,
        alert=f"a0-{number}-0",
        status=draw(st.sampled_from(["open", "open", "update", "update", "resolved", "withdrawn"])),
        provisional=draw(st.booleans()),
        severity=draw(st.sampled_from(["info", "warning", "critical"])),
        kind=KINDS[number],
        model=MODELS[number // 3],  # a model has several alerts, which want the same things
        started_us=START_US,
        windows=draw(st.integers(1, 9)),
        summary="Something moved.",
        organisation=draw(st.sampled_from(["", ORGANISATIONS[0]])),
    )


def ticks() -> st.SearchStrategy[Tick]:
    return st.just(Tick(time_us=START_US))


def answers_to_all(approved: bool) -> list[Any]:
    """Answers to every command that the first thirty offsets of the first two partitions may have caused."""
    return [
        answer(f"c{partition}-{offset}-{index}", approved)
        for partition in (0, 1)
        for offset in range(30)
        for index in range(2)
    ]


@st.composite
def streams(draw: st.DrawFn) -> list[Any]:
    """Times rise by steps from ten seconds to twenty minutes, so that commands also fall due."""
    control = st.one_of(deployments(), approvals(), feedback())
    usual = st.one_of(alerts(), alerts(), alerts(), ticks(), control)
    before = draw(st.lists(deployments(), max_size=4))
    events = before + draw(st.lists(usual, max_size=25))
    if draw(st.integers(0, 2)) == 0:
        events += answers_to_all(draw(st.booleans()))
    events += draw(st.lists(usual, max_size=25))
    return _timed(draw, events)


def _timed(draw: st.DrawFn, events: list[Any]) -> list[Any]:
    """Each alert began two minutes before its first step."""
    time_us, timed = START_US, []
    started_us: dict[str, int] = {}
    for index, event in enumerate(events):
        if not isinstance(event, Approval):
            time_us += draw(st.sampled_from([10 * SECOND_US, MINUTE_US, 5 * MINUTE_US, 20 * MINUTE_US]))
        at = _at(event, index, time_us)
        if isinstance(at, Alert):
            at = replace(at, started_us=started_us.setdefault(at.alert, time_us - 2 * MINUTE_US))
        timed.append(at)
    return timed


def _at(event: Any, index: int, time_us: int) -> Any:
    if isinstance(event, Tick):
        return Tick(time_us=time_us)
    if isinstance(event, Alert):
        return replace(event, id=f"{event.alert}-{index}", time_us=time_us)
    return Relayed(offset=index, event=replace(event, id=f"event-{index}", time_us=time_us))
