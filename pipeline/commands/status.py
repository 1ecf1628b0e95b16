"""`tidegate status`: is it judging, what is open, what was done, how sensitive is it and why, who lags behind."""

import asyncio
import contextlib
import sys
import time
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.commands.follow import records
from pipeline.commands.lines import SEVERITY_STYLE, clock
from pipeline.commands.shared import BrokerOption, UserError, broker_address, console, run_async
from pipeline.status import Announced, Lag, ModelStatus, OpenAlert, OpenIncident, Standing, Status, standing
from topics.codec import decoder
from topics.fields import MINUTE_US, SECOND_US
from topics.table import BY_ALIAS

TAILS = {
    "windows": 2_000,
    "incidents": 20_000,
    "alerts": 20_000,
    "commands": 20_000,
    "thresholds": 20_000,
    "control": 50_000,
}
"""Topic to how many of its newest records, a partition, are looked at."""

LATE_US = 5 * MINUTE_US  # a model has a window a minute; one that has had none for so long is told in red
ROWS_MAX = 200


def status(
    broker: BrokerOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object; times in microseconds.")] = False,
    watch: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, max=3600, help="Look again every so often, until Ctrl-C; 0: once."),
    ] = 0,
) -> None:
    """Show how things stand: models, open incidents and alerts, commands, thresholds and why, announcements, lag.

    Reads outside any consumer group: it disturbs nobody.
    """
    address = broker_address(broker)
    if as_json and watch:
        raise typer.BadParameter("--json prints one object: leave out --watch", param_hint="--json")
    found = run_async(look(address))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    elif watch:
        with contextlib.suppress(KeyboardInterrupt):
            _watch(address, found, watch)
    else:
        console().print(shown(found))


def _watch(address: str, found: Status, every_s: float) -> None:
    """In place on a terminal; one below the other where there is none."""
    out = console()
    with Live(console=out, auto_refresh=False) if out.is_terminal else contextlib.nullcontext() as live:
        while True:
            if live is not None:
                live.update(shown(found), refresh=True)
            else:
                out.print(shown(found), Text())
            time.sleep(every_s)
            found = run_async(look(address))


async def look(address: str) -> Status:
    """Read what the status is made of. Raises UserError without topics, KafkaUnreachableError without a broker."""
    *tails, lags = await asyncio.gather(*(_tail(address, alias, last) for alias, last in TAILS.items()), lag(address))
    windows, incidents, alerts, commands, thresholds, control = tails
    return standing(time.time_ns() // 1000, windows, incidents, alerts, commands, thresholds, control, lags)


async def _tail(address: str, alias: str, last: int) -> list[Any]:
    decode, found = decoder(BY_ALIAS[alias]), []
    async for record in records(address, BY_ALIAS[alias], from_start=True, to_end=True, last=last):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):  # the dead letters tell of it
            found.append(decode(record.value))
    return found


async def lag(address: str) -> list[Lag]:
    """What each group of workers that the cluster remembers has yet to read, by source."""
    from aiokafka import TopicPartition

    from pipeline.chain import sources
    from pipeline.group_offsets import GroupOffsets
    from pipeline.kafka_admin import group_members, partition_counts
    from pipeline.worker_options import stages_of_group

    counts, found = await partition_counts(address), []
    for group, workers in (await group_members(address)).items():
        offsets = GroupOffsets(address, group)
        try:
            for source in sources(stages_of_group(group)) if stages_of_group(group) else ():
                topic = BY_ALIAS[source].name
                places = [TopicPartition(topic, number) for number in range(counts.get(topic, 0))]
                behind = sum(end - committed for end, committed in (await offsets.of(places)).values())
                found.append(Lag(group, source, workers, behind))
        finally:
            await offsets.stop()
    return found


def shown(found: Status) -> RenderableType:
    """The status for a terminal."""
    parts: list[RenderableType] = [_models(found), Text()]
    if found.incidents:
        parts += [_incidents(found.incidents), Text()]
    parts.append(_alerts(found.alerts))
    if found.commands:
        parts += [Text(), _commands(found.commands)]
    if found.announced:
        parts += [Text(), _announced(found.announced, found.time_us)]
    return Group(*parts, Text(), _lags(found.lags))


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading not in ("thresholds", "summary", "reason"))
    return table


