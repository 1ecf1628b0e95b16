"""`tidegate topics create | list | doc`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline.commands.shared import BrokerOption, UserError, broker_address, console, run_async, write_text
from topics.asyncapi import render
from topics.configuration import PARTITIONS_DEFAULT, REPLICAS_DEFAULT, duration_text
from topics.reference import render_markdown
from topics.table import TOPICS, Topic

PARTITIONS_MAX = 1000

app = typer.Typer(help="Create, list and document the topics.", no_args_is_help=True)


@app.command()
def create(
    broker: BrokerOption = "",
    partitions: Annotated[
        int, typer.Option(min=1, max=PARTITIONS_MAX, help="For every topic that does not fix its number.")
    ] = PARTITIONS_DEFAULT,
    replicas: Annotated[int, typer.Option(min=1, max=32, help="Copies of each partition.")] = REPLICAS_DEFAULT,
) -> None:
    """Create every topic that is missing. Safe to repeat: what exists is compared and left as it is."""
    from pipeline.kafka_admin import create_topics

    reports = run_async(create_topics(broker_address(broker), partitions, replicas))
    out, warnings = console(), console(stderr=True)
    for report in reports:
        verb = "created" if report.created else "exists "
        out.print(f"{verb}  {report.topic.name}  [dim]{report.partitions} partitions[/dim]")
        for difference in report.differs:
            warnings.print(f"[yellow]warning[/yellow]  {report.topic.name} {difference}")
    created = sum(report.created for report in reports)
    out.print(f"{created} created, {len(reports) - created} existed")


@app.command("list")
def list_topics(broker: BrokerOption = "") -> None:
    """Print the topics, with their state in Kafka where a broker answers."""
    out = console()
    counts: dict[str, int] | None = None  # None: no broker was asked
    try:
        from pipeline.kafka_admin import partition_counts

        address = broker_address(broker)
        counts = run_async(partition_counts(address))
        note = f"partitions as in the broker at {address}"
    except Exception as error:
        if broker:
            raise
        note = f"declared, not looked up: {error}"
    out.print(_table(counts))
    out.print(f"[dim]{note}[/dim]")


def _table(counts: dict[str, int] | None) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("alias", "topic", "partitions", "key", "kept", "access", "about"):
        table.add_column(heading, no_wrap=heading != "about")
    for topic in TOPICS:
        table.add_row(
            topic.alias,
            topic.name,
            _partitions(topic, counts),
            topic.key,
            duration_text(topic.retention_ms),
            _access(topic),
            topic.about,
        )
    return table


def _partitions(topic: Topic, counts: dict[str, int] | None) -> str:
    declared = str(topic.partitions or f"{PARTITIONS_DEFAULT} (default)")
    if counts is None:
        return declared
    return str(counts[topic.name]) if topic.name in counts else "missing"


def _access(topic: Topic) -> str:
    return ", ".join(word for word, holds in (("internal", topic.internal), ("private", topic.private)) if holds)


@app.command()
def doc(
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - for stdout.")] = "-",
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if FILE is not up to date.")] = False,
) -> None:
    """Write the AsyncAPI 3.0 document: every topic, message and field, for any client in any language.

    To a FILE that ends in .md, the same as a page for people.
    """
    text = render_markdown() if output.endswith(".md") else render()
    if not check:
        write_text(output, text)
    elif output == "-":
        raise typer.BadParameter("--check needs --output FILE", param_hint="--check")
    elif not Path(output).is_file() or Path(output).read_bytes() != text.encode():
        raise UserError(f"{output} is not what the topic table says: run `tidegate topics doc --output {output}`")
