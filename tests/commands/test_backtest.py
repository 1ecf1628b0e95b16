"""`tidegate backtest` from the command line, over each kind of input."""

import json
import random

import pytest

from tests.replay.backtest import files


def backtest(tidegate, folder, *arguments):
    ran = tidegate("backtest", *arguments, "--report", folder / "report")
    assert ran.code == 0, ran.err
    return ran, json.loads((folder / "report" / "backtest.json").read_text())


def test_series_with_a_label_column_print_and_write_the_same_figures(tmp_path, tidegate):
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        spikes = [2_003] if name == "c" else [2_003, files.FALSE_ROW]
        files.series(tmp_path / f"{name}.csv", spikes, files.EVENT, seed=seed)
    ran, known = backtest(tidegate, tmp_path, tmp_path / "*.csv", "--warm-up", "0.25")
    (run,) = known["runs"]
    total = run["total"]
    assert (total["events"], total["found"], total["false_episodes"], total["recall"]) == (3, 3, 2, 1.0)
    assert total["precision"] == pytest.approx(3 / 5)
    assert known["rows"] == 3 * files.ROWS
    assert run["two_fold"]["shipped"]["found"] == 3
    assert [row["name"] for row in run["strips"]] == ["a", "b", "c"]
    for said in ("3 series", "100.0 %", "60.0 %", "two-fold", "3.0 min", "rows/s", "index.html"):
        assert said in ran.out


def test_files_judged_beside_each_other_give_the_same(tmp_path, tidegate):
    for name in "abc":
        files.series(tmp_path / f"{name}.csv", [1_000], None, rows=1_500, seed=ord(name))
    _, alone = backtest(tidegate, tmp_path, tmp_path / "*.csv", "--processes", "1")
    _, beside = backtest(tidegate, tmp_path, tmp_path / "*.csv", "--processes", "2")
    assert beside["runs"] == alone["runs"]
    assert beside["rows"] == alone["rows"] == 4_500


def test_windows_against_another_configuration(tmp_path, tidegate):
    files.windows(tmp_path / "w.jsonl", files.bursting())
    truth = files.labels(tmp_path / "truth.jsonl", files.label(100, 112))
    slow = tmp_path / "slow.toml"
    patient = dict.fromkeys(("windows_min", "windows_of", "hard_min", "hard_of"), 14)
    never = {"one_window": 999.0, "two_windows": 999.0}
    slow.write_text("\n".join(["[alerting]", *(f"{name} = {value}" for name, value in (patient | never).items())]))
    ran, known = backtest(tidegate, tmp_path, tmp_path / "w.jsonl", "--labels", truth, "--against", slow)
    assert [run["total"]["found"] for run in known["runs"]] == [1, 0]
    assert known["changes"]["settings"][0]["setting"] == "alerting.windows_min"
    assert len(known["changes"]["found_only_by_a"]) == 1
    assert "found only by A" in ran.out
    assert 'data-zoom="' in (tmp_path / "report" / "index.html").read_text()


def test_a_log_alerts_as_tidegate_replay_does(tmp_path, tidegate):
    """Every alert that `tidegate replay` reports of the recording, to the id, but for those after its last request."""
    path, _ = files.traffic(tmp_path / "traffic.jsonl")
    replayed = tidegate("replay", path, "--to", "offline", "--report", tmp_path / "replay")
    assert replayed.code == 0, replayed.err
    score = json.loads((tmp_path / "replay" / "report.json").read_text())["score"]
    alerts = [*score["false_alarms"], *score["after_end"]]
    events = map(json.loads, path.read_bytes().splitlines())
    last_us = max(event["time_us"] for event in events if event["type"] == "request")
    expected = [one for one in alerts if one["opened_us"] <= last_us]
    _, known = backtest(tidegate, tmp_path, path)
    found = known["runs"][0]["detections"]
    assert expected
    assert any(note.startswith(f"{len(alerts) - len(expected)} alerts") for note in known["notes"])
    assert [(one["id"], one["kind"], one["summary"], one["confirmations"]) for one in found] == [
        (one["alert"], one["kind"], one["summary"], one["confirmations"]) for one in expected
    ]


def test_without_labels_alerts_are_counted(tmp_path, tidegate):
    path = files.series(tmp_path / "plain.csv", [2_003], None)
    ran, known = backtest(tidegate, tmp_path, path)
    assert not known["labelled"]
    assert known["runs"][0]["total"]["detections"] == 1
    assert "alerts a day" in ran.out
    assert "recall" not in ran.out


def test_the_threshold_of_a_series_is_a_setting(tmp_path, tidegate):
    path = files.series(tmp_path / "plain.csv", [2_003], None)
    (tmp_path / "deaf.toml").write_text("[series]\nthreshold = 1e6\n")
    _, known = backtest(tidegate, tmp_path, path, "--config", tmp_path / "deaf.toml")
    assert known["runs"][0]["total"]["detections"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.csv"], "no such file"),
        (["{good}", "--labels", "{bad}"], "line 1"),
        (["{good}", "--config", "{bad}"], "bad.toml"),
        (["{good}", "--value-column", "worth"], "no format known here"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, tidegate, arguments, says):
    good = files.series(tmp_path / "good.csv", [], None, rows=10)
    bad = tmp_path / "bad.toml"
    bad.write_text("{")
    named = [argument.format(good=good, bad=bad) for argument in arguments]
    ran = tidegate("backtest", *named, "--report", tmp_path / "report")
    assert (ran.code, ran.out) == (1, "")
    assert says in ran.err


def test_a_drift_is_for_review_and_no_alert(tmp_path, tidegate):
    noise = random.Random(5)
    at, rows = 13 * 288 + 100, 15 * 288
    values = [100 + noise.gauss(0, 5 if row >= at else 1) for row in range(rows)]
    path = tmp_path / "wider.csv"
    path.write_text("timestamp,value\n" + "".join(f"{300 * row},{value:.3f}\n" for row, value in enumerate(values)))
    ran, known = backtest(tidegate, tmp_path, path)
    (run,) = known["runs"]
    (drift,) = run["drifts"]
    assert drift["strip"] == "wider"
    assert at < drift["row"] < rows
    assert drift["before"] < drift["after"]
    assert "for review: 1 drift in 1 series" in ran.out
    assert drift["summary"] in ran.out
    assert len(run["detections"]) == run["total"]["detections"]
    page = (tmp_path / "report" / "index.html").read_text()
    assert "1 drift for review" in page
    assert page.count(drift["summary"]) == 2  # under the plot, and under the pointer
