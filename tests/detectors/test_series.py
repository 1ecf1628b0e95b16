import csv
import gzip
import math
import random
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from detectors import evaluate, labelled, picture, sensitivity
from detectors.judge import Events, Windows, benchmark_score, judge_events, two_fold
from detectors.season import DAY_US, Season, SeasonParams, SeasonState
from detectors.series import (
    Alarm,
    AlarmParams,
    AlarmState,
    SeriesDetector,
    SeriesParams,
    SeriesState,
    weights_of,
)
from detectors.surprise import Surprise, SurpriseParams, SurpriseState

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US


def daily(rows: int, cadence_us: int, seed: int = 1, noise: float = 1.0) -> list[tuple[int, float | None]]:
    """A daily wave between 100 and 300 with a regular spike of 400 at noon, and noise."""
    rng, out = random.Random(seed), []
    for i in range(rows):
        phase = (i * cadence_us) % DAY_US / DAY_US
        spike = 400.0 if 0.5 <= phase < 0.5 + 3 * cadence_us / DAY_US else 0.0
        out.append((i * cadence_us, 200.0 + 100.0 * math.sin(2 * math.pi * phase) + spike + rng.gauss(0.0, noise)))
    return out


def alarms(detector: SeriesDetector, rows: list[tuple[int, float | None]]) -> list[int]:
    return [i for i, row in enumerate(rows) if detector.step(*row)[1]]


