import csv
import gzip
import io
import random
import subprocess
import sys

import pytest

from pipeline.commands.detect import time_us

NOON_US = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01T13:00:00+01:00",
        "2026-03-01 12:00:00",
        " 2026-03-01 12:00:00.000 ",
        "2026/03/01 12:00",
        "1772366400",
        "1772366400.0",
        "1772366400000",
        "1772366400000000",
    ],
)
def test_the_same_moment_in_every_notation(text):
    assert time_us(text) == NOON_US


@pytest.mark.parametrize("text", ["", "noon", "2026-13-01", "1e300", "nan", "inf", "12:00"])
def test_what_is_no_moment(text):
    assert time_us(text) is None


def series(rows=400, spike_at=300):
    noise = random.Random(5)
    values = [100 + noise.gauss(0, 1) + (60 if row == spike_at else 0) for row in range(rows)]
    return [f'{NOON_US // 1_000_000 + 60 * row},"x, y",{value:.3f}' for row, value in enumerate(values)]


def write(path, rows, header="timestamp,note,value"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_columns_stay_and_two_are_added(tmp_path, tidegate):
    rows = series()
    source, target = write(tmp_path / "in.csv", rows), tmp_path / "out.csv"
    assert tidegate("detect", source, "--output", target).code == 0
    before = list(csv.reader(source.open()))
    after = list(csv.reader(target.open()))
    assert after[0] == [*before[0], "score", "anomaly"]
    assert [row[:-2] for row in after] == before
    assert all(0 <= float(row[-2]) <= 1 and len(row[-2]) == 8 and row[-1] in "01" for row in after[1:])
    assert [number for number, row in enumerate(after[1:]) if row[-1] == "1"] == [300]


def test_a_row_is_judged_without_those_after_it(tmp_path, tidegate):
    whole = tidegate("detect", write(tmp_path / "whole.csv", series())).out.splitlines()
    part = tidegate("detect", write(tmp_path / "part.csv", series()[:310])).out.splitlines()
    assert whole[: len(part)] == part


def test_missing_values_and_other_column_names(tmp_path, tidegate):
    rows = [f"{60 * row},{value}" for row, value in enumerate(["1", "", "n/a", "nan", "2", "inf"])]
    ran = tidegate("detect", write(tmp_path / "in.csv", rows, "t,v"), "--time-column", "t", "--value-column", "v")
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 1 + len(rows)


def test_gzip_and_standard_input_give_the_same(tmp_path, tidegate, monkeypatch):
    raw = write(tmp_path / "in.csv", series()).read_bytes()
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(raw))
    plain = tidegate("detect", tmp_path / "in.csv").out
    assert tidegate("detect", tmp_path / "in.csv.gz").out == plain
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert tidegate("detect", "-").out == plain


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "the file is empty"),
        ("time,value\n1,2\n", "no column 'timestamp'; the columns are 'time', 'value'"),
        ("timestamp,value,score\n1,2,3\n", "has a column 'score' already"),
        ("timestamp,value\n1,2\nyesterday,3\n", "line 3: 'yesterday' is no timestamp"),
        ("timestamp,value\n1,2,3\n", "line 2: 3 fields under 2 column names"),
    ],
)
def test_what_cannot_be_judged_is_told(content, says, tmp_path, tidegate):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(content)
    ran = tidegate("detect", source, "--output", target)
    assert ran.code == 1
    assert says in ran.err


def test_what_is_not_utf_8_is_told(tmp_path, tidegate):
    (tmp_path / "in.csv").write_bytes(b"timestamp,value\n1,2\n\xff,3\n")
    ran = tidegate("detect", tmp_path / "in.csv")
    assert ran.code == 1
    assert "line 3 is not UTF-8" in ran.err


def test_a_wrong_column_leaves_the_output_alone(tmp_path, tidegate):
    target = tmp_path / "out.csv"
    target.write_text("precious")
    tidegate("detect", write(tmp_path / "in.csv", series()), "--value-column", "no", "--output", target)
    assert target.read_text() == "precious"


def changed(rows=15 * 288, at=13 * 288 + 100):
    """15 days of five minutes; from `at` on the spread is five times what it was."""
    noise = random.Random(5)
    return [f"{300 * row},{100 + noise.gauss(0, 5 if row >= at else 1):.3f}" for row in range(rows)]


def test_drift_is_told_beside_the_output_and_marked_when_asked_for(tmp_path, tidegate):
    source = write(tmp_path / "in.csv", changed(), "timestamp,value")
    plain = tidegate("detect", source)
    told = [line for line in plain.err.splitlines() if line.startswith("for review")]
    assert len(told) == 1
    assert "Not what it was, since 1970-01-1" in told[0]
    marked = tidegate("detect", source, "--drift-column")
    header, *rows = list(csv.reader(marked.out.splitlines()))
    assert header == ["timestamp", "value", "score", "anomaly", "drift"]
    (row,) = [number for number, fields in enumerate(rows) if fields[-1] == "1"]
    assert row > 13 * 288 + 100
    assert told[0].startswith(f"for review, line {row + 2}: ")
    assert [line.rpartition(",")[0] for line in marked.out.splitlines()] == plain.out.splitlines()


def test_a_drift_is_told_while_the_stream_goes_on():
    command = [sys.executable, "-m", "pipeline", "detect", "-"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as running:
        running.stdin.write("\n".join(["timestamp,value", *changed()]) + "\n")
        running.stdin.flush()  # and not closed
        assert running.stderr.readline().startswith("for review, line ")
        running.kill()


def test_a_steady_series_has_no_drift(tmp_path, tidegate):
    ran = tidegate("detect", write(tmp_path / "in.csv", changed(at=10**9), "timestamp,value"))
    assert ran.code == 0
    assert "for review" not in ran.err
