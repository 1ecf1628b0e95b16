"""When a model's epoch rises, and that it never falls or repeats."""

from typing import Any

import pytest
from hypothesis import given

from pipeline.stage import Batch, State
from pipeline.stages.cache import EPOCHS, Cache, CacheParams, Epochs
from tests.streams.cache import streams
from topics.control import Command, Deployment
from topics.records import Invalidated

AT: dict[str, Any] = {"id": "e", "time_us": 7}


def command(action: Any, state: Any = "issued", target: str = "owl") -> Command:
    return Command(
        **AT,
        command="c3-7-0",
        alert="a",
        model=target,
        action=action,
        target=target,
        state=state,
        severity="warning",
        expires_us=9,
        reason="Odd answers.",
    )


def run(events: list[Any], **params: Any) -> tuple[list[Invalidated], Epochs]:
    state: State[Epochs] = State()
    outputs = Cache(CacheParams(**params)).step(state, Batch(0, 1, range(len(events)), events))
    return [output.value for output in outputs], state.get(EPOCHS) or Epochs()


def test_the_answer_names_command_model_and_epoch() -> None:
    ((answer,), epochs) = run([command("invalidate_cache")])
    assert answer == Invalidated(
        id="0-0-0", time_us=7, command="c3-7-0", model="owl", epoch=1, detail="invalidate_cache: Odd answers."
    )
    assert epochs.of("owl") == 1


def test_a_deployment_and_a_roll_back_invalidate_too() -> None:
    answers, _ = run([Deployment(**AT, model="owl", version="2.0"), command("roll_back")])
    assert [(a.command, a.detail) for a in answers] == [
        ("", "version 2.0 was deployed"),
        ("c3-7-0", "roll_back: Odd answers."),
    ]


@pytest.mark.parametrize(
    "event",
    [
        command("invalidate_cache", "reversed"),
        command("invalidate_cache", "pending_approval"),
        command("invalidate_cache", "expired"),
        command("roll_back", "pending_approval"),
        command("roll_back", "rejected"),
        command("shift_traffic"),
        command("throttle"),
        command("free_gpus"),
    ],
)
def test_nothing_else_does(event: Command) -> None:
    assert run([event]) == ([], Epochs())


def test_a_model_forgotten_and_met_again_starts_above_all_it_had() -> None:
    events = [command("invalidate_cache", target=model) for model in ("owl", "owl", "heron", "ibis", "owl")]
    answers, epochs = run(events, models_max=2)
    assert [a.epoch for a in answers if a.model == "owl"] == [1, 2, 5]
    assert epochs.of("never met") >= 3  # heron was forgotten: what is not listed counts as above it
    assert len(epochs.models) == 2


def test_an_epoch_stays_above_the_last_when_the_log_begins_anew() -> None:
    state: State[Epochs] = State()
    stage = Cache(CacheParams())
    stage.step(state, Batch(0, 1, [5_000], [command("invalidate_cache")]))
    (output,) = stage.step(state, Batch(0, 1, [0], [command("invalidate_cache")]))
    assert output.value.epoch == 5_002


@given(streams())
def test_epochs_of_a_model_only_rise_and_readers_agree(events: list[Any]) -> None:
    answers, epochs = run(events, models_max=2)
    told: dict[str, int] = {}
    for answer in answers:
        assert answer.epoch > told.get(answer.model, 0)
        told[answer.model] = answer.epoch
    assert all(epochs.of(model) >= epoch for model, epoch in told.items())
    assert len(epochs.models) <= 2
