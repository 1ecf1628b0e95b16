"""The evaluation as people read it: one table of kinds and difficulties, a line for each summary, and what went wrong:
every false alarm with what it said, and every incident that was missed."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from replay.scenarios.judging import Row, Summary, Verdict
from topics.codec import rfc3339

WRONG_MAX = 60  # lines of either list; the JSON of `--output` has all


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


def show_without(console: Console, summaries: Mapping[str, Summary], costs: Mapping[str, float]) -> None:
    """Print what is found and how soon, a row a detector that is left out; `costs`: its share of detection's time."""
    table = Table(
        "", "found", "precision", "false", "min, median", "of hard ones", "of outages and storms", "CPU share"
    )
    for name, one in summaries.items():
        delays = (one.delay_median, one.hard_delay_median, one.fast_delay_median)
        shown = ("" if delay is None else f"{delay:.1f}" for delay in delays)
        share = costs.get(name.removeprefix("without "))
        cost = "" if share is None else f"{share:.1%}"
        table.add_row(name, f"{one.found} of {one.incidents}", f"{one.precision:.1%}", str(one.false), *shown, cost)
    console.print(table)


def show_wrong(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Print the false alarms of a run, each with its first sentence, and the incidents it missed."""
    false = [(verdict.seed, one) for verdict in verdicts for one in verdict.false]
    for seed, one in false[:WRONG_MAX]:
        taken_back = ", taken back" if one.withdrawn else ""
        blamed = f" [{', '.join(one.causes)}]" if one.causes else ""
        head = f"false: seed {seed}, {rfc3339(one.opened_us)}, {one.model}, {one.kind}, {one.severity}{taken_back}"
        console.print(f"{head}: {one.summary}{blamed}", markup=False, highlight=False)
    missed = [(verdict.seed, one.label) for verdict in verdicts for one in verdict.findings if not one.alerts]
    for seed, label in missed[:WRONG_MAX]:
        head = f"missed: seed {seed}, {label.start}, {label.target}, {label.kind}, {label.difficulty}"
        console.print(f"{head}, until {label.end}", markup=False, highlight=False)
    left_out = max(len(false) - WRONG_MAX, 0) + max(len(missed) - WRONG_MAX, 0)
    if left_out:
        console.print(f"{left_out} more are in the JSON of --output.")


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
