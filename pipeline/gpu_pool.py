"""The arithmetic of the GPU pool: who runs next, who gives way. Pure functions over jobs and holds.

Gang scheduling: a job gets all of its GPUs at once or none. The order is total, so that the same log gives the same
schedule: priority (high first), then the team that uses least, then submission, then name. The head of the queue
blocks those behind it, so that small jobs cannot starve a large one for ever; a job that only its team's limit keeps
waiting blocks nobody else.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

PRIORITY_MAX = 100


class GpuJob(Struct, tag="job"):
    """`sequence`: the control log's offset at which it was submitted; while running, `started` is where it started."""

    job: str
    team: str
    gpus: int
    priority: int
    sequence: int
    started: int | None = None
    preemptions: int = 0

    @property
    def running(self) -> bool:
        return self.started is not None


class Hold(Struct, tag="hold"):
    """GPUs taken from the job pool for serving: `gpus` of the `wanted` ones, since the command at `sequence`."""

    command: str
    model: str
    wanted: int
    gpus: int
    sequence: int


def used_gpus(jobs: Iterable[GpuJob]) -> int:
    return sum(job.gpus for job in jobs if job.running)


def next_to_start(jobs: Sequence[GpuJob], free_gpus: int, team_gpus_max: int) -> GpuJob | None:
    """The queued job that starts now, if its GPUs are free."""
    used: Counter[str] = Counter()
    for job in jobs:
        used[job.team] += job.gpus if job.running else 0
    eligible = (job for job in jobs if not job.running and used[job.team] + job.gpus <= team_gpus_max)
    head = min(eligible, key=lambda job: (-job.priority, used[job.team], job.sequence, job.job), default=None)
    return head if head and head.gpus <= free_gpus else None


def victims(jobs: Sequence[GpuJob], gpus: int) -> list[GpuJob]:
    """The running jobs to preempt so that `gpus` come free: lowest priority first, then newest; all if too few.

    Whoever turned out to be unneeded is spared, the most deserving first.
    """
    order = sorted((job for job in jobs if job.running), key=lambda job: (job.priority, -(job.started or 0), job.job))
    chosen: list[GpuJob] = []
    freed = 0
    for job in order:
        if freed >= gpus:
            break
        chosen.append(job)
        freed += job.gpus
    for job in reversed(chosen.copy()):
        if freed - job.gpus >= gpus:
            chosen.remove(job)
            freed -= job.gpus
    return chosen


def short_holds(holds: Iterable[Hold]) -> list[Hold]:
    """Holds that have fewer GPUs than they want, oldest first."""
    return sorted((hold for hold in holds if hold.gpus < hold.wanted), key=lambda hold: (hold.sequence, hold.command))
