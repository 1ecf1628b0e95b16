"""Incident specs: what may be written, where the default ones lie, how they become incidents."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.event import ReplayError
from replay.incidents import (
    GAP_US,
    KINDS,
    WARM_UP_US,
    Incident,
    IncidentSpec,
    default_incidents,
    read_specs,
    resolve,
)
from replay.sources import Source, synthetic
from replay.synthesis import Synthesis
from topics.fields import MINUTE_US, SECOND_US

START_US = 1_760_000_400_000_000
SOURCE = synthetic(Synthesis(duration_s=9_000), START_US)


def _spans(source: Source, models: tuple[str, ...] = ()) -> Iterator[tuple[int, int]]:
    for incident in resolve(default_incidents(source.duration_us, models).specs, source):
        yield incident.start_us, incident.end_us


def test_the_demo_has_all_five_kinds_after_the_warm_up_with_quiet_between() -> None:
    plan = default_incidents(SOURCE.duration_us, SOURCE.models)
    assert [spec.kind for spec in plan.specs] == list(KINDS)
    assert plan.left_out == ()
    spans = list(_spans(SOURCE))
    assert spans[0][0] == START_US + WARM_UP_US
    assert all(following[0] - earlier[1] >= GAP_US for earlier, following in pairwise(spans))
    assert all(8 * MINUTE_US <= end - start <= 25 * MINUTE_US for start, end in spans)
    assert SOURCE.end_us - spans[-1][1] >= GAP_US


@given(st.integers(1, 3_000))
def test_any_length_holds_what_fits_and_says_what_does_not(minutes: int) -> None:
    plan = default_incidents(minutes * MINUTE_US)
    assert sorted([spec.kind for spec in plan.specs] + list(plan.left_out)) == sorted(KINDS)
    ends = [float(spec.end) for spec in plan.specs]
    starts = [float(spec.start) for spec in plan.specs]
    assert all(start - end >= GAP_US / SECOND_US for end, start in zip(ends, starts[1:], strict=False))
    assert not ends or ends[-1] * SECOND_US <= minutes * MINUTE_US - GAP_US


def test_an_hour_holds_two() -> None:
    assert len(default_incidents(58 * MINUTE_US).specs) == 2


def test_targets_default_to_the_busiest_model_and_organisation() -> None:
    specs = [IncidentSpec(60, 120, "error_burst"), IncidentSpec(0, 30, "token_surge", strength=4)]
    assert resolve(specs, SOURCE) == (
        Incident("token_surge", START_US, START_US + 30 * SECOND_US, "org-001", 4),
        Incident("error_burst", START_US + 60 * SECOND_US, START_US + 120 * SECOND_US, "tide-70b", 0.3),
    )


def test_iso_times_are_in_the_recordings_own_time(tmp_path: Path) -> None:
    path = tmp_path / "incidents.jsonl"
    path.write_text('{"start": "2023-11-16T18:20:00", "end": "2023-11-16T20:25:00+02:00", "kind": "latency_spike"}\n\n')
    recorded = 1_700_158_500_000_000  # 18:15:00
    source = Source(**{**vars(SOURCE), "recorded_start_us": recorded})
    (incident,) = resolve(read_specs(path), source)
    assert (incident.start_us - START_US, incident.end_us - START_US) == (5 * MINUTE_US, 10 * MINUTE_US)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"start": 0, "end": 60}', r"line 1: .*kind"),
        ('{"start": 0, "end": 60, "kind": "error_burst", "power": 2}', r"line 1: .*power"),
        ('{"start": 0, "end": 60, "kind": "error_burst", "strength": 0}', r"line 1: .*strength"),
        ('{"start": 0', "line 1: .*Expected e.g."),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "incidents.jsonl"
    path.write_text(line)
    with pytest.raises(ReplayError, match=message):
        read_specs(path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (IncidentSpec(0, 60, "flood"), "no such kind; there are error_burst, latency_spike"),
        (IncidentSpec(60, 60, "error_burst"), "its end must be later"),
        (IncidentSpec(10_000, 10_060, "error_burst"), "outside the recording, which lasts 150.0 minutes"),
        (IncidentSpec("noon", 60, "error_burst"), "'noon' is neither seconds nor an ISO 8601 time"),
        (IncidentSpec(0, 60, "error_burst", "gpt-zero"), "no model 'gpt-zero'; it has tide-70b"),
        (IncidentSpec(0, 60, "token_surge", "tide-70b"), "no organisation 'tide-70b'"),
        (IncidentSpec(0, 60, "error_burst", strength=1.5), "from 0.001 to 1, not 1.5"),
        (IncidentSpec(0, 60, "latency_spike", strength=0.5), r"times slower\) must be from 1.01"),
    ],
)
def test_an_impossible_incident_is_named(spec: IncidentSpec, message: str) -> None:
    with pytest.raises(ReplayError, match=message):
        resolve([spec], SOURCE)
