"""The scheduler: jobs on a GPU pool, and what mitigation commands move: GPUs to serving, traffic between versions.

`free_gpus` takes GPUs out of the job pool and holds them for serving until it is reversed: free ones first, then those
of preempted jobs, lowest priority and newest first. What a victim gives is held at once, so that no victim can be
re-admitted into it (kubernetes-sigs/kueue#13662); the victim queues again with its priority raised by one. A hold that
could not be filled says so and is filled first when GPUs come free. Only a `reversed` command ends a hold: expiry is
mitigation's to decide, and its clock is event time, which this log does not have.

At all times: used + held + free = gpus_total - gpus_serving, none below 0. Every command acted upon, or not, is a fact.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from msgspec import Struct

from pipeline.gpu_pool import PRIORITY_MAX, GpuJob, Hold, next_to_start, short_holds, used_gpus, victims
from pipeline.routes import ROUTES, RollBack, Shift, forget_roll_back
from pipeline.stage import Batch, Output, State
from topics.control import Command, Deployment, Job
from topics.fields import TEXT_CHARACTERS_MAX
from topics.records import JobEvent


class SchedulerParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`gpus_serving` of the `gpus_total` always serve; jobs share the others, `team_gpus_max` a team at most.

    `shifted_models_max`: over all models, how many may have their traffic shifted at once.
    """

    gpus_total: int = 64
    gpus_serving: int = 16
    team_gpus_max: int = 256
    jobs_max: int = 5_000
    holds_max: int = 1_000
    shifted_models_max: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.gpus_serving <= self.gpus_total:
            raise ValueError("gpus_serving must lie between 0 and gpus_total")

    @property
    def pool_gpus(self) -> int:
        return self.gpus_total - self.gpus_serving


Value = GpuJob | Hold | Shift | RollBack


class Scheduler:
    """Reads the control log; writes job events. State: jobs, holds, and routes by model."""

    values: ClassVar[Any] = Value

    def __init__(self, params: SchedulerParams) -> None:
        self._params = params

    def step(self, state: State[Value], batch: Batch) -> list[Output]:
        outputs: list[Output] = []
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            turn = _Turn(self._params, state, batch.partition, offset, event.time_us)
            if isinstance(event, Job):
                JOBS[event.action](turn, event)
            elif isinstance(event, Command):
                obey = COMMANDS.get((event.action, event.state))
                if obey:
                    obey(turn, event)
            elif isinstance(event, Deployment):
                forget_roll_back(state, event.model)
            outputs += turn.outputs
        return outputs


class _Turn:
    """One event's work on the pool."""

    def __init__(self, params: SchedulerParams, state: State[Value], partition: int, offset: int, time_us: int) -> None:
        self.params = params
        self.state = state
        self.partition = partition
        self.offset = offset
        self.time_us = time_us
        self.outputs: list[Output] = []

    def say(
        self, kind: Any, detail: str = "", command: str = "", job: str = "", model: str = "", gpus: int = 0
    ) -> None:
        fact = JobEvent(
            id=f"{self.partition}-{self.offset}-{len(self.outputs)}",
            time_us=self.time_us,
            kind=kind,
            command=command,
            job=job,
            model=model,
            gpus=gpus,
            detail=detail[:TEXT_CHARACTERS_MAX],
        )
        self.outputs.append(Output(self.offset, "jobs", job or model or command, fact))

    def jobs(self) -> list[GpuJob]:
        return [value for value in self.state.values.values() if isinstance(value, GpuJob)]

    def holds(self) -> list[Hold]:
        return [value for value in self.state.values.values() if isinstance(value, Hold)]

    def free_gpus(self) -> int:
        return self.params.pool_gpus - used_gpus(self.jobs()) - sum(hold.gpus for hold in self.holds())

    def schedule(self) -> None:
        """Fill short holds first, then start from the head of the queue for as long as it fits."""
        for hold in short_holds(self.holds()):
            self.fill(hold)
        while job := next_to_start(self.jobs(), self.free_gpus(), self.params.team_gpus_max):
            job.started = self.offset
            self.state.put(f"job/{job.job}", job)
            self.say("resumed" if job.preemptions else "started", job=job.job, gpus=job.gpus)

    def fill(self, hold: Hold) -> None:
        gpus = min(hold.wanted - hold.gpus, self.free_gpus())
        if gpus > 0:
            hold.gpus += gpus
            self.state.put(f"hold/{hold.command}", hold)
            detail = f"{hold.gpus} of {hold.wanted} GPUs held for serving {hold.model}"
            self.say("gpus_held", detail, command=hold.command, model=hold.model, gpus=gpus)

    def preempt(self, job: GpuJob, command: str, model: str) -> None:
        raised = min(job.priority + 1, PRIORITY_MAX)
        detail = f"gives way to serving {model}; queued again, priority {job.priority} -> {raised}"
        job.priority, job.started, job.preemptions = raised, None, job.preemptions + 1
        self.state.put(f"job/{job.job}", job)
        self.say("preempted", detail, command=command, job=job.job, gpus=job.gpus)