def _models(found: Status) -> RenderableType:
    if not found.models:
        return Text("no window has closed yet: send traffic with `tidegate produce FILE` or `tidegate replay FILE`")
    table = _table("model", "last window", "windows", "open", "today", "deployment", "thresholds")
    for each in found.models[:ROWS_MAX]:
        late = each.age_us is None or each.age_us > LATE_US
        table.add_row(
            Text(each.model, style="bold"),
            Text("none kept" if each.age_us is None else f"{span(each.age_us)} ago", style="red" if late else ""),
            f"{each.windows:,}" if each.since_us is not None else "-",
            Text(str(each.alerts_open), style="bold yellow" if each.alerts_open else "dim"),
            f"{each.alerts_today} of {each.alerts_a_day}" if each.alerts_a_day else "-",
            _deployment(each, found.time_us),
            _thresholds(each),
        )
    more = len(found.models) - ROWS_MAX
    return Group(table, Text(f"... and {more} more models: --json lists them")) if more > 0 else table


def _deployment(each: ModelStatus, now_us: int) -> Text:
    if each.observed_until_us is None:
        return Text()
    return Text(f"{each.deployed}, observed for {span(each.observed_until_us - now_us)} more")


def _thresholds(each: ModelStatus) -> Text:
    if not each.thresholds:
        return Text("not told yet", style="dim")
    moved = [f"{one.family} × {one.k:.3g}: {one.reason}" for one in each.thresholds if one.reason]
    return Text("\n".join(moved), style="yellow") if moved else Text("as at first", style="dim")


def _alerts(alerts: list[OpenAlert]) -> RenderableType:
    if not alerts:
        return Text("no alert is open")
    table = _table("alert", "severity", "kind", "model", "since", "summary")
    for each in alerts[:ROWS_MAX]:
        severity = f"{each.severity}, provisional" if each.provisional else each.severity
        style = SEVERITY_STYLE[each.severity]
        row = (Text(each.alert), Text(severity, style=style), Text(each.kind), Text(each.model), clock(each.started_us))
        table.add_row(*row, Text(each.summary))
    return table


def _incidents(incidents: list[OpenIncident]) -> RenderableType:
    table = _table("incident", "severity", "since", "alerts", "summary")
    for each in incidents[:ROWS_MAX]:
        table.add_row(
            Text(each.incident),
            Text(each.severity, style=SEVERITY_STYLE[each.severity]),
            clock(each.started_us),
            f"{each.alerts_open} of {each.alerts} open",
            Text(f"{each.title} {each.cause}".rstrip()),
        )
    return table


def _commands(commands: list[Standing]) -> RenderableType:
    table = _table("command", "action", "target", "until", "", "reason")
    for each in commands[:ROWS_MAX]:
        waits = Text(f"tidegate approve {each.command}", style="bold magenta") if each.waits else Text("holds")
        row = (Text(each.command), each.action, Text(each.target), clock(each.expires_us), waits, Text(each.reason))
        table.add_row(*row)
    return table


def _announced(announced: list[Announced], now_us: int) -> RenderableType:
    table = _table("announced", "whom", "from", "until", "", "reason")
    for each in announced[:ROWS_MAX]:
        when = "now" if each.start_us <= now_us else f"in {span(each.start_us - now_us)}"
        row = (Text(each.whom), clock(each.start_us), clock(each.end_us), when, Text(each.reason))
        table.add_row(each.what, *row)
    return table


def _lags(lags: list[Lag]) -> RenderableType:
    if not lags:
        return Text("no worker has run yet: start one with `tidegate worker`")
    table = _table("workers", "now", "source", "records behind")
    for each in lags:
        idle = Text("none running", style="red") if not each.workers else Text(str(each.workers))
        table.add_row(each.group, idle, each.source, f"{each.records:,}")
    return table


def span(duration_us: int) -> str:
    """`40 s`, `12 min`, `5 h`, `3 days`: one unit, rounded down."""
    seconds = duration_us // SECOND_US
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


async def find_alert(address: str, given: str) -> str:
    """The name of an alert given by it, or by the id of one of its records. Raises UserError where none is kept."""
    for alert in await _tail(address, "alerts", TAILS["alerts"]):
        if given in (alert.alert, alert.id):
            return str(alert.alert)
    raise UserError(
        f"there is no alert {given!r}: `tidegate follow alerts --from earliest --to-end` shows all that are kept"
    )
