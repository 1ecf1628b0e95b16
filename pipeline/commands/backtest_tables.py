"""The end of a backtest for a person: totals, kinds, detectors, thresholds, and what a second configuration changes."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pipeline.commands.shared import counted
from replay.backtest.changes import Changed, Changes
from replay.backtest.result import Result, Run
from replay.backtest.words import by_difficulty, delay, percent, rate
from replay.chart import clock

STRIPS_SHOWN = 12
CHANGES_SHOWN = 12
NOTES_SHOWN = 8
DRIFTS_SHOWN = 6


def show(out: Console, result: Result) -> None:
    """Print the summary."""
    for note in result.notes[:NOTES_SHOWN]:
        out.print(f"[dim]{note}[/]", markup=True)
    if len(result.notes) > NOTES_SHOWN:
        out.print(f"[dim]{len(result.notes) - NOTES_SHOWN} more notes are in backtest.json[/]")
    out.print(_totals(result))
    for run in result.runs:
        if len(run.kinds) > 1 or any(row.named for row in run.kinds):
            out.print(_kinds(run, len(result.runs) > 1))
        if len(run.detectors) > 1:
            out.print(_detectors(run, len(result.runs) > 1))
        if run.two_fold:
            out.print(_two_fold(run, len(result.runs) > 1))
    if len(result.runs[0].strips) > 1:
        out.print(_strips(result.runs[0]))
    for run in result.runs:
        _print_drifts(out, run, len(result.runs) > 1)
    if result.changes:
        _print_changes(out, result.changes)
    cost = f"{result.wall_s:.1f} s ({result.cpu_s:.1f} s of processor time)"
    out.print(f"{result.rows:,} rows in {cost}: {result.rows_per_s:,.0f} rows/s")


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _totals(result: Result) -> Table:
    heads = ["", "days", "events", "found", "recall", "precision", "F1", "false", "false a day", "delay", "p90"]
    if not result.labelled:
        heads = ["", "days", "alerts", "alerts a day"]
    table = _table("In all" if result.labelled else "In all (no labels: alerts are only counted)", *heads)
    for run in result.runs:
        total = run.total
        name = f"{run.name}: {run.config}"
        if not result.labelled:
            table.add_row(name, f"{total.days:.1f}", f"{total.detections:,}", rate(total.detections_per_day))
            continue
        table.add_row(
            name, f"{total.days:.1f}", f"{total.events:,}", f"{total.found:,}", percent(total.recall),
            percent(total.precision), percent(total.f1), f"{total.false_episodes:,}", rate(total.false_per_day),
            delay(total.delay_s_median), delay(total.delay_s_p90),
        )  # fmt: skip
    return table


def _titled(title: str, run: Run, several: bool) -> str:
    return f"{title}, {run.name}" if several else title


def _kinds(run: Run, several: bool) -> Table:
    parts = by_difficulty(run.kinds)
    graded = any(parts.values())
    blamed = any(row.causes for row in run.kinds)
    heads = ["kind", "events", "found", "recall", "called so", "delay", "p90"]
    heads += [*(["cause named"] if blamed else []), *(["by difficulty"] if graded else [])]
    table = _table(_titled("By kind of event", run, several), *heads)
    for row in run.kinds:
        if row.difficulty:
            continue
        style = "" if row.found == row.events else "red"
        figures = (percent(row.recall), str(row.named), delay(row.delay_s_median), delay(row.delay_s_p90))
        cause = f"{row.caused} of {row.causes}" if row.causes else "–"
        more = [*([cause] if blamed else []), *([parts[row.kind]] if graded else [])]
        table.add_row(row.kind, str(row.events), str(row.found), *figures, *more, style=style)
    return table


def _detectors(run: Run, several: bool) -> Table:
    table = _table(
        _titled("By detector", run, several),
        "detector",
        "windows found odd",
        "of them outside events",
        "first in",
        "confirmed",
        "confirmed false",
    )
    for row in run.detectors:
        numbers = (row.windows, row.windows_outside, row.first, row.confirmed, row.confirmed_false)
        table.add_row(row.detector, *(f"{number:,}" for number in numbers))
    return table


def _two_fold(run: Run, several: bool) -> Table:
    assert run.two_fold is not None
    title = _titled("Threshold, chosen two-fold and as shipped", run, several)
    table = _table(title, "chosen", "score above", "recall", "precision", "F1", "false a day")
    for name, fold in (("two-fold", run.two_fold.two_fold), ("shipped", run.two_fold.shipped)):
        cuts = ", ".join(f"{cut:.2f}" for cut in fold.cuts)
        figures = (percent(fold.recall), percent(fold.precision), percent(fold.f1), rate(fold.false_per_day))
        table.add_row(name, cuts, *figures)
    return table


def _strips(run: Run) -> Table:
    table = _table("Most wrong first", "", "rows", "events", "found", "false", "alerts", "alerts a day")
    for row in run.strips[:STRIPS_SHOWN]:
        own = row.tally
        numbers = (row.rows, own.events, own.found, own.false_episodes, own.detections)
        table.add_row(row.name, *(f"{number:,}" for number in numbers), rate(own.detections_per_day))
    if len(run.strips) > STRIPS_SHOWN:
        table.caption = f"{len(run.strips) - STRIPS_SHOWN} more are in the report"
    return table


def _print_drifts(out: Console, run: Run, several: bool) -> None:
    """Which series are no longer what they were: not an alert, and in no figure above."""
    if not run.drifts:
        return
    many = len({row.strip for row in run.drifts})
    out.print(f"{_titled('for review', run, several)}: {counted(len(run.drifts), 'drift')} in {many} series")
    for row in run.drifts[:DRIFTS_SHOWN]:
        out.print(f"  {row.strip}, told {row.time[:16].replace('T', ' ')}: {row.summary}", markup=False)
    if len(run.drifts) > DRIFTS_SHOWN:
        out.print(f"  {len(run.drifts) - DRIFTS_SHOWN} more are in the report")


def _print_changes(out: Console, changes: Changes) -> None:
    table = _table("What B changes", "setting", "A", "B")
    for change in changes.settings:
        table.add_row(change.setting, _value(change.a), _value(change.b))
    if changes.settings:
        out.print(table)
    else:
        out.print("[yellow]A and B are the same settings[/]")
    table = _table("", "", "both", "only A", "only B", "neither")
    lost, won = changes.found_only_by_a, changes.found_only_by_b
    table.add_row("found", *map(str, (changes.found_by_both, len(lost), len(won), len(changes.found_by_neither))))
    table.add_row(
        "false", *map(str, (changes.false_in_both, len(changes.false_only_in_a), len(changes.false_only_in_b))), ""
    )
    out.print(table)
    for title, rows in (
        ("found only by A", lost),
        ("found only by B", won),
        ("false only in A", changes.false_only_in_a),
        ("false only in B", changes.false_only_in_b),
    ):
        _print_changed(out, title, rows)


def _print_changed(out: Console, title: str, rows: Sequence[Changed]) -> None:
    for row in rows[:CHANGES_SHOWN]:
        out.print(f"  {title}: {clock(row.start_us, '%Y-%m-%d %H:%M')} {row.kind} on {row.strip}")
    if len(rows) > CHANGES_SHOWN:
        out.print(f"  {title}: {len(rows) - CHANGES_SHOWN} more are in the report")


def _value(value: object) -> str:
    return "(default)" if value is None else str(value)
