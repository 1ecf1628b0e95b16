"""Windows, slices and traffic: the same flow as live, scored by the rules of replay.score."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from pipeline.settings import Settings
from replay.backtest import flow, tally
from replay.backtest.alerts import judge
from replay.backtest.changes import compare
from replay.backtest.inputs import Content, Input
from replay.backtest.labels import Label, read
from replay.backtest.model import Event, Judgement
from replay.backtest.watched import Watched
from replay.backtest.words import by_difficulty
from replay.event import ReplayError
from replay.offline import Offline
from replay.sources import open_source
from tests.replay.backtest import files
from tests.replay.records import alert, at, window
from topics.codec import encoder
from topics.fields import MINUTE_US
from topics.records import Alert, Cause, Judged, MetricWindow, OrganisationTokens
from topics.table import BY_ALIAS
from topics.traffic import Request


def run(path: Path, content: Content, labels: list[Label], settings: Settings | None = None) -> Judgement:
    source = Input(path, content, path.stem)
    return flow.run(source, settings or Settings(), labels, 1, "", lambda rows, size: None)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models: a burst of errors on one, labelled; and a later burst on the other, not labelled."""
    records = files.bursting() + files.bursting(burst=range(130, 138), model="m-two", seed=9)
    records.sort(key=lambda one: one.start_us)
    return files.windows(tmp_path_factory.mktemp("windows") / "windows.jsonl", records)


@pytest.fixture(scope="module")
def truth(recorded: Path) -> list[Label]:
    return read([files.labels(recorded.parent / "labels.jsonl", files.label(100, 112), files.label(60, 70, "ghost"))])


@pytest.fixture(scope="module")
def found(recorded: Path, truth: list[Label]) -> Judgement:
    return run(recorded, "windows", truth)


def test_figures_counted_by_hand(found: Judgement) -> None:
    """One of two events found, by one alert; the alert on the other model is false. Two models of 150 minutes."""
    total = tally.total(found)
    assert (total.events, total.found, total.false_episodes, total.detections) == (2, 1, 1, 2)
    assert (total.recall, total.precision) == (0.5, 0.5)
    assert total.days == pytest.approx(2 * 150 / 1_440)
    assert total.false_per_day == pytest.approx(1 / (2 * 150 / 1_440))
    opened_us = found.detections[0].start_us
    assert total.delay_s_median == (opened_us - at(100)) / 1e6 <= 180
    assert {one.strip: one.outcome for one in found.detections} == {"m-one": "hit", "m-two": "false"}
    kinds = {row.kind: (row.found, row.named) for row in tally.by_kind(found.events)}
    assert kinds == {"error_burst": (1, 1), "ghost": (0, 0)}
    assert [(row.name, row.wrong) for row in tally.by_strip(found)] == [("m-one", 1), ("m-two", 1)]


def test_kinds_are_split_by_difficulty() -> None:
    def event(difficulty: str, delay_us: int | None) -> Event:
        return Event("e", "leak", "m", 0, 1, ["m"], difficulty, delay_us=delay_us)

    events = [event("easy", 60_000_000), event("hard", None), event("hard", 180_000_000)]
    rows = [(row.difficulty, row.events, row.found, row.delay_s_median) for row in tally.by_kind(events)]
    assert rows == [("", 3, 2, 120.0), ("easy", 1, 1, 60.0), ("hard", 2, 1, 180.0)]
    assert by_difficulty(tally.by_kind(events)) == {"leak": "easy 1/1, hard 1/2"}


def test_what_lies_in_the_warm_up_counts_neither_way(recorded: Path, truth: list[Label]) -> None:
    source = Input(recorded, "windows", "windows")
    found = flow.run(source, Settings(), truth, 1, "", lambda rows, size: None, warm_up_us=120 * MINUTE_US)
    assert found.events == []
    assert {one.strip: one.outcome for one in found.detections} == {"m-one": "unjudged", "m-two": "false"}
    assert tally.total(found).days == pytest.approx(2 * 30 / 1_440)


