"""How much the constants matter: each main parameter of the ensemble at half and at twice its value.

`python -m detectors.sensitivity DIR [--set hourly] [--sample 8] [--jobs 2]` prints the ensemble's two-fold result for
each. A method whose figures hang on one constant was fitted to these series and will not hold on others.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from detectors.contenders import ENSEMBLE
from detectors.evaluate import evaluate
from detectors.judge import columns
from detectors.series import SeriesParams

VARIED = (
    "density.values_max",
    "density.neighbours",
    "motif.length",
    "motif.runs_max",
    "volatility.length",
    "deviation.rows_max",
    "surprise.tail_index",
    "deviation.tail_index",
    "surprise.block_rows",
    "surprise.level_rows",
    "surprise.winsor",
    "alarm.rest_rows",
    "alarm.rest_us_max",
    "alarm.margin",
)
TAILED = ("density", "motif", "daily", "volatility")
TAIL_VARIED = ("block_rows", "blocks_max", "fraction")


def variants(params: SeriesParams) -> Iterator[tuple[str, SeriesParams]]:
    """Name and parameters: as shipped, then each main parameter halved and doubled."""
    yield "as shipped", params
    for factor, sign in ((0.5, "½"), (2.0, "2")):
        for path in VARIED:
            part, field = path.split(".")
            yield (
                f"{path} × {sign}",
                msgspec.structs.replace(params, **{part: _scaled(getattr(params, part), field, factor)}),
            )
        for field in TAIL_VARIED:
            parts = {
                part: msgspec.structs.replace(
                    getattr(params, part), tail=_scaled(getattr(params, part).tail, field, factor)
                )
                for part in TAILED
            }
            yield f"tail.{field} × {sign}", msgspec.structs.replace(params, **parts)


def _scaled(part: Any, field: str, factor: float) -> Any:
    value = getattr(part, field)
    scaled = value * factor if isinstance(value, float) else max(1, round(value * factor))
    return msgspec.structs.replace(part, **{field: scaled})


def main(
    directory: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="folder with kpi-1min/, hourly/ and labels.json")
    ],
    which: Annotated[list[str], typer.Option("--set", help="kpi-1min, hourly or benchmark")],
    sample: Annotated[int, typer.Option(min=1, help="take every n-th series only")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="processes")] = 1,
) -> None:
    """Print the ensemble's result with each parameter halved and doubled."""
    console, quiet = Console(width=150), Console(quiet=True)
    table = Table("parameter", "set", "events", "recall", "precision", "F1", "false / day", "delay, rows", "score")
    for name, params in variants(SeriesParams()):
        for one in which:
            rows = evaluate(directory, one, sample, jobs, params, 0, quiet)
            result = next(row.result for row in rows if row.detector == ENSEMBLE and row.threshold == "two-fold")
            table.add_row(name, one, *columns(result))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
