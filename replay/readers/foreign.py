"""What the foreign traces have in common: a row says when a request came and how many tokens it had, little else.

A format is a function from a file to `Row`s. Rows become `Arrivals` in chunks; rows out of order are put right within
a chunk, and further apart they are an error: nothing could be replayed in order of time without reading the whole.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from replay.arrivals import CHUNK_ROWS, Arrivals
from replay.event import ReplayError
from replay.readers.lines import bad_row, numbered
from topics.fields import TIME_US_MAX, TOKENS_MAX


class Row(NamedTuple):
    """One request of a trace: `time_us` since 1970, or since the trace's start where it has no date."""

    time_us: int
    input_tokens: int
    output_tokens: int
    model: str = ""
    failed: bool = False


ReadRows = Callable[[Path], Iterator[Row]]


@dataclass(frozen=True)
class Survey:
    """What one pass over the file finds: requests, first and last arrival, models with the busiest first."""

    requests: int
    first_us: int
    last_us: int
    models: tuple[str, ...]


def survey(path: Path, read: ReadRows) -> Survey:
    """Read the file once, so that its length is known and a bad row is met before anything is replayed."""
    requests, first_us, last_us = 0, TIME_US_MAX, 0
    models: Counter[str] = Counter()
    for row in read(path):
        requests += 1
        first_us, last_us = min(first_us, row.time_us), max(last_us, row.time_us)
        if row.model:
            models[row.model] += 1
    if not requests:
        raise ReplayError(f"{path} has no requests: there is nothing to replay")
    return Survey(requests, first_us, last_us, tuple(model for model, _ in models.most_common()))


def arrivals(path: Path, read: ReadRows, shift_us: int) -> Iterator[Arrivals]:
    """The file's requests in order of time, moved by `shift_us`, a chunk at a time."""
    rows = read(path)
    last_us = 0
    while chunk := list(islice(rows, CHUNK_ROWS)):
        chunk.sort(key=lambda row: row.time_us)
        if chunk[0].time_us < last_us:
            raise ReplayError(f"{path} goes back in time by more than {CHUNK_ROWS} rows: sort it by time first")
        last_us = chunk[-1].time_us
        yield _columns(chunk, shift_us)


def _columns(rows: list[Row], shift_us: int) -> Arrivals:
    models = tuple(row.model for row in rows)
    failed = np.array([row.failed for row in rows])
    return Arrivals(
        time_us=np.array([row.time_us for row in rows], np.int64) + shift_us,
        input_tokens=np.array([row.input_tokens for row in rows], np.int64),
        output_tokens=np.array([row.output_tokens for row in rows], np.int64),
        model=models if models[0] else None,
        failed=failed if failed.any() else None,
    )


def table(path: Path, columns: tuple[str, ...], format_name: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of `columns` in every row of a CSV file, with line numbers. Other columns are left alone."""
    lines = ((number, line.decode("utf-8-sig", errors="replace")) for number, line in numbered(path))
    _, header = next(lines, (0, ""))
    if not header:
        raise ReplayError(f"{path} is empty: there is nothing to replay")
    names = next(csv.reader([header]), [])
    if missing := [column for column in columns if column not in names]:
        raise ReplayError(
            f"{path} is no {format_name} trace: it lacks {', '.join(missing)}; expected {', '.join(columns)}, found"
            f" {', '.join(names)[:200]}. Name its format with --format"
        )
    places = [names.index(column) for column in columns]
    for number, line in lines:
        cells = next(csv.reader([line]), [])
        if len(cells) <= max(places):
            raise bad_row(path, number, f"has {len(cells)} columns, the header has {len(names)}")
        yield number, [cells[place] for place in places]


def tokens(path: Path, number: int, column: str, text: str) -> int:
    """A cell as a token count."""
    if text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= TOKENS_MAX:
        return int(text)
    raise bad_row(path, number, f"{column} must be a whole number from 0 to {TOKENS_MAX}, not {text[:40]!r}")


def microseconds(path: Path, number: int, column: str, value: float) -> int:
    """A number of microseconds since the trace's start or 1970."""
    if 0 <= value <= TIME_US_MAX:
        return round(value)
    raise bad_row(path, number, f"{column} is no time: {value}")
