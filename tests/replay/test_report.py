"""The report holds the facts, needs nothing from outside, and lets nothing through unescaped."""

from pathlib import Path

import msgspec
import pytest

from replay import report
from replay.chart import POINTS_MAX, TimeAxis, short, thin, value_axis
from replay.facts import Facts
from replay.report import Run
from replay.score import score
from replay.sources import Source, synthetic
from replay.synthesis import Synthesis
from tests.replay.pages import Page
from tests.replay.records import (
    START_US,
    alert,
    at,
    collected,
    command,
    decision,
    incident,
    job,
    touched,
    window,
)
from topics.fields import MINUTE_US

SOURCE = synthetic(Synthesis(duration_s=3_600, seed=4), START_US)
RUN = Run(
    driver="offline", events=144_000, wall_s=12.0, partitions=4, versions={"python": "3.11"},
    incidents_left_out=["latency_leak"],
)  # fmt: skip
HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Facts, int]:
    run = collected(
        alerts=[
            alert("a1", 12.5),
            alert("a1", 24, "resolved"),
            alert("a2", 40, kind="traffic_drop", summary=f"Odd {HOSTILE}."),
        ],
        commands=[command("c1", 12.5), command("c1", 24, "reversed")],
        jobs=[job("one", 12.6, command="c1")],
        decisions=[decision(n, n / 10, "throttled" if n % 10 == 0 else "admitted") for n in range(100)],
        windows=[window(n, duration_us_p99=None if n == 3 else 20_000_000) for n in range(60)],
    )
    incidents = [incident("error_burst", 10, 20), incident("latency_spike", 50, 55)]
    judged = score(incidents, [touched("m-one")] * 2, run, SOURCE.end_us)
    path = report.write(tmp_path_factory.mktemp("report") / "deep", RUN, SOURCE, run, judged)
    parsed = Page()
    parsed.feed(path.read_text(encoding="utf-8"))
    known = msgspec.json.decode((path.parent / "report.json").read_bytes(), type=Facts)
    return parsed, known, path.stat().st_size


@pytest.mark.parametrize(
    "fact",
    [
        "1 of 2",  # detected
        "2.5 min",  # delay
        "error burst",
        "50 % of the answers fail; 7 events",
        "missed",
        "summary of a1.",
        "error rate: arima, counts",
        "shift traffic",
        "scheduler: traffic shifted v2 -> v1",
        "The recording was too short for: latency leak.",
        "10.00 %",  # throttled
        "requests a minute",
        "error rate, %",
        "All of this traffic is synthetic",
        "shaped by LLMPerf",
        "A recording does not react.",
        "python 3.11",
        "144,000 in 12.0 s",
    ],
)
def test_the_page_says(page: tuple[Page, Facts, int], fact: str) -> None:
    assert fact in " ".join(" ".join(page[0].words).split())


def test_the_page_is_whole_small_and_needs_nothing_from_outside(page: tuple[Page, Facts, int]) -> None:
    parsed, _, size = page
    assert parsed.open == []
    assert parsed.loads == []
    assert "script" not in parsed.tags
    assert parsed.tags.count("svg") >= 2
    assert size < 300_000


def test_what_comes_from_outside_is_escaped(page: tuple[Page, Facts, int]) -> None:
    assert any(HOSTILE in words for words in page[0].words)


def test_the_json_holds_the_same_facts(page: tuple[Page, Facts, int]) -> None:
    known = page[1]
    assert (known.requests, known.outcomes) == (100, {"throttled": 10, "admitted": 90})
    assert [row.detected for row in known.score.incidents] == [True, False]
    assert [life.alert for life in known.score.false_alarms] == ["a2"]
    assert known.seed == 4


def test_a_run_without_incidents_calls_no_alert_false(tmp_path: Path) -> None:
    run = collected(alerts=[alert("a1", 12)], windows=[window(0)])
    recorded = Source(**{**vars(SOURCE), "format": "azure"})
    path = report.write(tmp_path, RUN, recorded, run, score([], [], run, SOURCE.end_us))
    text = path.read_text(encoding="utf-8")
    assert "False alarms" not in text
    assert "some may be right" in text


def test_a_run_without_any_output_still_has_a_report(tmp_path: Path) -> None:
    run = collected()
    path = report.write(tmp_path, RUN, SOURCE, run, score([], [], run, SOURCE.end_us))
    assert "Tidegate replay report" in path.read_text(encoding="utf-8")


def test_many_models_and_days_stay_below_three_megabytes(tmp_path: Path) -> None:
    minutes = 4 * 24 * 60
    source = Source(**{**vars(SOURCE), "duration_us": minutes * MINUTE_US})
    run = collected(
        windows=[
            window(n, f"m-{m}", requests=100 + n % 37, error_rate=(n % 11) / 50)
            for m in range(10)
            for n in range(minutes)
        ]
    )
    path = report.write(tmp_path, RUN, source, run, score([], [], run, source.end_us))
    assert path.stat().st_size < 3_000_000
    assert "The 8 busiest of 10 models." in path.read_text(encoding="utf-8")


def test_thinning_keeps_every_peak() -> None:
    points = [(n, 1000.0 if n == 5_432 else float(n % 7)) for n in range(20_000)]
    kept = thin(points)
    assert len(kept) <= POINTS_MAX + 2
    assert (5_432, 1000.0) in kept
    assert kept == sorted(kept)


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 5.0], [1e-3, 250.0], [3e6]])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_axes_hold_their_values_and_have_ticks(values: list[float], logarithmic: bool) -> None:
    axis = value_axis(values, 10, 90, logarithmic)
    assert all(10 <= axis.y(value) <= 90 for value in values)
    assert axis.ticks()
    assert all(10 <= axis.y(tick) <= 90.001 for tick in axis.ticks())


@pytest.mark.parametrize("minutes", [1, 10, 58, 150, 60 * 24, 60 * 24 * 14, 60 * 24 * 400])
def test_a_time_axis_has_a_readable_number_of_ticks(minutes: int) -> None:
    ticks = TimeAxis(START_US, at(minutes), 0, 1000).ticks()
    assert 1 <= len(ticks) <= 16
    assert all(0 <= x <= 1000 for x, _ in ticks)


def test_short_numbers() -> None:
    assert [short(value) for value in (0.5, 30, 1_200, 50_000, 2e6)] == ["0.5", "30", "1.2k", "50k", "2M"]
