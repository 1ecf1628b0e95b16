"""The page: everything that was asked for is on it, it needs nothing from outside, and its size is bounded."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.settings import Settings
from replay.backtest import closeup, packed, report
from replay.backtest.changes import Changes, compare
from replay.backtest.model import Detection, Event, Judgement, Panel, Strip
from replay.backtest.packed import BUCKETS_MIN, bucketed
from replay.backtest.page import PANELS_MAX, html
from replay.backtest.result import Configuration, DetectionRow, EventRow, Fold, Result, Run, TwoFoldRows, run_of
from replay.backtest.tally import DetectorTally, KindTally, StripTally, Tally
from tests.replay.pages import Page
from tests.replay.records import START_US, at

HOSTILE = "</script><b>x"
MINUTE = 60_000_000


def panel(rows: int, metric: str = "value", seed: int = 1) -> Panel:
    values = 100 + np.random.default_rng(seed).normal(0, 3, rows)
    times = START_US + MINUTE * np.arange(rows, dtype=np.int64)
    expected = np.full(rows, 100.0)
    return Panel(metric, f"{metric}, ms", times, values, expected, expected - 9, expected + 9, [int(times[rows // 2])])


def strip(name: str, rows: int = 300, metrics: tuple[str, ...] = ("value",), labelled: bool = True) -> Strip:
    panels = [panel(rows, metric, seed) for seed, metric in enumerate(metrics)]
    end_us = START_US + MINUTE * (rows - 1)
    return Strip(name, f"{name}.csv", "series", rows, START_US, end_us, MINUTE, at(30), labelled, panels)


def event(name: str, start: float, found: bool, number: int = 1) -> Event:
    delay_us = 2 * MINUTE if found else None
    return Event(f"{name}#{number}", "slow_leak", name, at(start), at(start + 10), [name], delay_us=delay_us)


def detection(name: str, start: float, outcome: Any, number: int = 1) -> Detection:
    said = f"value 130, expected 100 {HOSTILE}"
    return Detection(
        f"{name}!{number}", name, "anomaly", "warning", at(start), at(start + 3), said, ["value/arima"], outcome
    )


def judgement(*strips: Strip) -> Judgement:
    """On each strip one event found, one missed, an alert of every outcome."""
    found = Judgement(strips=list(strips))
    for one in strips:
        found.events += [event(one.name, 100, True), event(one.name, 150, False, 2)]
        outcomes = ((102, "hit"), (200, "false"), (112, "after"), (20, "unjudged"))
        found.detections += [detection(one.name, *each, number) for number, each in enumerate(outcomes, 1)]
    return found


def result(*judged: Judgement, labelled: bool = True) -> Result:
    configurations = [Configuration(name, f"{name}.toml", Settings()) for name in "AB"[: len(judged)]]
    changes = compare(judged[0], judged[1], Settings(), Settings()) if len(judged) > 1 else None
    runs = [run_of(each, found) for each, found in zip(configurations, judged, strict=True)]
    inputs = [{"path": one.source, "kind": one.kind, "name": one.name} for one in judged[0].strips]
    return Result("0", inputs, labelled, 0.15, 0.0, 1_000, 2.0, 1.5, 500.0, [f"left out: {HOSTILE}"], runs, changes)


def parsed(text: str) -> tuple[Page, str, dict[str, Any]]:
    page = Page()
    page.feed(text)
    data = text.split('id="data">')[1].split("</script>")[0]
    return page, " ".join(" ".join(page.words).split()), json.loads(data)


@pytest.fixture(scope="module")
def second() -> tuple[Judgement, Judgement]:
    """B finds the event that A misses, loses the one that A finds, and has a false alarm elsewhere."""
    a, b = judgement(strip("one")), judgement(strip("one"))
    b.events[0].delay_us, b.events[1].delay_us = None, 5 * MINUTE
    b.detections = [detection("one", 250, "false")]
    return a, b


@pytest.mark.parametrize(
    "said",
    [
        "1 of 2 B: 1 of 2 events found",
        "50.0 % B: 50.0 % event recall",
        "2.0 min B: 5.0 min median delay",
        "500/s rows judged",
        "Missed, 1",
        "False alarms, 1",
        "slow leak",
        "most wrong first",
        f"left out: {HOSTILE}",
        "found after 2.0 min",
        "alert A: false",
        "Found only by A",
        "Found only by B",
        "False only in A",
        "False only in B",
        "A and B are the same settings.",
        "Two-fold",
    ],
)
def test_the_page_says(second: tuple[Judgement, Judgement], said: str) -> None:
    fold = Fold([0.5], 4, 3, 1, 0.75, 0.75, 0.75, 0.1)
    known = result(*second)
    runs = [msgspec.structs.replace(run, two_fold=TwoFoldRows([2, 2], fold, fold)) for run in known.runs]
    assert said in parsed(html(msgspec.structs.replace(known, runs=runs), second))[1]


def test_the_page_is_whole_and_needs_nothing_from_outside(second: tuple[Judgement, Judgement]) -> None:
    page, _, _ = parsed(html(result(*second), second))
    assert page.open == []
    assert [load for load in page.loads if not load.startswith("#strip-")] == []
    text = html(result(*second), second)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert "fetch(" not in text
    assert "import(" not in text


def test_every_mark_has_its_own_shape_and_class() -> None:
    """In the close-ups, which are plain SVG; all four outcomes lie around the event that was found."""
    one, found = strip("one"), judgement(strip("one"))
    drawn = closeup.drawn(closeup.view(one, START_US, at(260)), found.events, found.detections)
    for outcome, shape in closeup.SHAPES.items():
        assert drawn.count(f'class="mark {outcome}"') == 1
        assert shape in drawn
    assert len(set(closeup.SHAPES.values())) == 4
    assert drawn.count('class="truth found"') == drawn.count('class="truth missed"') == 1
    assert 'class="band"' in drawn
    assert 'class="finding"' in drawn
    assert HOSTILE not in drawn


def test_the_data_holds_every_row_event_and_alert(second: tuple[Judgement, Judgement]) -> None:
    data = parsed(html(result(*second), second))[2]
    (only,) = data["strips"]
    values = np.frombuffer(base64.b64decode(only["panels"][0]["lo"]), "<f4")
    assert np.allclose(values, second[0].strips[0].panels[0].values, atol=1e-4)
    assert [(one["found"], one["b"]) for one in only["events"]] == [(True, False), (False, True)]
    assert [one["outcome"] for one in only["a"]] == ["hit", "false", "after", "unjudged"]
    assert [one["outcome"] for one in only["b"]] == ["false"]
    assert HOSTILE in only["a"][0]["says"]


def test_buckets_keep_every_peak_and_gap() -> None:
    one = strip("one", 50_000)
    values = one.panels[0].values
    values[31_234], values[40_000:41_000] = 1e9, np.nan
    times = one.panels[0].times_us
    keep = np.ones(50_000, bool)
    keep[10_000:20_000] = False
    cut = Panel("value", "value", times[keep], *(column[keep] for column in (values, values, values, values)))
    found = bucketed(cut, one, BUCKETS_MIN)
    assert len(found.lowest) <= BUCKETS_MIN
    assert np.nanmax(found.highest) == 1e9
    empty = np.isnan(found.lowest)
    rows_each = found.step_us // MINUTE
    assert abs(empty.sum() * rows_each - 11_000) <= 4 * rows_each
    assert found.step_us % MINUTE == 0
    assert (found.lowest[~empty] <= found.highest[~empty]).all()


def test_weeks_of_a_hundred_series_stay_below_ten_megabytes(tmp_path: Path) -> None:
    found = judgement(*(strip(f"series {n}", 20_160) for n in range(150)))
    path = report.write(tmp_path, result(found), [found])
    assert path.stat().st_size < 10_000_000
    _, words, data = parsed(path.read_text(encoding="utf-8"))
    assert f"the {PANELS_MAX} most wrong of 150" in words
    assert len(data["strips"]) == PANELS_MAX
    assert "24 of 150" in words


def test_alerts_without_end_stay_below_ten_megabytes_and_are_told_of(tmp_path: Path) -> None:
    """A bad configuration: every model and series rings all the time, in both configurations."""
    found = Judgement(strips=[strip(f"series {n}", 20_160) for n in range(PANELS_MAX)])
    for one in found.strips:
        one.panels[0].marks_us = one.panels[0].times_us.tolist()
        found.events += [event(one.name, 100 + 20 * n, n % 2 == 0, n) for n in range(200)]
        found.detections += [detection(one.name, 100 + 10 * n, "false", n) for n in range(400)]
    for one_ in found.detections:
        one_.summary = "This goes on and on. " * 12
    path = report.write(tmp_path, result(found, found), [found, found])
    assert path.stat().st_size < 10_000_000
    words = parsed(path.read_text(encoding="utf-8"))[1]
    assert "Marked in this plot: the first 21 of 200 events and 21 of 400 alerts and 285 of 20,160 findings" in words
    assert "The first 10 of each" in words


def test_models_of_seven_metrics_stay_below_ten_megabytes(tmp_path: Path) -> None:
    metrics = ("error_rate", "first", "p99", "p50", "requests", "tokens", "cost")
    found = judgement(*(strip(f"m-{n}", 20_160, metrics) for n in range(24)))
    path = report.write(tmp_path, result(found), [found])
    assert path.stat().st_size < 10_000_000
    assert len(parsed(path.read_text(encoding="utf-8"))[2]["strips"]) == PANELS_MAX // 7


def test_without_labels_nothing_is_called_right_or_wrong() -> None:
    found = Judgement(strips=[strip("one", labelled=False)], detections=[detection("one", 100, "unjudged")])
    words = parsed(html(result(found, labelled=False), [found]))[1]
    assert "1 alerts; there are no labels" in words
    assert "recall" not in words
    assert "Alerts, 1" in words


def test_a_series_of_one_row_and_one_without_values_are_drawn() -> None:
    single, empty = strip("single", 1), strip("empty", 40)
    for column in (empty.panels[0].values, empty.panels[0].low, empty.panels[0].high, empty.panels[0].expected):
        column[:] = np.nan
    found = Judgement(strips=[single, empty], detections=[detection("empty", 5, "unjudged")])
    page, _, data = parsed(html(result(found), [found]))
    assert page.open == []
    assert ["e" in one["panels"][0] for one in data["strips"]] == [False, True]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser: Debian's package chromium")
def test_a_browser_draws_every_point(tmp_path: Path, second: tuple[Judgement, Judgement]) -> None:
    path = report.write(tmp_path, result(*second), second)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=3000", "--window-size=1280,4000", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert 'data-drawn="300"' in done.stdout


def test_few_panels_have_more_points_than_many() -> None:
    assert packed.room_for(1, 1).buckets == packed.BUCKETS_MAX
    assert packed.room_for(PANELS_MAX, 20).buckets == packed.BUCKETS_TOTAL // PANELS_MAX


STRUCTS = [Result, Run, Tally, KindTally, DetectorTally, StripTally, Changes, Fold, TwoFoldRows, EventRow, DetectionRow]


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_figure_of_the_json_is_documented(struct: type[msgspec.Struct]) -> None:
    documented = (Path(__file__).parents[3] / "docs" / "backtest.md").read_text(encoding="utf-8")
    forms = ("`{}`", "`{}[]`", ".{}`", ".{}[]`")
    missing = [name for name in struct.__struct_fields__ if not any(f.format(name) in documented for f in forms)]
    assert missing == []
