"""`tidegate backtest`: the code that runs live, over recorded traffic, windows or series; what it found and missed."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.commands.shared import TASK, UserError, check_folder, console, counted
from topics.fields import HOUR_US

if TYPE_CHECKING:
    from replay.backtest.inputs import Input
    from replay.backtest.result import Configuration

SHIPPED = "the defaults"


def backtest(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="LOG|WINDOWS|SERIES...",
            help="Files, folders or globs: traffic as `tidegate replay` reads it, windows or slices as JSON lines, CSV"
            " series; .gz is unpacked. What a file is, is found out from its first line.",
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Truth: JSON lines of {"start", "end", "kind", "target"}; by default the labels in each input\'s'
            " folder, and the column `label` of a series.",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings in TOML (A).")] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="CONFIG2", help="Other settings (B), to see what changes with them.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write index.html and backtest.json there.")
    ] = None,
    warm_up: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of each series that is run, but not scored.")
    ] = 0.15,
    warm_up_hours: Annotated[
        float, typer.Option(min=0, help="Hours at the start of each recording that are run, but not scored.")
    ] = 0.0,
    time_column: Annotated[str, typer.Option(help="The column of timestamps in a series.")] = "timestamp",
    value_column: Annotated[str, typer.Option(help="The column of numbers in a series.")] = "value",
    seed: Annotated[int, typer.Option(help="For what a foreign trace does not say.")] = 1,
    processes: Annotated[int, typer.Option(min=0, help="Files judged at a time; 0: one a core.")] = 0,
) -> None:
    """Backtest detection: the very code that runs live, over weeks of recorded data in minutes.

    Each file is a recording of its own and begins with an empty state. Without labels alerts are only counted.
    """
    from pipeline.commands import backtest_tables
    from pipeline.settings import load
    from replay.backtest import inputs as finding
    from replay.backtest import labels as labelling
    from replay.backtest import report as reporting
    from replay.backtest.changes import compare
    from replay.backtest.result import Configuration, Result, run_of
    from replay.backtest.run import Options, cores, judge
    from replay.readers.series import Columns

    folder = report or Path("reports") / time.strftime("backtest-%Y%m%d-%H%M%S")
    check_folder(folder, "--report")
    configurations = [Configuration("A", SHIPPED if config is None else str(config), load(config))]
    if against is not None:
        configurations.append(Configuration("B", str(against), load(against)))
    found, notes = finding.find(inputs, time_column, value_column)
    truth = None if labels is None else labelling.read([labels])
    options = Options(
        warm_up, round(warm_up_hours * HOUR_US), seed, processes or cores(), Columns(time_column, value_column)
    )
    out = console()
    out.print(_what(found))
    with _progress(found, configurations) as bar:
        judged = []
        for each in configurations:
            bar.begin(each.name, len(configurations))
            judged.append(judge(found, truth, each, options, bar.advance))
        rows, wall_s, cpu_s = bar.rows, bar.wall_s, bar.cpu_s
    changes = compare(judged[0], judged[1], *(each.settings for each in configurations)) if against else None
    result = Result(
        version=version("tidegate"),
        inputs=[{"path": str(one.path), "kind": one.content, "name": one.name} for one in found],
        labelled=any(strip.labelled for strip in judged[0].strips),
        warm_up=warm_up,
        warm_up_hours=warm_up_hours,
        rows=rows // len(configurations),
        wall_s=round(wall_s, 3),
        cpu_s=round(cpu_s, 3),
        rows_per_s=round(rows / max(wall_s, 1e-9), 1),
        notes=[*notes, *judged[0].notes],
        runs=[run_of(each, one) for each, one in zip(configurations, judged, strict=True)],
        changes=changes,
    )
    try:
        path = reporting.write(folder, result, judged)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}; name another folder with --report") from error
    backtest_tables.show(out, result)
    out.print(f"report: [bold]{path}[/]")


def _what(found: "Sequence[Input]") -> str:
    contents = [one.content for one in found]
    parts = {"traffic": "traffic log", "slices": "slices log", "windows": "windows file", "series": "series"}
    kinds = [
        f"{contents.count(kind)} series" if kind == "series" else counted(contents.count(kind), noun)
        for kind, noun in parts.items()
        if kind in contents
    ]
    return ", ".join(kinds)


def _cpu_s() -> float:
    """Processor time of this process and of those it has waited for."""
    return sum(os.times()[:4])


class _Bar:
    """The progress bar: share of the bytes read, rows judged, rows a second."""

    def __init__(self, progress: Progress) -> None:
        self.rows = 0
        self._began_at, self._began_cpu_s = time.monotonic(), _cpu_s()
        self._progress = progress

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._began_at

    @property
    def cpu_s(self) -> float:
        return _cpu_s() - self._began_cpu_s

    def begin(self, name: str, of: int) -> None:
        self._progress.update(TASK, description=f"judging with {name}" if of > 1 else "judging")

    def advance(self, rows: int, size: int) -> None:
        self.rows += rows
        rate = self.rows / max(self.wall_s, 1e-9)
        self._progress.update(TASK, advance=size, count=f"{self.rows:,} rows, {rate:,.0f}/s")


@contextmanager
def _progress(found: "Sequence[Input]", configurations: "Sequence[Configuration]") -> Iterator[_Bar]:
    import sys

    from replay.backtest.run import bytes_of

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    total = bytes_of(one.path for one in found) * len(configurations)
    with Progress(*columns, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        progress.add_task("judging", total=total, count="")
        yield _Bar(progress)