# -- jobs -------------------------------------------------------------------------------------------------------------


def _submit(turn: _Turn, event: Job) -> None:
    jobs = turn.jobs()
    refusals = (
        (any(job.job == event.job for job in jobs), "a job of this name is queued or running: choose another name"),
        (event.gpus > turn.params.pool_gpus, f"the pool has {turn.params.pool_gpus} GPUs: ask for fewer"),
        (event.gpus > turn.params.team_gpus_max, f"a team may use {turn.params.team_gpus_max} GPUs: ask for fewer"),
        (len(jobs) >= turn.params.jobs_max, f"{turn.params.jobs_max} jobs are known: wait until some have finished"),
    )
    for refused, why in refusals:
        if refused:
            turn.say("refused", f"submit: {why}", job=event.job, gpus=event.gpus)
            return
    turn.state.put(f"job/{event.job}", GpuJob(event.job, event.team, event.gpus, event.priority, turn.offset))
    turn.say("queued", f"team {event.team}, priority {event.priority}", job=event.job, gpus=event.gpus)
    turn.schedule()


def _leave(turn: _Turn, event: Job) -> None:
    """Cancel, or finish: the job is gone and its GPUs are free."""
    job = turn.state.get(f"job/{event.job}")
    why = ""
    if not isinstance(job, GpuJob):
        why = "no such job is queued or running"
    elif job.team != event.team:
        why = f"the job is not of team {event.team}"
    elif event.action == "finish" and not job.running:
        why = "the job is queued, so it cannot have finished: cancel it instead"
    if why or not isinstance(job, GpuJob):
        turn.say("refused", f"{event.action}: {why}", job=event.job)
        return
    turn.state.drop(f"job/{event.job}")
    was = "was running" if job.running else "was queued"
    turn.say("finished" if event.action == "finish" else "cancelled", was, job=event.job, gpus=job.gpus)
    turn.schedule()


# -- commands ---------------------------------------------------------------------------------------------------------


def _refuse(turn: _Turn, command: Command, why: str, gpus: int = 0) -> None:
    detail = f"{command.action} {command.state}: {why}"
    turn.say("refused", detail, command=command.command, model=command.target, gpus=gpus)


def _hold(turn: _Turn, command: Command) -> None:
    """Also a renewal, which changes nothing, or an enlargement, which takes what is missing."""
    wanted = command.parameters.get("gpus")
    known = turn.state.get(f"hold/{command.command}")
    if not isinstance(wanted, int) or wanted < 1:
        _refuse(turn, command, "parameters.gpus must be a number above 0")
        return
    if not isinstance(known, Hold):
        if len(turn.holds()) >= turn.params.holds_max:
            _refuse(turn, command, f"{turn.params.holds_max} holds stand already", wanted)
            return
        known = Hold(command.command, command.target, 0, 0, turn.offset)
    if wanted <= known.wanted:
        return
    known.wanted = wanted
    turn.state.put(f"hold/{command.command}", known)
    missing = known.wanted - known.gpus - turn.free_gpus()
    for job in victims(turn.jobs(), missing) if missing > 0 else []:
        turn.preempt(job, command.command, command.target)
    turn.fill(known)
    if known.gpus < wanted:
        _refuse(turn, command, f"only {known.gpus} of {wanted} GPUs could be freed", wanted - known.gpus)
    turn.schedule()


def _return(turn: _Turn, command: Command) -> None:
    hold = turn.state.get(f"hold/{command.command}")
    if not isinstance(hold, Hold):
        _refuse(turn, command, "no GPUs are held for this command")
        return
    turn.state.drop(f"hold/{command.command}")
    turn.say("gpus_returned", command.reason, command=command.command, model=hold.model, gpus=hold.gpus)
    turn.schedule()


def _reroute(turn: _Turn, command: Command) -> None:
    route = ROUTES[command.action, command.state]
    answer = route(turn.state, command, turn.offset, turn.params.shifted_models_max)
    if answer:
        turn.say(answer.kind, answer.detail, command=command.command, model=command.target)


JOBS: Mapping[str, Callable[[_Turn, Job], None]] = {"submit": _submit, "cancel": _leave, "finish": _leave}

COMMANDS: Mapping[tuple[str, str], Callable[[_Turn, Command], None]] = {
    ("free_gpus", "issued"): _hold,
    ("free_gpus", "reversed"): _return,
    **dict.fromkeys(ROUTES, _reroute),
}
"""Action and state of the commands that are obeyed; no other is this stage's."""