def test_each_detector_gets_its_part(found: Judgement) -> None:
    rows = {row.detector: row for row in tally.by_detector(found)}
    assert rows["limit"].first == rows["limit"].confirmed == rows["limit"].confirmed_false == 1
    assert rows["limit"].windows == 12 + 8  # every window of both bursts breaks the hard limit
    assert rows["limit"].windows_outside == 8
    assert found.events[0].first
    assert found.events[1].confirmed == []


def test_the_forecasts_are_there_and_change_nothing(recorded: Path, found: Judgement) -> None:
    alerts: list[Alert] = []
    driver = Offline(
        Settings(),
        lambda alias, key, value: alerts.append(value) if alias == "alerts" else None,
        1,
        ("detection", "alerting"),
    )
    driver.feed_records("closed", 0, map(msgspec.json.Decoder(type(window(0))).decode, recorded.open("rb")))
    assert [one.id for one in found.detections] == [alert.alert for alert in alerts if alert.status == "open"]
    panels = {panel.metric: panel for panel in found.strips[0].panels}
    assert len(panels) == 7
    requests = panels["requests"]
    assert len(requests.times_us) == 150
    judged = requests.expected == requests.expected  # not NaN
    assert judged.sum() > 100
    assert (requests.low[judged] <= requests.expected[judged]).all()
    assert (requests.expected[judged] <= requests.high[judged]).all()


def test_corrections_and_bad_lines_are_told_of_and_left_out(tmp_path: Path, recorded: Path, found: Judgement) -> None:
    records = [msgspec.json.decode(line, type=type(window(0))) for line in recorded.read_bytes().splitlines()]
    late = replace(records[40], revision=1, requests=1)
    path = files.windows(tmp_path / "windows.jsonl", [*records, late], [b"{", b'{"type":"mark"}', b"[]", b"no", b"1"])
    dirty = run(path, "windows", [])
    assert [one.id for one in dirty.detections] == [one.id for one in found.detections]
    assert any("1 corrections" in note for note in dirty.notes)
    assert any(f"line {len(records) + 2}:" in note for note in dirty.notes)
    assert any("2 more lines" in note for note in dirty.notes)


