"""Chains over links: what is handed over again, in whatever batches, is heard once."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chain import Chain, StateError, UnknownStageError, check_stages, sources
from pipeline.intake import Intake, Raw, Records
from pipeline.judging.coordinates import Cursor
from pipeline.settings import Settings
from pipeline.stage import Batch, Output
from tests.pipeline.test_intake import NOW_US, changed
from tests.stages.test_incidents import Drawn, step
from topics.codec import encoder
from topics.links import Handoff
from topics.table import BY_ALIAS

CURSOR = msgspec.msgpack.encode(Cursor(3, 1))
QUOTA, SAFETY = frozenset({"quota"}), frozenset({"safety"})


def handoffs(requests: int) -> list[bytes]:
    """What quota hands over for so many requests, as it lies in the link's topic."""
    raws = [Raw(offset, NOW_US, changed(id=f"r-{offset}", prompt="good morning")) for offset in range(requests)]
    batch, _ = Intake("traffic", "quota").batch(0, 1, Records.of_rows(raws))
    outputs = Chain("traffic", QUOTA, Settings()).step(batch, requests - 1)
    assert all(type(output.value) is Handoff for output in outputs)
    return [encoder(BY_ALIAS["admitted"])(output.value) for output in outputs]


def decisions(values: list[bytes], cuts: list[int]) -> list[Output]:
    """What safety makes of the link's topic, read in batches that end at `cuts`."""
    chain, intake, found = Chain("admitted", SAFETY, Settings()), Intake("admitted", "safety"), []
    for start, end in pairwise([0, *sorted(cuts), len(values)]):
        if start < end:
            raws = [Raw(offset, NOW_US, values[offset]) for offset in range(start, end)]
            found += chain.step(intake.batch(0, 1, Records.of_rows(raws))[0], end - 1)
    return found


@given(st.integers(1, 6), st.data())
def test_a_stretch_handed_over_again_is_decided_once(requests: int, data: st.DataObject) -> None:
    written = handoffs(requests)
    crashed_at = data.draw(st.integers(0, requests))
    resumed_from = data.draw(st.integers(0, crashed_at))
    values = written[:crashed_at] + written[resumed_from:]
    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=4))
    assert [output.value.request for output in decisions(values, cuts)] == [f"r-{n}" for n in range(requests)]


def test_a_process_reads_logs_and_the_links_into_it() -> None:
    assert list(sources(SAFETY)) == ["admitted"]
    assert list(sources(QUOTA | SAFETY)) == ["traffic"]
    assert list(sources(frozenset({"mitigation", "scheduler"}))) == ["raised", "control"]


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(UnknownStageError, match=r"no such agent: quotas\. There are: quota, safety"):
        check_stages(["quotas"])


def test_state_of_stages_held_elsewhere_is_left_alone() -> None:
    chain: Any = Chain("admitted", SAFETY, Settings())
    chain.restore({"quota|clock": b"\x81"}, position=3)
    assert chain.position == 3


def test_state_of_another_version_is_refused_or_forgotten_stage_by_stage() -> None:
    stages = frozenset({"detection", "alerting"})
    written = {"detection|filter/m": b"\x81\xa4type\xa7ancient", "detection|models": b"\x80", "alerting|cursor": CURSOR}
    with pytest.raises(StateError, match=r"the state of detection was written by another version .*--fresh"):
        Chain("closed", stages, Settings()).restore(written, position=3)
    chain = Chain("closed", stages, Settings())
    chain.restore(written, position=3, forgetting=True)
    assert chain.states["detection"].values == {}
    assert chain.states["alerting"].values == {"cursor": Cursor(3, 1)}
    assert dict(chain.changes()) == {"detection|filter/m": None, "detection|models": None}


def test_an_alert_written_twice_into_the_control_log_is_heard_once() -> None:
    """A worker that crashed writes again what it had written since its checkpoint."""
    steps = [
        step(number, Drawn("o.r", model=f"m{number}", kind=f"kind-{number}"), minute)
        for minute in (0, 2)
        for number in (0, 1)
    ]
    outputs = Chain("control", frozenset({"incidents"}), Settings()).step(Batch(0, 1, range(4), steps), 3)
    again = [*steps[:3], *steps[1:]]
    chain = Chain("control", frozenset({"incidents"}), Settings())
    heard = chain.step(Batch(0, 1, range(len(again)), again), len(again) - 1)
    assert [output.value.status for output in heard] == [output.value.status for output in outputs]
    assert [output.value.status for output in heard] == ["opened", "opened", "resolved", "resolved"]
