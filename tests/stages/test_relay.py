"""Which control event is copied into which log."""

from typing import Any

import pytest

from pipeline.stage import EVERY_PARTITION, Batch, Output, State
from pipeline.stages.relay import CONCERNS, Relay
from topics.control import (
    Approval,
    Command,
    Deployment,
    Feedback,
    Job,
    Launch,
    Maintenance,
    Plan,
    Relayed,
)
from topics.records import Alert, ControlLogEvent

AT: dict[str, Any] = {"id": "e1", "time_us": 5}


def command(action: Any, state: Any) -> Command:
    return Command(
        **AT,
        command="c0-1-0",
        alert="a0-1-0",
        model="owl",
        action=action,
        target="owl",
        state=state,
        severity="warning",
        expires_us=9,
        reason="because",
    )


CASES: list[tuple[Any, tuple[str, ...]]] = [
    (Plan(**AT, organisation="acme", tier="pro"), ("traffic",)),
    (Deployment(**AT, model="owl", version="2"), ("slices",)),
    (Maintenance(**AT, start_us=1, end_us=2), ("slices",)),
    (Launch(**AT, start_us=1, end_us=2, factor=3.0), ("slices",)),
    (Feedback(**AT, alert="a0-1-0", verdict="false"), ("slices",)),
    (Approval(**AT, command="c0-1-0", approved=True), ("slices",)),
    (Job(**AT, job="j", team="t", gpus=1), ()),
    (command("throttle", "issued"), ("traffic",)),
    (command("throttle", "reversed"), ("traffic",)),
    (command("throttle", "pending_approval"), ()),
    (command("throttle", "expired"), ()),
    (command("throttle", "rejected"), ()),
    (command("free_gpus", "issued"), ()),
    (command("shift_traffic", "reversed"), ()),
    (command("invalidate_cache", "issued"), ()),
    (command("roll_back", "issued"), ()),
    (
        Alert(
            **AT,
            alert="a0-1-0",
            status="open",
            severity="info",
            kind="k",
            model="owl",
            started_us=1,
            windows=1,
            summary="",
        ),
        (),
    ),
]


@pytest.mark.parametrize(("event", "logs"), CASES)
def test_event_goes_to_every_partition_of_the_logs_it_concerns(event: Any, logs: tuple[str, ...]) -> None:
    outputs = Relay().step(State(), Batch(0, 1, [41], [event]))
    assert outputs == [Output(41, log, EVERY_PARTITION, Relayed(offset=41, event=event)) for log in logs]


def test_every_control_event_has_a_row() -> None:
    assert set(CONCERNS) == set(ControlLogEvent.__args__)


def test_outputs_follow_the_order_of_events() -> None:
    events = [event for event, _ in CASES]
    offsets = list(range(100, 100 + len(events)))
    outputs = Relay().step(State(), Batch(0, 1, offsets, events))
    assert [output.offset for output in outputs] == [
        offset for offset, (_, logs) in zip(offsets, CASES, strict=True) for _ in logs
    ]
