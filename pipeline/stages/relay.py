"""Copies a control event into every partition of the logs that it concerns, so that one log decides (decision 0001)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pipeline.stage import EVERY_PARTITION, Batch, Output, State
from topics.control import Approval, Command, Deployment, Feedback, Job, Launch, Maintenance, Plan, Relayed
from topics.records import Alert

CONCERNS: Mapping[type, tuple[str, ...]] = {
    Plan: ("traffic",),
    Command: ("traffic",),
    Deployment: ("slices",),
    Maintenance: ("slices",),
    Launch: ("slices",),
    Feedback: ("slices",),
    Approval: ("slices",),
    Job: (),
    Alert: (),
}
"""Control event to the logs that must hold it. The scheduler, the cache and incidents read the control log itself."""

ACTED_ON = ("issued", "reversed")


class Relay:
    """Stateless. Of commands only a throttle that is issued or reversed changes what a traffic stage does."""

    values: ClassVar[Any] = None

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        return [
            Output(offset, log, EVERY_PARTITION, Relayed(offset=offset, event=event))
            for offset, event in zip(batch.offsets, batch.events, strict=True)
            for log in concerned(event)
        ]


def concerned(event: Any) -> tuple[str, ...]:
    """The logs that a control event is copied into."""
    if isinstance(event, Command) and not (event.action == "throttle" and event.state in ACTED_ON):
        return ()
    return CONCERNS[type(event)]
