"""The end of a replay for a person: each incident and what became of it, what was false, whether the counts balance."""

from importlib.metadata import version
from pathlib import Path
from platform import python_version

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.commands.lines import SEVERITY_STYLE
from pipeline.commands.replaying import Plan, Ran
from pipeline.commands.shared import UserError, counted
from replay import report
from replay.score import AlertLife, CommandLife, IncidentScore, Score, score
from topics.fields import MINUTE_US

VERSIONS = ("tidegate", "faust-streaming", "aiokafka", "statsmodels", "scikit-learn", "ruptures")
CONFIRMATIONS_SHOWN = 4
FALSE_SHOWN = 10
TOLD_SHOWN = 20


def judge(planned: Plan, ran: Ran) -> Score:
    """What of the injected incidents was found."""
    return score(planned.incidents, ran.injector.touched, ran.collected, planned.source.end_us)


def write_report(folder: Path, driver: str, partitions: int, planned: Plan, ran: Ran, judged: Score) -> Path:
    """Write report.html and report.json; the page's path. Raises UserError."""
    run = report.Run(
        driver=driver,
        events=ran.requests * 2 + ran.unreadable,
        wall_s=ran.elapsed_s,
        partitions=partitions,
        versions={"python": python_version(), **{name: version(name) for name in VERSIONS}},
        incidents_left_out=list(planned.left_out),
    )
    try:
        return report.write(folder, run, planned.source, ran.collected, judged)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}; name another folder with --report") from error


def show(out: Console, planned: Plan, ran: Ran, judged: Score) -> None:
    """Print the summary."""
    out.print()
    if planned.incidents:
        out.print(_incidents(judged, planned))
    for kind in planned.left_out:
        out.print(f"[dim]not injected: {kind} (the recording is too short for all kinds)[/]")
    _print_told(out, judged, planned)
    _print_false(out, judged, planned)
    _print_counts(out, ran)


def _incidents(judged: Score, planned: Plan) -> Table:
    found = sum(row.detected for row in judged.incidents)
    table = Table(
        title=f"{found} of {len(judged.incidents)} injected incidents detected",
        title_justify="left",
        title_style="bold",
    )
    for heading in ("incident", "injected", "detected", "command -> answer"):
        table.add_column(heading, overflow="fold")
    for row in judged.incidents:
        table.add_row(*_incident(row, planned.source.start_us), end_section=True)
    return table


def _incident(row: IncidentScore, start_us: int) -> tuple[str, str, str, str]:
    span = f"{_clock(row.start_us - start_us)} to {_clock(row.end_us - start_us)}"
    what = f"[bold]{row.kind}[/]\n{row.target}"
    if row.delay_us is None:
        return what, span, "[bold red]missed[/]", ""
    return (
        what,
        span,
        "\n".join((f"[green]after {row.delay_us / MINUTE_US:.1f} min[/] by", *map(_alert, row.alerts))),
        "\n".join(_command(command) for command in row.commands) or "[red]none[/]",
    )


def _alert(alert: AlertLife) -> str:
    confirmed = ", ".join(alert.confirmations[:CONFIRMATIONS_SHOWN])
    more = len(alert.confirmations) - CONFIRMATIONS_SHOWN
    tail = f" and {more} more" if more > 0 else ""
    severity = f"[{SEVERITY_STYLE[alert.severity]}]{alert.severity}[/]"
    return f"{severity} {alert.kind} on {alert.model} [dim]({confirmed}{tail})[/]"


def _command(command: CommandLife) -> str:
    states = " -> ".join(dict.fromkeys(state for state, _ in command.states))
    said: dict[str, dict[str, None]] = {}
    for answer in command.answers:
        said.setdefault(answer.by, {})[answer.what.replace("_", " ")] = None
    answers = "; ".join(f"{by}: {', '.join(whats)}" for by, whats in said.items())
    return f"[bold]{command.action}[/] {command.target} ({states})" + (f" -> {answers}" if answers else "")


def _print_told(out: Console, judged: Score, planned: Plan) -> None:
    """The incidents as the pipeline told them, each with its probable cause."""
    start_us = planned.source.start_us
    within = [one for one in judged.told if one.opened_us <= planned.source.end_us]
    out.print(f"{counted(len(within), 'incident')} told:")
    for one in within[:TOLD_SHOWN]:
        ended = "still open" if one.ended_us is None else f"to {_clock(one.ended_us - start_us)}"
        severity = f"[{SEVERITY_STYLE[one.severity]}]{one.severity:8}[/]"
        back = "" if one.status != "withdrawn" else " [dim](taken back)[/]"
        title = f"[bold]{escape(one.title)}[/]{back} [dim]{escape(one.cause.explanation)}[/]"
        out.print(f"  {_clock(one.opened_us - start_us)} {ended}  {severity} {title}")
    if len(within) > TOLD_SHOWN:
        out.print(f"  [dim]and {len(within) - TOLD_SHOWN} more[/]")


def _print_false(out: Console, judged: Score, planned: Plan) -> None:
    start_us = planned.source.start_us
    found = len(judged.false_alarms)
    if planned.incidents:
        out.print(f"[{'red' if found else 'green'}]{counted(found, 'false alarm')}[/] while no incident ran")
    else:
        out.print(f"{counted(found, 'alert')} (no incident was injected)")
    for alert in judged.false_alarms[:FALSE_SHOWN]:
        out.print(
            f"  {_clock(alert.opened_us - start_us)}  {alert.severity} {alert.kind} on {alert.model}: {alert.summary}"
        )
    for alert in judged.related:
        out.print(
            f"  [dim]{_clock(alert.opened_us - start_us)}  {alert.kind} on {alert.model}, "
            "in the 5 minutes after an incident: not counted[/]"
        )


def _print_counts(out: Console, ran: Ran) -> None:
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(ran.collected.outcomes.items()))
    verdict = "[green]balanced[/]" if ran.balanced else f"[bold red]{ran.requests - ran.decisions:,} missing[/]"
    again = f", {ran.repeated:,} sent again and dropped by id" if ran.repeated else ", none twice"
    out.print(f"{ran.requests:,} requests in, {ran.decisions:,} decisions out ({verdict}{again}): {outcomes}")
    if ran.collected.dead:
        reasons = ", ".join(f"{count:,} x {reason}" for reason, count in ran.collected.dead.most_common(3))
        out.print(f"{ran.collected.dead.total():,} dead letters: {reasons}")


def _clock(duration_us: int) -> str:
    minutes = max(0, duration_us) // MINUTE_US
    return f"+{minutes // 60}:{minutes % 60:02}"
