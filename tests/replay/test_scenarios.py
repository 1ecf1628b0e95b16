"""The labelled weeks: the seed says all, each kind does what it says, and scoring counts what it should."""

import math
from io import StringIO
from itertools import islice, pairwise
from typing import cast

import msgspec
import numpy as np
import pytest
from rich.console import Console

from pipeline.merging import merged_window
from pipeline.settings import Settings
from pipeline.sketch import check_record
from replay.arrivals import Integers
from replay.scenarios import pack
from replay.scenarios.__main__ import seeds
from replay.scenarios.course import DAY_MINUTES, PROFILES, Course, course
from replay.scenarios.disturb import SLICES_A_MINUTE
from replay.scenarios.judging import NAMES, Opened, judge, summarise
from replay.scenarios.kinds import DIFFICULTIES, KINDS, Made, Scene
from replay.scenarios.plan import WARM_UP_MINUTES
from replay.scenarios.requests import DAY_SLICES, Requests, draw
from replay.scenarios.running import of_several, opened
from replay.scenarios.table import show_wrong
from replay.scenarios.world import PARTITIONS, START_US, Scenario
from topics.control import Relayed
from topics.fields import MINUTE_US
from topics.moments import time_us
from topics.records import Alert, Mark, Slice, SlicesEvent

MINUTE, MINUTES = 700, 80


@pytest.fixture(scope="module")
def busy() -> Course:
    return course(np.random.default_rng(7), PROFILES[0], 1, ())


def first_records(seed: int, count: int = 3_000) -> list[SlicesEvent]:
    return list(islice(Scenario(seed).records(), count))


def test_the_seed_says_all() -> None:
    one, again, other = first_records(3), first_records(3), first_records(4)
    encode = msgspec.json.encode
    assert encode(one) == encode(again)
    assert encode(one) != encode(other)
    assert Scenario(3).labels == Scenario(3).labels != Scenario(4).labels


def test_records_are_a_log_that_the_stages_can_read() -> None:
    offsets = dict.fromkeys(range(PARTITIONS), 0)
    marked = dict.fromkeys(range(PARTITIONS), 0)
    for record in first_records(5):
        if isinstance(record, Slice):
            assert record.offset > offsets[record.partition]
            assert record.time_us > marked[record.partition]
            assert 0 <= record.errors <= record.completions
            assert min(record.input_tokens, record.output_tokens, record.cost_microusd) >= 0
            assert len(record.top_organisations) <= 8
            assert all(part.errors <= part.completions for part in record.parts)
            assert sum(record.duration_us.counts) == record.completions - record.errors
            assert record.start_us <= record.last_request_us < record.time_us or record.requests == 0
            assert record.start_us <= record.last_completion_us < record.time_us or record.completions == 0
            check_record(record.duration_us)
            check_record(record.first_token_us)
        elif isinstance(record, Mark):
            assert record.offset > offsets[record.partition]
            assert record.time_us > marked[record.partition]
            offsets[record.partition], marked[record.partition] = record.offset, record.time_us
    assert min(marked.values()) > START_US


def test_parts_of_a_dimension_that_names_all_its_values_add_up() -> None:
    slices = [record for record in first_records(6) if isinstance(record, Slice)]
    for record in slices:
        regions = [part for part in record.parts if part.dimension == "region"]
        assert sum(part.requests for part in regions) == record.requests
        assert sum(part.completions for part in regions) == record.completions
        assert sum(part.errors for part in regions) == record.errors
        assert sum(part.tokens for part in regions) == record.input_tokens + record.output_tokens


def test_what_is_packed_in_pieces_is_what_is_packed_at_once(busy: Course) -> None:
    """The cut of a day into chunks is of no consequence."""
    drawn = draw(np.random.default_rng(1), busy, 0, ())

    def packed(count: int) -> list[pack.Packed]:
        rows, carried = [], pack.Carried()
        for first in range(0, 720, count):
            mine = pack.share(drawn, first, count, 0, 1)
            more, carried = pack.pack(mine, carried, busy.customers, first, count)
            rows += more
        return rows

    assert packed(720) == packed(90)


def test_every_kind_at_every_difficulty_lies_in_the_week_and_none_in_the_warm_up() -> None:
    for seed in range(1, 5):
        scenario = Scenario(seed)
        ready_us = START_US + WARM_UP_MINUTES * MINUTE_US
        found = {(label.kind, label.difficulty) for label in scenario.labels}
        assert found == {(kind, difficulty) for kind in KINDS for difficulty in DIFFICULTIES}
        for label in scenario.labels:
            assert ready_us <= moment(label.start) < moment(label.end) <= scenario.end_us
        assert set(NAMES) == set(KINDS)


