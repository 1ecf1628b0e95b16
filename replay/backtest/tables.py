"""The page's tables: figures of one or two configurations side by side, as HTML."""

from collections.abc import Callable, Iterable, Sequence
from html import escape

from replay.backtest.changes import Changed, Changes
from replay.backtest.result import Result, Run
from replay.backtest.tally import KindTally
from replay.backtest.words import by_difficulty, delay, percent, rate
from replay.chart import clock
from replay.figures import words

STRIPS_ROWS_MAX = 300
CHANGED_ROWS_MAX = 200

Cell = tuple[str, str]
"""Inner HTML, CSS class."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str | Cell]], left: int = 1) -> str:
    """A table whose first `left` columns are words and whose others are numbers. Cells are HTML already."""
    head = "".join(f'<th class="{"" if n < left else "number"}">{escape(name)}</th>' for n, name in enumerate(heads))
    body = "".join("<tr>" + "".join(_cell(cell, n >= left) for n, cell in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: str | Cell, is_number: bool) -> str:
    inner, css = (cell, "") if isinstance(cell, str) else cell
    classes = " ".join(filter(None, ("number" if is_number else "", css)))
    return f'<td class="{classes}">{inner}</td>'


def kinds(result: Result) -> str:
    """Each kind of event: found, recall, delay; of B as well, where there is one."""
    every = [row for run in result.runs for row in run.kinds]
    columns: list[tuple[str, Callable[[KindTally, str], str | Cell]]] = [("Found", _found), ("Recall", _recall)]
    if any(row.named for row in every):
        columns.append(("Called so", lambda row, _: f"{row.named:,}"))
    if any(row.causes for row in every):
        columns.append(("Cause named", lambda row, _: f"{row.caused} of {row.causes}" if row.causes else "–"))
    columns += [("Delay", lambda row, _: delay(row.delay_s_median)), ("p90", lambda row, _: delay(row.delay_s_p90))]
    several = len(result.runs) > 1
    heads = [f"{name} {run.name}" if several else name for run in result.runs for name, _ in columns]
    graded = [by_difficulty(run.kinds) for run in result.runs]
    rows = []
    for number, first in enumerate(result.runs[0].kinds):
        if not first.difficulty:
            sides = [(run.kinds[number], own[first.kind]) for run, own in zip(result.runs, graded, strict=True)]
            cells = [cell(*side) for side in sides for _, cell in columns]
            rows.append([escape(words(first.kind)), f"{first.events:,}", *cells])
    return table(["Kind", "Events", *heads], rows)


def _found(row: KindTally, graded: str) -> Cell:
    more = f"<small>{escape(graded)}</small>" if graded else ""
    return f"{row.found:,}{more}", "" if row.found == row.events else "lost"


def _recall(row: KindTally, graded: str) -> str:
    return f'<span class="share"><i style="width:{100 * row.recall:.0f}%"></i></span> {percent(row.recall)}'


def alert_kinds(run: Run) -> str:
    """What the alerts (or flagged episodes) were called, and how many of each were right."""
    outcomes = [
        name for name in ("hit", "false", "after", "unjudged") if any(name in row for row in run.alert_kinds.values())
    ]
    rows = [
        [escape(words(kind)), *(f"{counts.get(outcome, 0):,}" for outcome in outcomes)]
        for kind, counts in run.alert_kinds.items()
    ]
    names = {"hit": "Right", "false": "False", "after": "Just after an event", "unjudged": "Not judged"}
    return table(["Alert", *(names[outcome] for outcome in outcomes)], rows)


def detectors(run: Run) -> str:
    """Each detector's part."""
    heads = (
        "Detector",
        "Windows found odd",
        "of them outside events",
        "Spoke first in",
        "Confirmed",
        "Confirmed a false alarm",
    )
    rows = [
        [
            escape(words(row.detector)),
            *(f"{n:,}" for n in (row.windows, row.windows_outside, row.first, row.confirmed, row.confirmed_false)),
        ]
        for row in run.detectors
    ]
    return table(heads, rows)


