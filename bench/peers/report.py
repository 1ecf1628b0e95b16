"""The table and the JSON: medians over the repeats, and every single run."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.peers.run import Measured, steady_events_per_cpu_s

OURS = "tidegate"


@dataclass
class Series:
    """A peer's repeats: each a shorter and a longer run."""

    peer: str
    pairs: list[tuple[Measured, Measured]]


@dataclass(frozen=True)
class Row:
    """Medians. `steady`: events per CPU-second once running; `whole`: of the longer run, start-up included.

    `low` and `high`: the least and the most of the repeats' steady values.
    """

    peer: str
    steady: float
    low: float
    high: float
    whole: float
    rss_mb: float
    runs: list[tuple[Measured, Measured]]


def row_of(series: Series) -> Row:
    """The medians of a series with at least one pair."""
    steady = [steady_events_per_cpu_s(shorter, longer) for shorter, longer in series.pairs]
    longer = [pair[1] for pair in series.pairs]
    return Row(
        series.peer,
        statistics.median(steady),
        min(steady),
        max(steady),
        statistics.median(run.events_per_cpu_s for run in longer),
        statistics.median(run.rss_mb for run in longer),
        series.pairs,
    )


def show(out: Console, rows: Sequence[Row]) -> None:
    """Print the table; ratios are ours to theirs, steady to steady."""
    ours = next((row.steady for row in rows if row.peer == OURS), None)
    table = Table(title=f"events per CPU-second, {datetime.now(UTC).date()}, {os.cpu_count()} cores")
    table.add_column("")
    for heading in ("steady", "low - high", "whole run", "ours / theirs", "MB"):
        table.add_column(heading, justify="right")
    for row in rows:
        ratio = f"{ours / row.steady:.2f}" if ours else ""
        span = f"{row.low / 1000:,.1f}k - {row.high / 1000:,.1f}k"
        table.add_row(row.peer, f"{row.steady:,.0f}", span, f"{row.whole:,.0f}", ratio, f"{row.rss_mb:,.0f}")
    out.print(table)


def write(path: Path, options: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Date, machine, options and every run."""
    known = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "options": dict(options),
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(known, indent=2))
