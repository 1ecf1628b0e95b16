"""Plain series: CSV with a header, a column of timestamps, a column of values, and perhaps one of labels."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from replay.event import ReplayError
from replay.readers.lines import bad_row, numbered
from topics.moments import number, time_us

LABEL_COLUMN = "label"


class Columns(NamedTuple):
    """What the columns are called."""

    time: str = "timestamp"
    value: str = "value"


class Point(NamedTuple):
    """One row. `value` None: empty, or no number. `marked`: its label is neither empty nor 0; None without labels.
    `bytes_read`: how long the line was."""

    time_us: int
    value: float | None
    marked: bool | None
    bytes_read: int


def points(path: Path, columns: Columns) -> Iterator[Point]:
    """The rows of a file in its order. Raises ReplayError naming the file and line of a row that cannot be read."""
    lines = numbered(path)
    head_at, head = next(lines, (0, b""))
    names = next(csv.reader([head.decode("utf-8-sig", errors="replace")]), [])
    for name in columns:
        if name not in names:
            raise ReplayError(f"{path}, line {head_at}: there is no column {name!r}; the columns are {names[:20]}")
    time_at, value_at = names.index(columns.time), names.index(columns.value)
    label_at = names.index(LABEL_COLUMN) if LABEL_COLUMN in names else None
    for line_number, line in lines:
        try:
            row = next(csv.reader([line.decode("utf-8")]))
        except (UnicodeDecodeError, csv.Error, StopIteration) as error:
            raise bad_row(path, line_number, f"is no CSV row: {error}") from error
        if len(row) > len(names):
            raise bad_row(path, line_number, f"has {len(row)} fields under {len(names)} column names")
        row += [""] * (len(names) - len(row))
        moment = time_us(row[time_at])
        if moment is None:
            raise bad_row(path, line_number, f"{row[time_at][:80]!r} is no timestamp")
        marked = None if label_at is None else row[label_at].strip() not in ("", "0", "0.0", "False", "false")
        yield Point(moment, number(row[value_at]), marked, len(line) + 1)