def test_an_organisation_stands_for_the_models_it_uses(tmp_path: Path) -> None:
    using = [
        window(n, model, top_organisations=[OrganisationTokens("acme", 5)] if model == "m-one" else [])
        for n in range(30)
        for model in ("m-one", "m-two")
    ]
    path = files.windows(tmp_path / "windows.jsonl", using)
    truth = read(
        [
            files.labels(
                tmp_path / "l.jsonl",
                files.label(5, 9, target="acme"),
                files.label(5, 9, target="m-two"),
                files.label(5, 9, target=""),
                files.label(5, 9, target="", models=["m-two", "m-none"]),
                files.label(500, 509, target="m-two"),
            )
        ]
    )
    events = run(path, "windows", truth).events
    assert [event.strips for event in events] == [["m-one"], ["m-two"], ["m-one", "m-two"], ["m-two"]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.traffic(tmp_path_factory.mktemp("log") / "traffic.jsonl")[0]


def test_a_cause_is_right_when_the_first_one_named_is_it() -> None:
    def named(first: str) -> bool | None:
        cause = Cause("region", first, 0.9)
        watched = Watched()
        watched.judged(Judged(id="j", time_us=at(1), window=window(0)))
        watched.judged(Judged(id="j", time_us=at(41), window=window(40)))
        alerts = [alert("a", 12), alert("a", 13, "update", causes=[cause, Cause("region", "eu", 0.1)])]
        watched.alerts = {one.id: one for one in alerts}
        label = Label(at(10), at(20), False, "one_region", "m-one", (), "", "region=eu")
        (event,) = judge(Input(Path("w"), "windows", "w"), watched, [label], "", 0).events
        return event.caused

    assert (named("eu"), named("us")) == (True, False)


def test_a_log_gives_the_alerts_that_the_whole_flow_gives(log: Path) -> None:
    """Against every stage over the same recording: quota, safety and mitigation change no alert, not even its id."""
    alerts: list[Alert] = []
    whole = Offline(Settings(), lambda alias, key, value: alerts.append(value) if alias == "alerts" else None)
    whole.feed(open_source(log).events())
    whole.finish()
    found = run(log, "traffic", [])
    end_us = max(event.time_us for event in open_source(log).events() if isinstance(event, Request))
    opened = [alert for alert in alerts if alert.status == "open" and alert.time_us <= end_us]
    assert opened
    assert len(opened) < len([alert for alert in alerts if alert.status == "open"])  # that it ends is no incident
    assert [(one.id, one.kind, one.strip, one.start_us, one.summary) for one in found.detections] == [
        (alert.alert, alert.kind, alert.model, alert.time_us, alert.summary) for alert in opened
    ]


def test_slices_and_windows_of_a_log_give_the_same_figures(log: Path, tmp_path: Path) -> None:
    files_ = {alias: (tmp_path / f"{alias}.jsonl").open("wb") for alias in ("slices", "windows")}
    encoders = {alias: encoder(BY_ALIAS[alias]) for alias in files_}

    def sink(alias: str, key: str, value: object) -> None:
        """Without the last windows, in which nobody asks any more: that a recording ends is no outage."""
        if alias in files_ and not (isinstance(value, MetricWindow) and not value.requests):
            files_[alias].write(encoders[alias](value) + b"\n")

    driver = Offline(Settings(), sink, 4, ("slices", "windows"))
    driver.feed(open_source(log).events())
    driver.finish()
    for file in files_.values():
        file.close()
    truth = [Label(at(44), at(54), False, "error_burst", "", (), "")]
    totals = [tally.total(run(log, "traffic", truth))]
    totals += [tally.total(run(tmp_path / f"{alias}.jsonl", alias, truth)) for alias in ("slices", "windows")]
    assert totals[0].found == 1
    assert totals[0] == totals[1]
    assert (totals[2].found, totals[2].false_episodes) == (1, 0)
    assert totals[2].delay_s_median > totals[0].delay_s_median  # windows alone have no fast path


def test_two_configurations_side_by_side(recorded: Path, truth: list[Label], found: Judgement) -> None:
    """B waits for 14 windows of 14, whatever they say: it finds neither burst, and calls no wolf."""
    never = {"one_window": 999.0, "two_windows": 999.0}
    slow = replace(Settings().alerting, windows_min=14, windows_of=14, hard_min=14, hard_of=14, **never)
    b = replace(Settings(), alerting=slow)
    changes = compare(found, run(recorded, "windows", truth, b), Settings(), b)
    assert [(one.setting, one.a, one.b) for one in changes.settings] == [
        ("alerting.windows_min", 3, 14),
        ("alerting.windows_of", 5, 14),
        ("alerting.hard_min", 2, 14),
        ("alerting.hard_of", 3, 14),
        ("alerting.one_window", 5.0, 999.0),
        ("alerting.two_windows", 5.0, 999.0),
    ]
    assert (changes.found_by_both, len(changes.found_only_by_a), len(changes.found_only_by_b)) == (0, 1, 0)
    assert [one.kind for one in changes.found_by_neither] == ["ghost"]
    assert [(one.strip, one.b) for one in changes.false_only_in_a] == [("m-two", None)]
    assert (changes.false_in_both, changes.false_only_in_b) == (0, [])
    same = compare(found, found, Settings(), Settings())
    assert (same.settings, same.found_by_both, same.false_in_both) == ([], 1, 1)


def test_a_file_without_any_window_is_an_error(tmp_path: Path) -> None:
    path = files.windows(tmp_path / "windows.jsonl", [window(0, revision=2)])
    with pytest.raises(ReplayError, match="nothing to judge"):
        run(path, "windows", [])
