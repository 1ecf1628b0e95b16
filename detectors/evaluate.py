"""How good `SeriesDetector` is on labelled series: `python -m detectors.evaluate DIR [--set kpi-1min] [--sample 4]`.

DIR holds `kpi-1min/`, `hourly/` (each with `index.csv` and `NAME.csv.gz`: timestamp, value, label) and the benchmark
(`labels.json` and the CSV files it names). Each series is run once, from its first row, with no look-ahead; then the
alarm is replayed for a range of thresholds. "two-fold" chooses the threshold on one half of the groups and scores the
other, then swaps; "shipped" is the default of `SeriesParams`. The rules of scoring are in `detectors/judge.py`.
"""

import csv
import gzip
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detectors.judge import Events, R, Windows, benchmark_score, columns, judge_events, total, two_fold
from detectors.series import AlarmState, SeriesParams, Surprise, alarm

DAY_US = 86_400_000_000
THRESHOLDS = tuple(float(t) for t in np.geomspace(0.5, 6.0, 26))


class Labelled(msgspec.Struct, frozen=True):
    """A series with its truth: `marked` per row (kpi-1min, hourly), or `windows` of rows (benchmark)."""

    name: str
    group: str
    times_us: list[int]
    values: list[float | None]
    marked: list[bool]
    windows: list[tuple[int, int]]


def read_series(path: Path, name: str, group: str) -> Labelled:
    """One CSV file, gzipped or not; an empty value is None. Raises ValueError naming the file and row."""
    times, values, marked = [], [], []
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=2):
            try:
                times.append(_time_us(row["timestamp"]))
                values.append(float(row["value"]) if row["value"] else None)
                marked.append(row.get("label") == "1")
            except (KeyError, ValueError) as wrong:
                raise ValueError(f"{path}, line {number}: expected columns timestamp and value, got {row}") from wrong
    return Labelled(name, group, times, values, marked, [])


def _time_us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


def read_set(directory: Path, which: str, sample: int) -> Iterator[Labelled]:
    """Every `sample`-th series of a set."""
    if which == "benchmark":
        truth = json.loads((directory / "labels.json").read_text())
        for name in sorted(truth)[::sample]:
            series = read_series(directory / name, name, name)
            yield msgspec.structs.replace(series, windows=[_rows(series.times_us, w) for w in truth[name]["windows"]])
        return
    with (directory / which / "index.csv").open(newline="") as lines:
        index = list(csv.DictReader(lines))
    for entry in index[::sample]:
        yield read_series(
            directory / which / f"{entry['name']}.csv.gz", entry["name"], entry.get("group", entry["name"])
        )


def _rows(times_us: Sequence[int], window: Sequence[str]) -> tuple[int, int]:
    return bisect_left(times_us, _time_us(window[0])), bisect_right(times_us, _time_us(window[1])) - 1


def surprises(series: Labelled, params: SeriesParams) -> list[float]:
    """|surprise| of each row; 0.0 during warm-up."""
    detector = Surprise(params)
    return [abs(detector.step(x).sigmas) for x in zip(series.times_us, series.values, strict=True)]


def flags(surprise: Sequence[float], params: SeriesParams) -> list[int]:
    """Rows that `SeriesDetector` would flag with `params`."""
    state, found = AlarmState(), []
    for row, value in enumerate(surprise):
        state, flagged = alarm(state, params, value > params.threshold)
        if flagged:
            found.append(row)
    return found


def judge_with(
    judged: Callable[[Labelled, list[int]], R], labelled: Sequence[tuple[Labelled, list[float]]]
) -> list[tuple[str, R]]:
    """(how the threshold was chosen, result), for the shipped threshold and for two-fold choice."""
    shipped = SeriesParams()
    results = [
        [judged(s, flags(u, msgspec.structs.replace(shipped, threshold=t))) for s, u in labelled]
        for t in (shipped.threshold, *THRESHOLDS)
    ]
    groups = [series.group for series, _ in labelled]
    return [(f"shipped {shipped.threshold:g}", total(results[0])), ("two-fold", two_fold(results[1:], groups))]


def by_windows(series: Labelled, found: list[int]) -> Windows:
    """Judge one benchmark series."""
    return benchmark_score(found, series.windows, len(series.values))


def by_events(warmup: float, series: Labelled, found: list[int]) -> Events:
    """Judge one series by its events, after the fraction `warmup` of its rows."""
    days = (series.times_us[-1] - series.times_us[0]) / DAY_US * (1.0 - warmup)
    return judge_events(found, series.marked, int(len(series.values) * warmup), days)


def rows(
    judged: Callable[[Labelled, list[int]], R], labelled: Sequence[tuple[Labelled, list[float]]]
) -> list[tuple[str, ...]]:
    """Rows of the printed table."""
    return [*map(_cells, judge_with(judged, labelled))]


def _cells(chosen: tuple[str, Events | Windows]) -> tuple[str, ...]:
    return (chosen[0], *columns(chosen[1]))


JUDGES: dict[str, Callable[[Sequence[tuple[Labelled, list[float]]]], list[tuple[str, ...]]]] = {
    "kpi-1min": partial(rows, partial(by_events, 0.5)),
    "hourly": partial(rows, partial(by_events, 0.15)),
    "benchmark": partial(rows, by_windows),
}


def main(
    directory: Annotated[Path, typer.Argument(help="folder with kpi-1min/, hourly/ and labels.json")],
    which: Annotated[
        list[str] | None, typer.Option("--set", help="kpi-1min, hourly or benchmark; default: all")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="take every n-th series only")] = 1,
) -> None:
    """Judge the series detector on labelled series and print one row per set and choice of threshold."""
    console = Console()
    table = Table("set", "threshold", "events", "recall", "precision", "F1", "false / day", "delay, rows", "score")
    for name in which or JUDGES:
        if name not in JUDGES:
            raise typer.BadParameter(f"--set {name}: choose one of {', '.join(JUDGES)}")
        read = track(read_set(directory, name, sample), description=name, console=console, total=None)
        labelled = [(series, surprises(series, SeriesParams())) for series in read]
        for cells in JUDGES[name](labelled):
            table.add_row(name, *cells)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
