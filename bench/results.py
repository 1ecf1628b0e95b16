"""What a benchmark brings back, the table of it and the JSON."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from pipeline.broker import KAFKA_VERSION

PACKAGES = ("faust-streaming", "aiokafka", "msgspec", "numpy")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. `values`: one a repeat; `target`: what issue 4 asks for; `note`: what was used, what limited it.

    `is_void`: the measurement was disturbed, so the figure tells nothing.
    """

    bench: str
    what: str
    values: list[float]
    unit: str
    target: float | None = None
    better: Literal["more", "less"] = "more"
    note: str = ""
    is_void: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median is on the right side of the target; None without one, or void."""
        if self.target is None or self.is_void:
            return None
        return self.median >= self.target if self.better == "more" else self.median <= self.target


def where() -> dict[str, Any]:
    """Date, machine, versions: without them a figure means nothing."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        "versions": {name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write(path: Path, rows: Sequence[Row], options: dict[str, Any]) -> None:
    """All that was measured so far; written after each benchmark, so that Ctrl-C loses only the one that runs."""
    path.parent.mkdir(exist_ok=True, parents=True)
    found = [msgspec.to_builtins(row) | {"median": row.median, "is_met": row.is_met} for row in rows]
    path.write_text(json.dumps({**where(), **options, "rows": found}, indent=2) + "\n")


def show(out: Console, rows: Sequence[Row]) -> None:
    """One table a benchmark, its notes below."""
    known = where()
    out.print(f"{known['date']}, {known['processor']}, {known['cores']} cores, Python {known['python']}")
    for bench, found in groupby(rows, key=lambda row: row.bench):
        _show_one(out, bench, list(found))


def _show_one(out: Console, bench: str, rows: Sequence[Row]) -> None:
    table = Table(title=bench, title_justify="left", title_style="bold")
    table.add_column("what")
    for heading in ("median", "lowest", "highest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("unit", "target"):
        table.add_column(heading)
    for row in rows:
        figures = (_text(value) for value in (row.median, min(row.values), max(row.values)))
        table.add_row(row.what, *figures, row.unit, _target(row))
    out.print(table)
    for row in rows:
        if row.note:
            out.print(f"  {row.what}: {row.note}", highlight=False)


def _target(row: Row) -> str:
    if row.is_void:
        return "void"
    if row.target is None:
        return ""
    sign = "at least" if row.better == "more" else "at most"
    return f"{sign} {_text(row.target)}: {'reached' if row.is_met else 'missed'}"


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
