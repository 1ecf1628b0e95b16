"""What a service that has run for a while would have in its control log: known versions, jobs on the GPU pool.

Without it, "the stable version" has no name and there is no work that could make room for serving.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from replay.event import Event, time_of
from replay.incidents import Incident
from topics.control import ControlEvent, Deployment, Job, Maintenance
from topics.fields import HOUR_US, MINUTE_US, SECOND_US

DEPLOYED_BEFORE_US = 48 * HOUR_US
"""Long enough that the observation time after a deployment is over when the traffic starts."""

SILENCE_US = 10 * MINUTE_US
"""Behind a recording no traffic comes; for so long that alerts nobody."""

_JOBS = (
    ("pretrain-eval", "alignment", 16, 5),
    ("ablation-grid", "exploratory", 24, 1),
    ("data-filter", "exploratory", 8, 2),
)


def context(models: Sequence[str], start_us: int, end_us: int) -> Iterator[ControlEvent]:
    """Control events to feed before the traffic of [start_us, end_us): a deployment a model, three jobs, its end."""
    for model in models:
        yield Deployment(
            id=f"deployment-{model}",
            time_us=max(start_us - DEPLOYED_BEFORE_US, 0),
            model=model,
            version=f"{model}-v2",
            stable=f"{model}-v1",
        )
    for number, (job, team, gpus, priority) in enumerate(_JOBS):
        yield Job(
            id=f"submit-{job}",
            time_us=max(start_us - (len(_JOBS) - number) * SECOND_US, 0),
            job=job,
            team=team,
            gpus=gpus,
            priority=priority,
        )
    yield Maintenance(
        id="end-of-recording",
        time_us=start_us,
        start_us=end_us,
        end_us=end_us + SILENCE_US,
        reason="the recording ends here, and the silence behind it is no drop in traffic",
    )


BEFORE_BURST_US = 2 * MINUTE_US


def bad_deployments(incidents: Iterable[Incident]) -> Iterator[Deployment]:
    """What brought an error burst about: a new version of its model, two minutes before."""
    for number, incident in enumerate(incidents):
        if incident.kind == "error_burst":
            yield Deployment(
                id=f"deployment-{incident.target}-bad-{number}",
                time_us=max(incident.start_us - BEFORE_BURST_US, 0),
                model=incident.target,
                version=f"{incident.target}-v3",
                stable=f"{incident.target}-v2",
            )


def interleaved(events: Iterable[Event], control: Iterable[ControlEvent]) -> Iterator[Event]:
    """The events with control events among them, each before the first event that is not earlier."""
    waiting = deque(sorted(control, key=lambda event: event.time_us))
    for event in events:
        time_us = time_of(event) if waiting else None
        while waiting and time_us is not None and waiting[0].time_us <= time_us:
            yield waiting.popleft()
        yield event
    yield from waiting
