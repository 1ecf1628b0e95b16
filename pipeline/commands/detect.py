"""`tidegate detect FILE.csv`: a time series in, the same rows with `score` and `anomaly` out, row by row."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import IO, TYPE_CHECKING, Annotated, Protocol

import typer
from rich.console import Console
from rich.progress import Progress

from pipeline.commands.shared import TASK, UserError, opened_input, opened_output, progress_bar, size_bytes
from topics.moments import number as parsed_number
from topics.moments import time_us

if TYPE_CHECKING:
    from detectors.drift import Drift

ADDED = ("score", "anomaly")
DRIFT_COLUMN = "drift"
ROWS_A_REPORT = 1_000
FIELD_CHARACTERS_MAX = 1_000_000


class Rows(Protocol):
    """A CSV reader: rows of fields, and the line of the file that it has come to."""

    @property
    def line_num(self) -> int: ...
    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


def judged_rows(
    reader: Rows,
    time_column: str,
    value_column: str,
    drift_column: bool = False,
    on_drift: "Callable[[int, Drift], None]" = lambda line, drift: None,
) -> Iterator[list[str]]:
    """The header and rows of a CSV with `score` and `anomaly` added, perhaps `drift`; each row is judged before
    the next is read. `on_drift` is told of each drift and the line at which it was found."""
    from detectors.drift import Drifts
    from detectors.series import SeriesDetector

    header = next(reader, None)
    if not header:
        raise UserError("the file is empty: a CSV with a header line is needed")
    time_at, value_at = _column(header, time_column, "--time-column"), _column(header, value_column, "--value-column")
    added = (*ADDED, DRIFT_COLUMN) if drift_column else ADDED
    if taken := [name for name in added if name in header]:
        raise UserError(
            f"the file has a column {taken[0]!r} already: rename it, for this command adds one of that name"
        )
    yield [*header, *added]
    detector, drifts = SeriesDetector(), Drifts()
    for row in reader:
        if not row:
            continue  # an empty line
        row += [""] * (len(header) - len(row))
        moment = _moment(row, len(header), time_at, reader.line_num)
        score, anomaly = detector.step(moment, parsed_number(row[value_at]))
        if (drift := drifts.step(moment, detector.loudest)) is not None:
            on_drift(reader.line_num, drift)
        judged = [*row, f"{score:.6f}", str(int(anomaly))]
        yield [*judged, str(int(drift is not None))] if drift_column else judged


def _moment(row: list[str], columns: int, time_at: int, line: int) -> int:
    """The row's time, µs. Raises UserError."""
    if len(row) > columns:
        raise UserError(f"line {line}: {len(row)} fields under {columns} column names: quote what has commas")
    moment = time_us(row[time_at])
    if moment is None:
        raise UserError(
            f"line {line}: {row[time_at][:80]!r} is no timestamp: "
            "give ISO 8601, or seconds, milliseconds or microseconds since 1970"
        )
    return moment


def _column(header: list[str], name: str, option: str) -> int:
    if name not in header:
        there = ", ".join(repr(column) for column in header[:20])
        raise UserError(f"there is no column {name!r}; the columns are {there}: choose with {option}")
    return header.index(name)


def detect(
    file: Annotated[str, typer.Argument(metavar="FILE.csv|-", help="CSV with a header; .gz is unpacked; - is stdin.")],
    time_column: Annotated[str, typer.Option(help="The column of timestamps.")] = "timestamp",
    value_column: Annotated[str, typer.Option(help="The column of numbers; empty or not a number: missing.")] = "value",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT.csv", help="Where to write; - is stdout.")
    ] = "-",
    drift_column: Annotated[
        bool, typer.Option("--drift-column", help='Write a column "drift" too: 1 at the row at which a drift is found.')
    ] = False,
) -> None:
    """Find anomalies in a time series, streaming: each row is judged by what came before it, never by what follows.

    Writes the input columns unchanged and two more: "score" in [0, 1] and "anomaly", 0 or 1.
    That a series is no longer what it was (drift) is told on standard error, one sentence each, for review.
    """
    csv.field_size_limit(FIELD_CHARACTERS_MAX)
    with opened_input(file) as source, progress_bar(f"judging {file}", size_bytes(file), "rows") as progress:
        reader = csv.reader(_lines(source, progress))
        rows = judged_rows(reader, time_column, value_column, drift_column, partial(_tell, progress.console))
        try:
            header = next(rows)  # before the output is opened, so that a wrong column name leaves it untouched
            with opened_output(output, file) as target:
                _write(target, chain([header], rows))
        except UnicodeDecodeError as error:
            raise UserError(f"{file} line {reader.line_num + 1} is not UTF-8: convert the file first") from error
        except csv.Error as error:
            raise UserError(f"{file} line {reader.line_num}: {error}") from error


def _tell(out: Console, line: int, drift: "Drift") -> None:
    """At once, for a stream may never end; beside the output and not in it."""
    out.print(f"for review, line {line}: {drift.sentence}", markup=False)


def _lines(source: IO[bytes], progress: Progress) -> Iterator[str]:
    read = 0
    for number, raw in enumerate(source):
        read += len(raw)
        if number % ROWS_A_REPORT == 0:
            progress.update(TASK, completed=read, count=f"{number:,}")
        yield raw.decode("utf-8-sig" if number == 0 else "utf-8")


def _write(target: IO[bytes], rows: Iterable[list[str]]) -> None:
    text = io.TextIOWrapper(target, encoding="utf-8", newline="", write_through=True)
    try:
        csv.writer(text, lineterminator="\n").writerows(rows)
    finally:
        text.detach()  # or its end would close the file, which may be standard output
