"""How good detection in one series is: `python -m detectors.evaluate DIR [--set kpi-1min] [--sample 4] [--output J]`.

DIR is read by `detectors/labelled.py`; who competes is in `detectors/contenders.py`, the rules of scoring in
`detectors/judge.py`. Each series is run once, from its first row, with no look-ahead. "two-fold" chooses the threshold
on one half of the groups and scores the other, then swaps; "shipped" is that of `SeriesParams`, the same for all sets.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detectors.contenders import ENSEMBLE, NAIVE, Cost, Spoken, costs, naive, run
from detectors.judge import Events, Windows, benchmark_score, columns, judge_events, total, two_fold
from detectors.labelled import SETS, Labelled, read_set
from detectors.season import DAY_US
from detectors.series import SeriesParams

THRESHOLDS = tuple(float(t) for t in np.geomspace(0.1, 4.0, 40))
WARM_UP = {"kpi-1min": 0.5, "hourly": 0.15}  # share of the rows that is run, not scored; the benchmark has its own rule
HEAD = ("set", "detector", "threshold", "events", "recall", "precision", "F1", "false / day", "delay, rows", "score")


class Row(msgspec.Struct, frozen=True):
    """One line of the table: who, how the threshold was chosen, and what came of it."""

    set: str
    detector: str
    threshold: str
    result: Events | Windows

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.set, self.detector, self.threshold, *columns(self.result))


class Judged(msgspec.Struct):
    """One series: results[contender][threshold], the shipped threshold first; of one kind in a set."""

    group: str
    results: dict[str, list[Any]]
    naive: Any | None


def judge(which: str, series: Labelled, flagged: Sequence[int]) -> Events | Windows:
    """By the rules of its set."""
    if which == "benchmark":
        return benchmark_score(flagged, series.windows, len(series.values))
    warm_up = WARM_UP[which]
    days = (series.times_us[-1] - series.times_us[0]) / DAY_US * (1.0 - warm_up)
    return judge_events(flagged, series.marked, int(len(series.values) * warm_up), days)


def judged(which: str, params: SeriesParams, naive_every: int, numbered: tuple[int, Labelled]) -> Judged:
    """Run and judge one series; the naive recipe on every `naive_every`-th, on none when it is 0."""
    number, series = numbered
    cuts = (params.threshold, *THRESHOLDS)

    def at(said: Spoken, cut: float) -> Events | Windows:
        return judge(which, series, [row for row, strength in said if strength > cut])

    textbook = judge(which, series, naive(series)) if naive_every and number % naive_every == 0 else None
    found = {name: [at(said, cut) for cut in cuts] for name, said in run(series, params).items()}
    return Judged(series.group, found, textbook)


def rows_of(which: str, series: Sequence[Judged], params: SeriesParams) -> Iterator[Row]:
    """The table of one set."""
    groups = [one.group for one in series]
    for name in series[0].results:
        by_threshold = [list(each) for each in zip(*(one.results[name] for one in series), strict=True)]
        yield Row(which, name, "two-fold", two_fold(by_threshold[1:], groups))
        if name == ENSEMBLE:
            yield Row(which, name, f"shipped {params.threshold:g}", total(by_threshold[0]))
    textbook = [one.naive for one in series if one.naive is not None]
    if textbook:
        yield Row(which, NAIVE, f"its own ({len(textbook)} series)", total(textbook))


def evaluate(
    directory: Path, which: str, sample: int, jobs: int, params: SeriesParams, naive_every: int, console: Console
) -> list[Row]:
    """Run and judge one set with `jobs` processes."""
    work = partial(judged, which, params, naive_every)
    with Pool(jobs) as pool:
        done = pool.imap(work, enumerate(read_set(directory, which, sample)))
        series = list(track(done, description=which, console=console, total=None))
    return list(rows_of(which, series, params))


def print_rows(rows: Sequence[Row], cost: dict[str, Cost], console: Console) -> None:
    table = Table(*HEAD, "µs / row", "state bytes")
    for row in rows:
        own = cost.get(row.detector)
        table.add_row(*row.cells, *((f"{own.us_per_row:.0f}", f"{own.state_bytes:,}") if own else ("", "")))
    console.print(table)


def main(
    directory: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="folder with kpi-1min/, hourly/ and labels.json")
    ],
    which: Annotated[
        list[str] | None, typer.Option("--set", help="kpi-1min, hourly or benchmark; default: all")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="take every n-th series only")] = 1,
    naive_every: Annotated[int, typer.Option("--naive", help="the slow naive recipe on every n-th series")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="processes")] = 1,
    output: Annotated[Path | None, typer.Option(help="also write results and costs as JSON")] = None,
) -> None:
    """Judge each detector and the ensemble on labelled series: accuracy and cost in one table."""
    console, rows = Console(width=170), list[Row]()
    for name in which or SETS:
        if name not in SETS:
            raise typer.BadParameter(f"--set {name}: choose one of {', '.join(SETS)}")
        rows += evaluate(directory, name, sample, jobs, SeriesParams(), naive_every, console)
    cost = costs(SeriesParams())
    print_rows(rows, cost, console)
    if output:
        output.write_bytes(msgspec.json.format(msgspec.json.encode({"rows": rows, "costs": cost}), indent=1))


if __name__ == "__main__":
    typer.run(main)
