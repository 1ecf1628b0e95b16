"""Labelled series on disk: one-minute and hourly sets by rows, the benchmark by windows. This file reads, no more."""

import csv
import gzip
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

SETS = ("kpi-1min", "hourly", "benchmark")


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
    """Every `sample`-th series of a set: `benchmark`, or the folder of a set with an `index.csv`."""
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
