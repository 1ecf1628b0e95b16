"""Strategies for control events, over few names, so that what belongs together meets."""

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from topics.control import Approval, Command, Deployment, Feedback, Job, Launch, Maintenance, Plan
from topics.fields import MINUTE_US, SECOND_US

START_US = 1_790_000_000 * SECOND_US
MODELS = ("owl-large", "owl-small", "heron")
ORGANISATIONS = ("acme", "zenith", "tier:free")
PARAMETERS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "throttle": {"percent": st.integers(0, 100)},
    "shift_traffic": {"to": st.sampled_from(["1.0", "0.9"]), "from": st.just("2.0")},
    "roll_back": {"to": st.sampled_from(["1.0", "0.9"])},
    "free_gpus": {"gpus": st.integers(1, 80)},
    "invalidate_cache": {},
}


@st.composite
def commands(draw: st.DrawFn) -> Command:
    action = draw(st.sampled_from(sorted(PARAMETERS)))
    parameters = {name: draw(value) for name, value in PARAMETERS[action].items()}
    model = draw(st.sampled_from(MODELS[:2]))
    return Command(
        id="unnumbered",
        time_us=START_US,
        command=f"c0-{draw(st.integers(0, 1))}-{action}",
        alert=f"a0-{draw(st.integers(0, 3))}-0",
        model=model,
        action=action,
        target=draw(st.sampled_from(ORGANISATIONS)) if action == "throttle" else model,
        state=draw(
            st.sampled_from(["issued", "issued", "issued", "reversed", "reversed", "pending_approval", "expired"])
        ),
        severity=draw(st.sampled_from(["info", "warning", "critical"])),
        expires_us=START_US + 15 * MINUTE_US,
        reason="because",
        parameters=parameters if draw(st.integers(0, 9)) else {},
    )


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Eight jobs; a job belongs to one team, but for a mistake now and then."""
    number = draw(st.integers(0, 7))
    own, other = ("alignment", "products")[:: 1 if number % 3 else -1]
    return Job(
        id="unnumbered",
        time_us=START_US,
        job=f"job-{number}",
        team=draw(st.sampled_from([own] * 7 + [other])),
        gpus=draw(st.sampled_from([1, 2, 4, 8, 16, 32, 48, 49])),
        priority=draw(st.integers(0, 100)),
        action=draw(st.sampled_from(["submit", "submit", "submit", "cancel", "finish", "finish"])),
    )


def deployments() -> st.SearchStrategy[Deployment]:
    return st.builds(
        Deployment,
        id=st.just("unnumbered"),
        time_us=st.just(START_US),
        model=st.sampled_from(MODELS),
        version=st.sampled_from(["1.0", "2.0", "3.0"]),
        stable=st.sampled_from(["", "1.0"]),
    )


def approvals() -> st.SearchStrategy[Approval]:
    """Of a command that mitigation may have named, or may not."""
    names = st.builds("c{}-{}-{}".format, st.integers(0, 1), st.integers(0, 20), st.integers(0, 1))
    return names.flatmap(lambda name: st.booleans().map(lambda approved: answer(name, approved)))


def answer(command: str, approved: bool) -> Approval:
    return Approval(id="unnumbered", time_us=START_US, command=command, approved=approved, by="ana")


def feedback() -> st.SearchStrategy[Feedback]:
    return st.builds(
        Feedback,
        id=st.just("unnumbered"),
        time_us=st.just(START_US),
        alert=st.builds("a0-{}-0".format, st.integers(0, 5)),
        verdict=st.sampled_from(["true", "false", "note"]),
    )


def anything() -> st.SearchStrategy[Any]:
    at = {"id": st.just("unnumbered"), "time_us": st.just(START_US)}
    plans = st.builds(Plan, organisation=st.sampled_from(ORGANISATIONS[:2]), tier=st.just("pro"), **at)
    works = st.builds(Maintenance, start_us=st.just(START_US), end_us=st.just(START_US + MINUTE_US), **at)
    begins = st.builds(
        Launch, start_us=st.just(START_US), end_us=st.just(START_US + MINUTE_US), factor=st.just(3), **at
    )
    return st.one_of(commands(), jobs(), deployments(), approvals(), feedback(), plans, works, begins)


def numbered(events: list[Any]) -> list[Any]:
    """The events with ids and with times that rise by ten seconds."""
    return [
        replace(event, id=f"event-{index}", time_us=START_US + index * 10 * SECOND_US)
        for index, event in enumerate(events)
    ]


def timed(lists: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
    return lists.map(numbered)
