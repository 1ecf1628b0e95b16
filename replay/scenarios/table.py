"""The evaluation as people read it: one table of kinds and difficulties, and a line for each summary."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from replay.scenarios.judging import Row, Summary


def show(console: Console, summaries: Mapping[str, Summary]) -> None:
    """Print every summary: its rows, then what they come to."""
    rows = {name: {(row.kind, row.difficulty): row for row in one.rows} for name, one in summaries.items()}
    table = Table("kind", "difficulty", "incidents")
    for name in summaries:
        for column in ("found", "named", "min, median", "min, p90", "alerts each", "cause"):
            table.add_column(f"{name}\n{column}", justify="right")
    for place, row in next(iter(rows.values())).items():
        cells = [cell for own in rows.values() for cell in _cells(own[place])]
        table.add_row(row.kind, row.difficulty, str(row.incidents), *cells)
    console.print(table)
    for name, one in summaries.items():
        console.print(f"{name}: {sentence(one)}")


def _cells(row: Row) -> list[str]:
    return [
        str(row.found),
        str(row.named),
        _minutes(row.delay_median),
        _minutes(row.delay_p90),
        f"{row.alerts:.1f}",
        f"{row.caused}/{row.causes}" if row.causes else "",
    ]


def sentence(one: Summary) -> str:
    """What the rows come to."""
    return (
        f"{one.found} of {one.incidents} incidents found ({100 * one.recall:.1f} %), precision"
        f" {100 * one.precision:.1f} %, {one.false} false alarms ({one.false_paging} page,"
        f" {one.false_withdrawn} were taken back) in"
        f" {one.model_weeks:.1f} model-weeks: {one.false_per_model_week:.2f} a week and model; delay median"
        f" {_minutes(one.delay_median)} min, p90 {_minutes(one.delay_p90)} min, of outages and storms"
        f" {_minutes(one.fast_delay_median)} min, of the hard ones {_minutes(one.hard_delay_median)} min"
    )


def _minutes(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