def test_no_two_incidents_of_a_model_touch() -> None:
    for seed in range(1, 5):
        spans: dict[int, list[tuple[int, int]]] = {}
        for one in Scenario(seed).planned:
            for model in one.models:
                spans.setdefault(model, []).append((one.minute, one.minute + one.minutes))
        for own in spans.values():
            own.sort()
            assert all(later[0] - earlier[1] >= 30 for earlier, later in pairwise(own))


def moment(text: str) -> int:
    found = time_us(text)
    assert found is not None
    return found


def of_kind(name: str, course_: Course, level: int) -> tuple[Requests, Requests, Made]:
    """The requests that arrive while the incident lasts, without it and with it."""
    scene = Scene(0, course_, MINUTE, MINUTES)
    made = KINDS[name].make(np.random.default_rng(5), scene, KINDS[name].sizes[level])
    both = [draw(np.random.default_rng(2), course_, 0, hits) for hits in ((), made.disturbances)]
    inside = [(one.arrived // SLICES_A_MINUTE - MINUTE).clip(-1, MINUTES) for one in both]
    usual, hit = (pack._part(one, (at >= 0) & (at < MINUTES)) for one, at in zip(both, inside, strict=True))
    return usual, hit, made


def failing(requests: Requests) -> float:
    return float(requests.failed.mean()) if len(requests) else 0.0


def answered(requests: Requests, column: Integers, q: float) -> float:
    return float(np.quantile(column[~requests.failed], q)) if len(requests) else 0.0


@pytest.mark.parametrize("level", range(3))
@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_kind_does_what_it_says(name: str, level: int, busy: Course) -> None:
    usual, hit, made = of_kind(name, busy, level)
    size = KINDS[name].sizes[level]
    more = failing(hit) - failing(usual)
    slower = answered(hit, hit.duration_us, 0.5) / answered(usual, usual.duration_us, 0.5)
    rate = len(hit) / len(usual)
    tokens = hit.input_tokens.sum() / usual.input_tokens.sum()
    if name == "error_burst":
        assert more > 0.8 * size.floor
    elif name in ("latency_step", "bad_deployment", "correlated"):
        assert slower > 1.0 + 0.7 * size.floor
    elif name == "slow_leak":
        last = pack._part(hit, hit.arrived // SLICES_A_MINUTE >= MINUTE + MINUTES - 10)
        assert answered(last, last.duration_us, 0.5) > (1.0 + 0.7 * size.floor) * answered(
            usual, usual.duration_us, 0.5
        )
    elif name == "p99_only":
        assert answered(hit, hit.duration_us, 0.99) > 1.5 * answered(usual, usual.duration_us, 0.99)
        assert slower < 1.2
    elif name == "one_region":
        here = failing(pack._part(hit, hit.region == made.disturbances[0].region))
        elsewhere = failing(pack._part(hit, hit.region != made.disturbances[0].region))
        assert here > 0.8 * size.floor > 5 * elsewhere
    elif name in ("organisation_abuse", "token_surge"):
        assert tokens > 1.0 + 0.5 * size.floor
        whose = made.disturbances[0].organisation
        rest = [part.input_tokens[part.organisation != whose].sum() for part in (usual, hit)]
        assert rest[1] < 1.15 * rest[0]
        assert (rate > 1.1) == (name == "organisation_abuse")
    elif name == "cost_anomaly":
        per_token = [
            part.cost_microusd.sum() / (3 * part.input_tokens + 15 * part.output_tokens).sum() for part in (usual, hit)
        ]
        assert per_token[1] / per_token[0] == pytest.approx(1.0 + size.floor, rel=0.05)
    elif name == "traffic_zero":
        assert rate == pytest.approx(size.floor, abs=0.01)
    elif name == "traffic_partial_drop":
        assert rate < 1.05 * (1.0 - size.floor)
    else:
        assert name == "flapping"
        by_minute = np.bincount(hit.arrived // SLICES_A_MINUTE - MINUTE, weights=hit.failed, minlength=MINUTES)
        failing_minutes = (
            by_minute / np.bincount(hit.arrived // SLICES_A_MINUTE - MINUTE, minlength=MINUTES) > size.floor / 2
        )
        assert np.count_nonzero(np.diff(failing_minutes.astype(int)) == 1) >= 4


def test_hard_incidents_stand_out_to_who_knows_what_is_usual(busy: Course) -> None:
    """Ten minutes of a hard error burst lie over 10 σ of such a mean from the usual."""
    usual, hit, _ = of_kind("error_burst", busy, 2)
    share = failing(usual)
    per_ten_minutes = len(hit) * 10 / MINUTES
    assert (failing(hit) - share) / math.sqrt(share * (1 - share) / per_ten_minutes) > 10


def test_the_load_has_the_measured_shape(busy: Course) -> None:
    """Sharpness 1 is ServeGen's day: the busiest hour a third or so above the quietest, wander aside."""
    hourly = busy.rates.sum(axis=1)[: 5 * DAY_MINUTES].reshape(5, 24, 60).mean(axis=(0, 2))
    assert 1.2 < hourly.max() / hourly.min() < 2.2
    shares = np.sort(busy.rates.sum(axis=0) / busy.rates.sum())[::-1]
    assert 0.12 < shares[0] < 0.25
    assert 0.35 < shares[:5].sum() < 0.65


def test_windows_of_two_partitions_add_up() -> None:
    slices = [record for record in first_records(8) if isinstance(record, Slice) and record.model == "tide-70b"]
    minute = [record for record in slices if record.start_us < START_US + MINUTE_US]
    window = merged_window(
        minute, time_us=0, model="tide-70b", start_us=START_US, end_us=START_US + MINUTE_US, revision=0, top=8
    )
    assert {record.partition for record in minute} == {0, 1}
    assert window.requests == sum(record.requests for record in minute) > 100
    assert window.duration_us_p50 is not None


def test_control_events_come_when_they_are_due() -> None:
    scenario = Scenario(9)
    times = [event.time_us for event in scenario.control]
    assert times == sorted(times)
    first = next(record for record in scenario.records() if isinstance(record, Relayed))
    assert first.event == scenario.control[0]


def alert(model: str, minute: float, **more: object) -> Opened:
    return Opened(model, "error_burst", START_US + round(minute * MINUTE_US), **more)  # type: ignore[arg-type]


def test_scoring_by_hand() -> None:
    """One alert in each incident but the first, two false ones, one in the warm-up and one in the grace."""
    scenario = Scenario(11)
    first, *rest = scenario.planned
    names = scenario.models
    right = [alert(names[one.models[-1]], one.minute + one.late / SLICES_A_MINUTE + 2) for one in rest]
    quiet = next(m for m in range(WARM_UP_MINUTES + 9, scenario.minutes) if all(abs(m - o.minute) > 200 for o in rest))
    recovery = alert(names[rest[0].models[0]], rest[0].minute + rest[0].minutes + 4)
    false = [alert(names[0], quiet, severity="info"), alert(names[1], quiet)]
    assert quiet not in range(first.minute - 20, first.minute + first.minutes + 20)
    verdict = judge(scenario, [*right, *false, alert(names[0], 100), recovery])
    summary = summarise([verdict])
    assert (summary.incidents, summary.found, summary.false, summary.false_paging) == (39, 38, 2, 1)
    assert summary.precision == pytest.approx(38 / 40)
    assert summary.delay_median == pytest.approx(2.0)
    assert summary.false_per_model_week == pytest.approx(2 / (4 * 6 / 7))


def test_what_went_wrong_is_told_one_by_one() -> None:
    scenario, console = Scenario(11), Console(file=StringIO(), width=500)
    said = alert(scenario.models[0], WARM_UP_MINUTES + 3, severity="info", summary="Nothing.", causes=("tier=free",))
    verdict = judge(scenario, [said])
    assert verdict.false == (said,)
    show_wrong(console, [verdict])
    first, *missed = cast(StringIO, console.file).getvalue().splitlines()
    assert first == "false: seed 11, 2026-06-02T00:03:00.000000Z, tide-70b, error_burst, info: Nothing. [tier=free]"
    assert len(missed) == len(scenario.labels)
    assert all(
        line.startswith(f"missed: seed 11, {one.start}") for line, one in zip(missed, scenario.labels, strict=True)
    )


def test_an_alert_is_counted_once_and_at_its_gravest() -> None:
    steps = [
        Alert(
            id=f"a{number}", time_us=number, alert="a", status=status, severity=severity, kind="error_burst", model="m",
            started_us=0, windows=1, summary="",
        )
        for number, (status, severity) in enumerate((("open", "info"), ("update", "critical"), ("resolved", "warning")))
    ]  # fmt: skip
    (one,) = opened(steps)
    assert (one.opened_us, one.severity) == (0, "critical")


def test_scenarios_judged_together_have_the_noise_budgets_of_all() -> None:
    one, eight = of_several(Settings(), 1), of_several(Settings(), 8)
    assert one == Settings()
    assert eight.alerting.alerts_a_day_partition == 8 * one.alerting.alerts_a_day_partition
    assert eight.alerting.alerts_a_day == one.alerting.alerts_a_day


def test_seeds_of_the_command_line() -> None:
    assert seeds("101-103,7") == [101, 102, 103, 7]


def test_a_day_has_as_many_slices_as_it_should() -> None:
    assert DAY_SLICES == 8_640
