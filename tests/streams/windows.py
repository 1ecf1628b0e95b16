"""What windows reads: slices and marks of several traffic partitions, interleaved, and relayed control events."""

from collections import deque
from typing import Any

from hypothesis import strategies as st

from pipeline.stage import Batch, State
from pipeline.stages.slices import Slices, SlicesParams
from tests.streams.traffic import DRAWS, START_US, STEPS_US, events_of
from topics.control import Deployment, Relayed
from topics.fields import HOUR_US, MINUTE_US
from topics.traffic import Tick

PARTITIONS = 3
CALM_US = tuple(step_us for step_us in STEPS_US if step_us < 60 * MINUTE_US)


def slices_of(partition: int, partitions: int, events: list[Any]) -> list[Any]:
    """What the slices stage publishes for a partition's traffic, ended by ticks that close everything."""
    last_us = max((event.time_us for event in events if not isinstance(event, Relayed)), default=START_US)
    events = [*events, *(Tick(time_us=last_us + wait_us) for wait_us in (MINUTE_US, 3 * MINUTE_US, 2 * HOUR_US))]
    batch = Batch(partition, partitions, range(len(events)), events)
    return [o.value for o in Slices(SlicesParams()).step(State(), batch) if o.to == "slices"]


def partition_logs(partitions: int = PARTITIONS) -> st.SearchStrategy[list[list[Any]]]:
    """What each traffic partition publishes, in its order."""
    traffic = st.lists(st.lists(DRAWS, min_size=1, max_size=25), min_size=partitions, max_size=partitions)
    return traffic.map(
        lambda all_draws: [slices_of(n, partitions, events_of(draws, CALM_US)) for n, draws in enumerate(all_draws)]
    )


def interleaved(logs: list[list[Any]], turns: list[int]) -> list[Any]:
    """One log of several: each turn takes from one of them, what is left follows in order."""
    queues = [deque(log) for log in logs]
    merged = [queues[turn % len(queues)].popleft() for turn in turns if queues[turn % len(queues)]]
    return merged + [event for queue in queues for event in queue]


TURNS = st.lists(st.integers(0, PARTITIONS - 1), max_size=120)


@st.composite
def streams(draw: st.DrawFn) -> list[Any]:
    events = interleaved(draw(partition_logs()), draw(TURNS))
    for offset in draw(st.lists(st.integers(0, max(1, len(events))), max_size=3)):
        deployed = Deployment(id=f"d{offset}", time_us=0, model="heron", version="2.0")
        events.insert(offset, Relayed(offset=offset, event=deployed))
    repeated = draw(st.lists(st.integers(0, max(0, len(events) - 1)), max_size=3))
    return events + [events[index] for index in repeated if events]
