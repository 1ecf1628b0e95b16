"""A plain series: its figures are those that can be counted by hand, and those of detectors.judge."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from detectors.judge import Events, judge_events, two_fold
from detectors.series import SeriesDetector, SeriesParams
from replay.backtest import series, tally
from replay.backtest.inputs import Input
from replay.backtest.labels import Label
from replay.backtest.model import Judgement
from replay.backtest.two_fold import CUTS, SHIPPED_CUT, Scored, flagged, judged
from replay.backtest.two_fold import two_fold as two_fold_of
from replay.event import ReplayError
from replay.readers.series import Columns, points
from tests.replay.backtest import files
from tests.replay.records import START_US

PARAMS = SeriesParams()


def run(path: Path, warm_up: float = 0.25, labels: list[Label] | None = None, name: str = "one") -> Judgement:
    source = Input(path, "series", name, name)
    return series.run(source, PARAMS, labels or [], warm_up, Columns(), lambda rows, size: None)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    """One event of ten rows whose fourth row stands out, and one false alarm."""
    path = files.series(tmp_path_factory.mktemp("series") / "one.csv", [2_003, files.FALSE_ROW], files.EVENT)
    return run(path)


def test_figures_counted_by_hand(found: Judgement) -> None:
    total = tally.total(found)
    assert (total.events, total.found, total.false_episodes) == (1, 1, 1)
    assert (total.recall, total.precision, total.f1) == (1.0, 0.5, pytest.approx(2 / 3))
    assert total.days == pytest.approx(3 * 0.75, abs=0.001)
    assert total.false_per_day == pytest.approx(1 / (3 * 0.75), abs=0.001)
    assert (total.delay_s_median, total.delay_s_p90) == (180.0, 180.0)
    assert [(event.delay_rows, event.kind) for event in found.events] == [(3, "labelled")]
    assert [(one.outcome, one.start_us) for one in found.detections] == [
        ("hit", START_US + 2_003 * 60_000_000),
        ("false", START_US + files.FALSE_ROW * 60_000_000),
    ]


def test_figures_are_those_of_the_rules(found: Judgement) -> None:
    """detectors.judge over the same flagged rows."""
    scored = found.scores["one"]
    flags = flagged(scored.scores, SHIPPED_CUT)
    events = judge_events(flags, scored.marked, scored.start, scored.days)
    total = tally.total(found)
    assert (events.events, events.hit, events.false_episodes) == (total.events, total.found, total.false_episodes)
    assert (events.recall, events.precision) == (total.recall, total.precision)
    assert judged(scored, SHIPPED_CUT) == events


def test_the_detector_is_that_of_tidegate_detect(tmp_path: Path, found: Judgement) -> None:
    path = files.series(tmp_path / "one.csv", [2_003, files.FALSE_ROW], files.EVENT)
    detector = SeriesDetector()
    steps = [detector.step(point.time_us, point.value) for point in points(path, Columns())]
    assert [row for row, (_, flag) in enumerate(steps) if flag] == [
        (time_us - START_US) // 60_000_000 for time_us in found.strips[0].panels[0].marks_us
    ]
    assert np.allclose(found.scores["one"].scores, [score for score, _ in steps])


def test_each_member_of_the_detector_gets_its_part(found: Judgement) -> None:
    rows = {row.detector: row for row in tally.by_detector(found)}
    assert set(rows) <= set(SeriesDetector().members)
    assert "surprise" in rows
    assert (rows["surprise"].windows, rows["surprise"].windows_outside) == (2, 1)
    assert (rows["surprise"].first, rows["surprise"].confirmed, rows["surprise"].confirmed_false) == (1, 1, 1)


def test_after_an_event_and_in_the_warm_up_nothing_counts(tmp_path: Path) -> None:
    path = files.series(tmp_path / "one.csv", [500, 2_003, 2_014], files.EVENT)
    found = run(path)
    assert {one.outcome for one in found.detections if one.start_us < found.strips[0].judged_from_us} == {"unjudged"}
    total = tally.total(found)
    assert (total.found, total.false_episodes) == (1, 0)


def test_labels_of_a_file_are_events_too(tmp_path: Path) -> None:
    path = files.series(tmp_path / "one.csv", [2_003], None)
    label = Label(START_US + 2_000 * 60_000_000, START_US + 2_009 * 60_000_000, False, "outage", "one", (), "hard")
    other = Label(label.start_us, label.end_us, False, "outage", "two", (), "")
    found = run(path, labels=[label, other])
    assert [(event.kind, event.difficulty, event.delay_rows) for event in found.events] == [("outage", "hard", 3)]
    relative = Label(2_000 * 60_000_000, 2_009 * 60_000_000, True, "outage", "", (), "")
    assert [event.start_us for event in run(path, labels=[relative]).events] == [label.start_us]


def test_without_labels_nothing_is_right_or_wrong(tmp_path: Path) -> None:
    found = run(files.series(tmp_path / "one.csv", [2_003], None))
    total = tally.total(found)
    assert (total.detections, total.recall, total.precision, total.false_per_day) == (1, None, None, None)
    assert total.detections_per_day == pytest.approx(1 / 2.25, abs=0.001)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("timestamp,value\n1,2\nnoon,3\n", "line 3: 'noon' is no timestamp"),
        ("timestamp,value\n1,2,3\n", "line 2: has 3 fields under 2 column names"),
        ("timestamp,worth\n1,2\n", "line 1: there is no column 'value'"),
        ("timestamp,value\n", "has no rows"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ReplayError, match=says):
        run(path)


def test_a_cut_of_the_score_is_a_detector_with_that_threshold(tmp_path: Path) -> None:
    path = files.series(tmp_path / "one.csv", [2_003, files.FALSE_ROW], files.EVENT)
    stricter = SeriesDetector(msgspec.structs.replace(PARAMS, threshold=2.0 * PARAMS.threshold))
    read = list(points(path, Columns()))
    flags = [row for row, point in enumerate(read) if stricter.step(point.time_us, point.value)[1]]
    scores = np.array(
        [score for score, _ in map(SeriesDetector().step, *zip(*((p.time_us, p.value) for p in read), strict=True))]
    )
    assert flagged(scores, 2.0 / 3.0) == flags
    assert flags


def _scored(group: str, spikes: dict[int, float]) -> Scored:
    scores = np.zeros(400, np.float32)
    for row, score in spikes.items():
        scores[row] = score
    return Scored(group, scores, [100 <= row < 110 for row in range(400)], 50, 2.0)


def test_a_threshold_is_chosen_on_the_other_half() -> None:
    """On `a` any cut below 0.8 finds the event, and 0.6 keeps the false one out; on `b` the event is at 0.3 only."""
    series_ = [_scored("a", {104: 0.8, 300: 0.6}), _scored("b", {105: 0.3})]
    folds = two_fold_of(series_)
    assert folds is not None
    on_a, on_b = folds.cuts
    assert 0.6 <= on_a < 0.8
    assert on_b < 0.3
    assert folds.chosen == Events(2, 1, 1, 4.0, (4,))  # a at on_b: found, and false; b at on_a: missed
    assert folds.shipped == Events(2, 1, 1, 4.0, (4,))
    results = [[judged(one, cut) for one in series_] for cut in CUTS]
    assert folds.chosen == two_fold(results, ["a", "b"])


def test_no_threshold_is_chosen_where_a_half_has_no_event() -> None:
    quiet = Scored("b", np.zeros(400, np.float32), [False] * 400, 50, 2.0)
    assert two_fold_of([_scored("a", {104: 0.8}), quiet]) is None
    assert two_fold_of([_scored("a", {104: 0.8}), _scored("a", {104: 0.8})]) is None