def test_a_daily_spike_is_learnt_and_the_same_spike_at_another_hour_is_found() -> None:
    cadence_us = 5 * MINUTE_US
    rows = daily(7 * DAY_US // cadence_us, cadence_us)
    night = 6 * DAY_US // cadence_us + DAY_US // cadence_us // 8
    odd = rows.copy()
    odd[night] = (rows[night][0], 700.0)
    last_day = [i for i in alarms(SeriesDetector(), rows) if i >= 4 * DAY_US // cadence_us]
    assert last_day == []
    assert night in alarms(SeriesDetector(), odd)


@pytest.mark.parametrize("value", [-1e9, 1e9, 0.0])
def test_a_wild_value_does_not_blind_the_detector(value: float) -> None:
    rows = [(i * MINUTE_US, 50.0 + random.Random(i).gauss(0.0, 1.0)) for i in range(600)]
    rows[400] = (rows[400][0], value)
    rows[520] = (rows[520][0], 80.0)
    found = alarms(SeriesDetector(), [(t, v) for t, v in rows])
    assert 400 in found
    assert 520 in found


def test_a_lasting_shift_is_one_short_alarm() -> None:
    rng = random.Random(2)
    rows = [(i * MINUTE_US, rng.gauss(50.0 if i < 500 else 90.0, 1.0)) for i in range(900)]
    found = alarms(SeriesDetector(), [(t, v) for t, v in rows])
    assert found == [500]


def moved(cadence_us: int, rows_since: int) -> list[tuple[int, float | None]]:
    """200 rows about 10, then some about 50."""
    rng = random.Random(4)
    return [(i * cadence_us, rng.gauss(10.0 if i < 200 else 50.0, 1.0)) for i in range(200 + rows_since)]


@pytest.mark.parametrize(
    ("cadence_us", "rows_since", "explained"),
    [  # more than half of the level's rows, of which the first five count in part
        (HOUR_US, 12, False),
        (HOUR_US, 20, True),
        (MINUTE_US, 24, False),
        (MINUTE_US, 36, True),
        (4 * HOUR_US, 10, False),
        (4 * HOUR_US, 13, True),  # six rows would be no level: at least 12 are
    ],
)
def test_a_new_level_is_explained_once_it_has_lasted(cadence_us: int, rows_since: int, explained: bool) -> None:
    surprise = Surprise(SurpriseParams())
    for row in moved(cadence_us, rows_since):
        surprise.learn(row)
    expected = surprise.score(((200 + rows_since) * cadence_us, 50.0)).expected
    assert expected is not None
    assert (expected > 45.0) == explained


@pytest.mark.parametrize("rows", [3, 10, 16, 17, 230])
def test_the_level_of_slow_rows_goes_on_from_a_checkpoint(rows: int) -> None:
    series = moved(4 * HOUR_US, 60)
    whole, before = Surprise(SurpriseParams()), Surprise(SurpriseParams())
    expected = [whole.step(row) for row in series]
    for row in series[:rows]:
        before.step(row)
    state = msgspec.json.decode(msgspec.json.encode(before.state), type=SurpriseState)
    after = Surprise(SurpriseParams(), state)
    assert [after.step(row) for row in series[rows:]] == expected[rows:]


@pytest.mark.parametrize("cadence_us", [MINUTE_US, HOUR_US])
def test_a_wild_row_is_learnt_in_part_and_a_run_of_them_as_it_is(cadence_us: int) -> None:
    rng, surprise = random.Random(6), Surprise(SurpriseParams())
    values = [rng.gauss(10.0, 1.0) for _ in range(300)] + [1000.0] * 6
    for row, value in enumerate(values):
        surprise.learn((row * cadence_us, value))
    assert all(10.0 < value < 700.0 for value in surprise.state.recent[-6:-1])
    assert surprise.state.recent[-1] == 1000.0


def test_surprise_counts_for_more_the_more_it_has_seen() -> None:
    detector = SeriesDetector()
    at_first = weights_of(detector.members)
    for row in daily(30 + 60 * 20, MINUTE_US):  # 60 blocks of the 600 that it remembers
        detector.step(*row)
    assert at_first == [1.0] * 6
    assert weights_of(detector.members) == pytest.approx([1.1, 1.0, 1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("offset", [0.0, -1e4])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_unit_and_offset_do_not_matter(unit: float, offset: float) -> None:
    rows = daily(900, HOUR_US)
    a, b = SeriesDetector(), SeriesDetector()
    plain = [a.step(*r)[0] for r in rows]
    other = [b.step(t, unit * ((v or 0.0) + offset))[0] for t, v in rows]
    assert other == pytest.approx(plain, abs=1e-5)


def test_repeated_backward_and_missing_times_are_taken() -> None:
    rng = random.Random(3)
    detector = SeriesDetector()
    times = [i * MINUTE_US for i in range(400)]
    for i in range(50, 400, 7):
        times[i] = times[i - 1]
    times[200], times[300] = 0, times[399] + 40 * DAY_US
    scores = [detector.step(t, None if i % 11 == 0 else rng.gauss(10.0, 1.0)) for i, t in enumerate(times)]
    assert all(0.0 <= score <= 1.0 for score, _ in scores)
    assert sum(flag for _, flag in scores) <= 2


def test_the_whole_detector_goes_on_from_a_checkpoint() -> None:
    rows = daily(700, 5 * MINUTE_US)
    whole, before = SeriesDetector(), SeriesDetector()
    expected = [whole.step(*r) for r in rows]
    for row in rows[:333]:
        before.step(*row)
    state = msgspec.json.decode(msgspec.json.encode(before.state), type=SeriesState)
    after = SeriesDetector(state=state)
    assert [after.step(*r) for r in rows[333:]] == expected[333:]


def test_an_alarm_speaks_again_only_of_more_or_after_its_rest() -> None:
    alarm, out = Alarm(AlarmParams(rest_rows=4, rest_us_max=HOUR_US, margin=0.5), AlarmState()), []
    for minute, evidence in enumerate([0.1, 2.0, 2.4, 0.3, 3.0, 1.9, 0.0, 2.0, 1.8]):
        out.append(alarm.step(minute * MINUTE_US, evidence))
    assert out == [0.1, 2.0, 2.4, 0.0, 3.0, 0.0, 0.0, 2.0, 0.0]


def test_an_alarm_rests_by_the_clock_where_rows_are_slow() -> None:
    alarm = Alarm(AlarmParams(rest_rows=60, rest_us_max=4 * HOUR_US, margin=1.0), AlarmState())
    assert [alarm.step(hour * HOUR_US, 1.0) for hour in range(5)] == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_the_ring_forgets_what_a_gap_has_outlived() -> None:
    season = Season(SeasonParams(), SeasonState())
    for hour in range(24 * 3):
        season.learn(hour * HOUR_US, 7.0)
    assert season.band(24 * 3 * HOUR_US) == (7.0, 7.0)
    assert season.band(24 * 6 * HOUR_US) == (7.0, 7.0)
    assert season.band(24 * 9 * HOUR_US) is None
    season.learn(24 * 30 * HOUR_US, 1.0)
    assert season.band(24 * 30 * HOUR_US) is None


def test_daily_data_has_no_time_of_day() -> None:
    season = Season(SeasonParams(), SeasonState())
    for day in range(60):
        season.learn(day * DAY_US, float(day))
    assert season.band(60 * DAY_US) is None


@pytest.mark.parametrize(
    ("flagged", "expected"),
    [
        ([], Events(2, 0, 0, 1.0)),
        ([120, 121], Events(2, 1, 0, 1.0, (20,))),
        ([100, 300, 301], Events(2, 2, 0, 1.0, (0, 0))),
        ([10, 11], Events(2, 0, 0, 1.0)),  # before the judged rows
        ([135, 139], Events(2, 0, 0, 1.0)),  # up to 10 rows after an event
        ([140, 150, 161], Events(2, 0, 2, 1.0)),
        ([*range(160, 281)], Events(2, 0, 3, 1.0)),  # 121 rows: three started hours
    ],
)
def test_events_are_judged_as_defined(flagged: list[int], expected: Events) -> None:
    marked = [100 <= i < 130 or 300 <= i < 302 for i in range(400)]
    assert judge_events(flagged, marked, 50, 1.0) == expected


def test_an_event_over_the_start_is_cut() -> None:
    marked = [40 <= i < 60 for i in range(100)]
    assert judge_events([45, 55], marked, 50, 1.0) == Events(1, 1, 0, 1.0, (5,))


@pytest.mark.parametrize(
    ("flagged", "merit"),
    [([], 0.0), ([500], 100.0), ([500, 510, 599], 100.0), ([450], 100.0 * (-0.11) / 2.0), ([10], 0.0)],
)
def test_benchmark_score_of_one_window(flagged: list[int], merit: float) -> None:
    assert benchmark_score(flagged, [(500, 599)], 1000).merit == pytest.approx(merit, abs=0.3)


def test_an_earlier_detection_earns_more() -> None:
    early, late = (benchmark_score([row], [(500, 599)], 1000).merit for row in (520, 590))
    assert 100.0 > early > late > 50.0


def test_two_fold_never_chooses_on_what_it_scores() -> None:
    # threshold 0 is best for group a, threshold 1 for group b: each group is scored with the other's choice
    results = [[Windows(1, 1, 1.0), Windows(1, 0, -1.0)], [Windows(1, 0, -1.0), Windows(1, 1, 1.0)]]
    assert two_fold(results, ["a", "b"]) == Windows(2, 0, -2.0)
    with pytest.raises(ValueError, match="at least two groups"):
        two_fold(results, ["a", "a"])


def test_the_evaluator_reads_a_folder_and_prints_a_table(tmp_path: Path) -> None:
    (tmp_path / "hourly").mkdir()
    with (tmp_path / "hourly" / "index.csv").open("w") as lines:
        lines.write("name,kind\na,latency\nb,latency\n")
    for seed, name in enumerate("ab"):
        rows = daily(24 * 20, HOUR_US, seed=seed)
        with gzip.open(tmp_path / "hourly" / f"{name}.csv.gz", "wt", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(["timestamp", "value", "label"])
            for i, (t, v) in enumerate(rows):
                stamp = f"2026-01-{1 + t // DAY_US:02d} {t % DAY_US // HOUR_US:02d}:00:00"
                writer.writerow(
                    [stamp, "" if i == 77 else (v or 0.0) + 900.0 * (i in (300, 301)), int(i in (300, 301))]
                )
    result = CliRunner().invoke(_app(), [str(tmp_path), "--set", "hourly"])
    assert result.exit_code == 0, result.output
    assert "1.000" in result.output


def test_the_evaluator_names_the_bad_line(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("timestamp,value\n2026-01-01 00:00:00,1\n2026-01-01 00:01:00,one\n")
    with pytest.raises(ValueError, match=r"x\.csv, line 3"):
        labelled.read_series(tmp_path / "x.csv", "x", "x")


def _app() -> object:
    import typer

    app = typer.Typer()
    app.command()(evaluate.main)
    return app


def test_the_picture_has_a_point_for_each_detector_of_each_set() -> None:
    hit = {"events": 4, "hit": 2, "false_episodes": 2}
    results = {
        "rows": [
            {"set": "hourly", "detector": "density", "threshold": "two-fold", "result": hit},
            {"set": "hourly", "detector": "ensemble", "threshold": "two-fold", "result": hit},
            {"set": "hourly", "detector": "ensemble", "threshold": "shipped 0.6", "result": hit},
            {"set": "hourly", "detector": "without density", "threshold": "two-fold", "result": hit},
        ],
        "costs": {"density": {"us_per_row": 10.0}, "ensemble": {"us_per_row": 100.0}},
    }
    drawn = picture.svg(picture.points(results))
    assert drawn.count("<circle") == 2
    assert (picture.across(10.0, 0.0), picture.across(100.0, 0.0)) == (picture.WIDTH / 4, picture.WIDTH / 2)


def test_every_varied_parameter_differs_from_what_is_shipped() -> None:
    shipped, *others = (params for _, params in sensitivity.variants(SeriesParams()))
    assert shipped == SeriesParams()
    assert len(others) == 2 * (len(sensitivity.VARIED) + len(sensitivity.TAIL_VARIED))
    assert all(params != shipped for params in others)