def thresholds(result: Result) -> str:
    """Two-fold and shipped."""
    rows = []
    for run in result.runs:
        if run.two_fold is None:
            continue
        for name, fold in (("chosen two-fold", run.two_fold.two_fold), ("as configured", run.two_fold.shipped)):
            cuts = " and ".join(f"{cut:.2f}" for cut in fold.cuts)
            label = f"{run.name}: {name}" if len(result.runs) > 1 else name
            figures = (percent(fold.recall), percent(fold.precision), percent(fold.f1), rate(fold.false_per_day))
            rows.append([label, cuts, *figures])
    return table(("Threshold", "Score above", "Recall", "Precision", "F1", "False a day"), rows)


def strips(run: Run, places: dict[str, int]) -> str:
    """Every model and series, most wrong first; those that are plotted are linked."""
    rows: list[list[str | Cell]] = []
    for row in run.strips[:STRIPS_ROWS_MAX]:
        name = escape(row.name)
        linked = f'<a href="#strip-{places[row.name]}">{name}</a>' if row.name in places else name
        own = row.tally
        missed = own.events - own.found
        rows.append(
            [
                linked,
                f"{row.rows:,}",
                f"{own.days:.1f}",
                f"{own.events:,}",
                (f"{missed:,}", "lost" if missed else ""),
                (f"{own.false_episodes:,}", "lost" if own.false_episodes else ""),
                f"{own.detections:,}",
                rate(own.detections_per_day),
                delay(own.delay_s_median),
            ]
        )
    heads = ("", "Rows", "Days", "Events", "Missed", "False", "Alerts", "Alerts a day", "Delay")
    return table(heads, rows)


def zoom_link(strip: str, start_us: int, end_us: int, words_: str, places: dict[str, int]) -> str:
    """A link that opens a stretch of a strip's plot; the words alone where it has none."""
    if strip not in places:
        return escape(words_)
    zoom = f"{start_us / 1e6:.0f},{end_us / 1e6:.0f}"
    return f'<a href="#strip-{places[strip]}" data-zoom="{zoom}">{escape(words_)}</a>'


def changes(found: Changes, places: dict[str, int]) -> Iterable[str]:
    """The settings that differ, the counts, and each event or false alarm that is different."""
    if found.settings:
        rows: list[list[str | Cell]] = [
            [f"<code>{escape(one.setting)}</code>", _value(one.a), _value(one.b)] for one in found.settings
        ]
        yield table(("Setting", "A", "B"), rows, left=3)
    else:
        yield '<p class="note">A and B are the same settings.</p>'
    lost, won = found.found_only_by_a, found.found_only_by_b
    yield table(
        ("", "Both", "Only A", "Only B", "Neither"),
        [
            ["events found", f"{found.found_by_both:,}", (f"{len(lost):,}", "lost" if lost else ""), f"{len(won):,}",
             f"{len(found.found_by_neither):,}"],
            ["false alarms", f"{found.false_in_both:,}", f"{len(found.false_only_in_a):,}",
             (f"{len(found.false_only_in_b):,}", "lost" if found.false_only_in_b else ""), ""],
        ],
    )  # fmt: skip
    groups = (
        ("Found only by A", lost),
        ("Found only by B", won),
        ("False only in A", found.false_only_in_a),
        ("False only in B", found.false_only_in_b),
        ("Found by neither", found.found_by_neither),
    )
    for title, rows_ in groups:
        if rows_:
            yield f"<h3>{title}</h3>" + _changed(rows_, places)


def _changed(rows: Sequence[Changed], places: dict[str, int]) -> str:
    shown = [
        [
            zoom_link(row.strip, row.start_us, row.end_us, clock(row.start_us, "%d %b %Y %H:%M"), places),
            escape(words(row.kind)),
            escape(row.strip),
        ]
        for row in rows[:CHANGED_ROWS_MAX]
    ]
    left_out = len(rows) - len(shown)
    note = f'<p class="note">{left_out:,} more are in backtest.json.</p>' if left_out else ""
    return table(("When (UTC)", "What", "Where"), shown, left=3) + note


def _value(value: object) -> str:
    return "not set" if value is None else escape(str(value))
