"""The GPU pool and the routes: what jobs and commands do, and what holds at all times."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from pipeline.gpu_pool import GpuJob, Hold
from pipeline.stage import Batch, State
from pipeline.stages.scheduler import Scheduler, SchedulerParams, Value
from tests.streams.control import MODELS
from tests.streams.scheduler import streams
from topics.control import Command, Deployment, Job
from topics.records import JobEvent


class Bench:
    """A scheduler fed one control event an offset. Ten GPUs: two always serve, eight run jobs."""

    def __init__(self, **params: Any) -> None:
        self.params = SchedulerParams(**({"gpus_total": 10, "gpus_serving": 2} | params))
        self.state: State[Value] = State()
        self.offset = -1

    def feed(self, event: Any) -> list[JobEvent]:
        self.offset += 1
        outputs = Scheduler(self.params).step(self.state, Batch(0, 1, [self.offset], [event]))
        assert all(output.to == "jobs" and output.key for output in outputs)
        return [output.value for output in outputs]

    def job(self, name: str, gpus: int = 1, priority: int = 1, action: Any = "submit", team: str = "red") -> list[str]:
        event = Job(id="e", time_us=7, job=name, team=team, gpus=gpus, priority=priority, action=action)
        return brief(self.feed(event))

    def command(
        self, action: Any, state: Any = "issued", name: str = "c1", target: str = "owl", **parameters: Any
    ) -> list[JobEvent]:
        return self.feed(
            Command(
                id="e",
                time_us=7,
                command=name,
                alert="a1",
                model=target,
                action=action,
                target=target,
                state=state,
                severity="warning",
                expires_us=9,
                reason="because",
                parameters=parameters,
            )
        )

    def running(self) -> list[str]:
        return sorted(v.job for v in self.state.values.values() if isinstance(v, GpuJob) and v.running)


def brief(facts: list[JobEvent]) -> list[str]:
    return [f"{fact.kind} {fact.job or fact.model}" for fact in facts]


# -- jobs -----------------------------------------------------------------------------------------------------------


def test_a_gang_starts_whole_or_waits() -> None:
    bench = Bench()
    assert bench.job("a", 5) == ["queued a", "started a"]
    assert bench.job("b", 4) == ["queued b"]
    assert bench.job("a", action="finish") == ["finished a", "started b"]


def test_the_head_of_the_queue_is_not_overtaken() -> None:
    bench = Bench()
    bench.job("a", 6)
    assert bench.job("large", 8) == ["queued large"]
    assert bench.job("small", 1) == ["queued small"]
    assert bench.job("a", action="finish") == ["finished a", "started large"]


@pytest.mark.parametrize(
    ("waiting", "first"),
    [
        ([("x", 8, 1, "red"), ("y", 8, 9, "red")], "y"),  # priority
        ([("x", 8, 1, "red"), ("y", 8, 1, "red")], "x"),  # then submission
        ([("x", 7, 1, "red"), ("y", 7, 1, "blue")], "y"),  # the team that uses less, before submission
    ],
)
def test_order_of_the_queue(waiting: list[tuple[str, int, int, str]], first: str) -> None:
    bench = Bench()
    bench.job("rest", 1)
    bench.job("now", 7)
    for name, gpus, priority, team in waiting:
        assert bench.job(name, gpus, priority, team=team) == [f"queued {name}"]
    if waiting[0][1] == 8:
        bench.job("rest", action="cancel")
    assert bench.job("now", action="finish") == ["finished now", f"started {first}"]


def test_a_team_at_its_limit_waits_and_blocks_nobody_else() -> None:
    bench = Bench(team_gpus_max=4)
    bench.job("a", 4, team="red")
    assert bench.job("b", 1, priority=50, team="red") == ["queued b"]
    assert bench.job("c", 2, team="blue") == ["queued c", "started c"]


@pytest.mark.parametrize(
    ("jobs", "last", "why"),
    [
        ([], ("a", 9, 1, "submit", "red"), "the pool has 8 GPUs"),
        ([], ("a", 5, 1, "submit", "red"), "a team may use 4 GPUs"),
        ([("a", 1)], ("a", 1, 1, "submit", "red"), "a job of this name"),
        ([("a", 1), ("b", 1), ("c", 1)], ("d", 1, 1, "submit", "red"), "3 jobs are known"),
        ([], ("a", 1, 1, "cancel", "red"), "no such job"),
        ([], ("a", 1, 1, "finish", "red"), "no such job"),
        ([("a", 1)], ("a", 1, 1, "cancel", "blue"), "not of team blue"),
        ([("a", 4), ("b", 4)], ("b", 4, 1, "finish", "red"), "cancel it instead"),
    ],
)
def test_refusals_say_why_and_change_nothing(jobs: list[tuple[str, int]], last: tuple[Any, ...], why: str) -> None:
    bench = Bench(team_gpus_max=4, jobs_max=3)
    for name, gpus in jobs:
        bench.job(name, gpus)
    before = msgspec.msgpack.encode(bench.state.values)
    name, gpus, priority, action, team = last
    event = Job(id="e", time_us=7, job=name, team=team, gpus=gpus, priority=priority, action=action)
    (fact,) = bench.feed(event)
    assert fact.kind == "refused"
    assert why in fact.detail
    assert msgspec.msgpack.encode(bench.state.values) == before


def test_cancel_frees_at_once() -> None:
    bench = Bench()
    bench.job("a", 8)
    bench.job("b", 8)
    bench.job("c", 8)
    assert bench.job("b", action="cancel") == ["cancelled b"]
    assert bench.job("a", action="cancel") == ["cancelled a", "started c"]


# -- GPUs for serving -----------------------------------------------------------------------------------------------


def test_free_gpus_are_taken_before_anyone_is_preempted() -> None:
    bench = Bench()
    bench.job("a", 4)
    (held,) = bench.command("free_gpus", gpus=4)
    assert (held.kind, held.gpus, held.command, held.model) == ("gpus_held", 4, "c1", "owl")
    assert bench.running() == ["a"]


def test_victims_are_the_lowest_priority_newest_and_no_more_than_needed() -> None:
    bench = Bench()
    bench.job("keep", 2, priority=9)
    bench.job("old", 3)
    bench.job("newer", 2)
    bench.job("newest", 1)
    assert brief(bench.command("free_gpus", gpus=2)) == ["preempted newer", "gpus_held owl"]
    assert bench.running() == ["keep", "newest", "old"]


def test_what_a_victim_gives_is_held_so_that_no_victim_takes_it_back() -> None:
    bench = Bench()
    bench.job("a", 4)
    bench.job("b", 4)
    assert brief(bench.command("free_gpus", gpus=3)) == ["preempted b", "gpus_held owl"]
    assert bench.job("c", 1) == ["queued c"]  # behind b, whose priority was raised
    assert brief(bench.command("free_gpus", "reversed")) == ["gpus_returned owl", "resumed b"]
    assert bench.job("a", action="finish") == ["finished a", "started c"]


def test_a_victim_comes_back_with_raised_priority() -> None:
    bench = Bench()
    bench.job("a", 4)
    bench.job("b", 4)
    bench.command("free_gpus", gpus=4)
    bench.command("free_gpus", "reversed")
    assert brief(bench.command("free_gpus", name="c2", gpus=4)) == ["preempted a", "gpus_held owl"]


def test_fewer_than_asked_are_held_and_said() -> None:
    bench = Bench()
    bench.job("a", 8)
    preempted, held, refused = bench.command("free_gpus", gpus=12)
    assert (preempted.kind, held.gpus, refused.kind, refused.gpus) == ("preempted", 8, "refused", 4)
    assert "only 8 of 12 GPUs could be freed" in refused.detail


def test_a_short_hold_is_filled_before_jobs_run() -> None:
    bench = Bench()
    bench.command("free_gpus", name="c1", gpus=5)
    bench.command("free_gpus", name="c2", target="heron", gpus=5)
    bench.job("a", 4)
    facts = bench.command("free_gpus", "reversed", name="c1")
    assert [(f.kind, f.gpus) for f in facts] == [("gpus_returned", 5), ("gpus_held", 2)]


def test_a_renewal_changes_nothing_and_an_enlargement_takes_the_rest() -> None:
    bench = Bench()
    bench.command("free_gpus", gpus=2)
    assert bench.command("free_gpus", gpus=2) == []
    (more,) = bench.command("free_gpus", gpus=5)
    assert more.gpus == 3
    (returned,) = bench.command("free_gpus", "reversed")
    assert returned.gpus == 5


@pytest.mark.parametrize("parameters", [{}, {"gpus": 0}, {"gpus": -3}, {"gpus": "many"}])
def test_an_unusable_number_is_refused(parameters: dict[str, Any]) -> None:
    (fact,) = Bench().command("free_gpus", **parameters)
    assert fact.kind == "refused"
    assert "parameters.gpus" in fact.detail


def test_holds_are_bounded() -> None:
    bench = Bench(holds_max=1)
    bench.command("free_gpus", name="c1", gpus=1)
    assert brief(bench.command("free_gpus", name="c2", gpus=1)) == ["refused owl"]


# -- routes ---------------------------------------------------------------------------------------------------------


def test_traffic_is_shifted_and_restored() -> None:
    bench = Bench()
    (shifted,) = bench.command("shift_traffic", **{"to": "1.9", "from": "2.0"})
    assert (shifted.kind, shifted.model, shifted.detail) == ("traffic_shifted", "owl", "traffic of owl: 2.0 -> 1.9")
    assert bench.command("shift_traffic", **{"to": "1.9", "from": "2.0"}) == []
    (restored,) = bench.command("shift_traffic", "reversed")
    assert (restored.kind, restored.detail) == ("traffic_restored", "traffic of owl: 1.9 -> 2.0; because")
    assert brief(bench.command("shift_traffic", "reversed")) == ["refused owl"]


def test_shifts_are_bounded_over_all_models_and_one_a_model() -> None:
    bench = Bench(shifted_models_max=1)
    bench.command("shift_traffic", to="1")
    (second,) = bench.command("shift_traffic", name="c2", to="1")
    assert "shifted already by c1" in second.detail
    (other,) = bench.command("shift_traffic", name="c3", target="heron", to="1")
    assert "1 models are shifted already" in other.detail
    bench.command("shift_traffic", "reversed")
    assert brief(bench.command("shift_traffic", name="c3", target="heron", to="1")) == ["traffic_shifted heron"]


def test_a_roll_back_is_done_once_and_can_be_undone_until_a_newer_deployment() -> None:
    bench = Bench()
    (done,) = bench.command("roll_back", **{"to": "1.9", "from": "2.0"})
    assert (done.kind, done.detail) == ("rolled_back", "owl: 2.0 -> 1.9")
    assert bench.command("roll_back", **{"to": "1.9", "from": "2.0"}) == []
    assert brief(bench.command("roll_back", "reversed")) == ["rollback_undone owl"]
    bench.command("roll_back", to="1.9")
    assert bench.feed(Deployment(id="d", time_us=8, model="owl", version="3.0")) == []
    assert brief(bench.command("roll_back", "reversed")) == ["refused owl"]


@pytest.mark.parametrize("action", ["shift_traffic", "roll_back"])
def test_a_route_must_lead_somewhere(action: str) -> None:
    (fact,) = Bench().command(action)
    assert (fact.kind, "parameters.to" in fact.detail) == ("refused", True)


@pytest.mark.parametrize("state", ["pending_approval", "rejected", "expired"])
@pytest.mark.parametrize("action", ["free_gpus", "shift_traffic", "roll_back"])
def test_only_issued_and_reversed_are_obeyed(action: str, state: str) -> None:
    assert Bench().command(action, state, gpus=1, to="1") == []


@pytest.mark.parametrize("action", ["throttle", "invalidate_cache"])
def test_other_stages_commands_are_left_alone(action: str) -> None:
    assert Bench().command(action, percent=50) == []


# -- at all times ---------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(streams())
def test_gpus_balance_and_gangs_are_whole_after_every_event(events: list[Any]) -> None:
    params = SchedulerParams(team_gpus_max=40)
    stage, state = Scheduler(params), State[Value]()
    used: dict[str, int] = {}
    held: dict[str, int] = {}
    for offset, event in enumerate(events):
        for output in stage.step(state, Batch(0, 1, [offset], [event])):
            tell(output.value, used, held)
        jobs = [value for value in state.values.values() if isinstance(value, GpuJob)]
        holds = [value for value in state.values.values() if isinstance(value, Hold)]
        assert used == {job.job: job.gpus for job in jobs if job.running}
        assert {k: v for k, v in held.items() if v} == {hold.command: hold.gpus for hold in holds if hold.gpus}
        assert sum(used.values()) + sum(held.values()) <= params.pool_gpus
        for team in {job.team for job in jobs}:
            assert sum(job.gpus for job in jobs if job.running and job.team == team) <= params.team_gpus_max


def tell(fact: JobEvent, used: dict[str, int], held: dict[str, int]) -> None:
    """An account of the pool kept from the facts alone, as a subscriber would."""
    if fact.kind in ("started", "resumed"):
        assert fact.job not in used
        used[fact.job] = fact.gpus
    elif fact.kind in ("preempted", "finished", "cancelled"):
        assert used.pop(fact.job, fact.gpus) == fact.gpus
    elif fact.kind == "gpus_held":
        held[fact.command] = held.get(fact.command, 0) + fact.gpus
    elif fact.kind == "gpus_returned":
        assert held.pop(fact.command, 0) == fact.gpus


@given(streams())
def test_reversing_every_command_gives_all_gpus_and_routes_back(events: list[Any]) -> None:
    commands = {event.command: event for event in events if isinstance(event, Command)}
    shifted = [msgspec.structs.replace(c, state="reversed", target=m) for c in commands.values() for m in MODELS]
    events = [*events, *shifted]
    state = State[Value]()
    Scheduler(SchedulerParams()).step(state, Batch(0, 1, range(len(events)), events))
    assert {type(value) for value in state.values.values()} <= {GpuJob}
    jobs = [value for value in state.values.values() if isinstance(value, GpuJob)]
    waiting = [job for job in jobs if not job.running]
    free = SchedulerParams().pool_gpus - sum(job.gpus for job in jobs if job.running)
    assert not waiting or max(job.gpus for job in waiting) > free


def test_serving_cannot_exceed_the_total() -> None:
    with pytest.raises(msgspec.ValidationError, match="gpus_serving must lie between"):
        msgspec.toml.decode("gpus_total = 4\ngpus_serving = 5", type=SchedulerParams)
