"""`tidegate broker up | down | status`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline.commands.shared import TASK, console, progress_bar

if TYPE_CHECKING:
    from pipeline.broker import Broker

NOT_RUNNING = 1

app = typer.Typer(
    help="A local Apache Kafka: the real one, a single node on loopback, with nothing to install.", no_args_is_help=True
)

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of its data, settings and logs; by default one in your home."),
]


@app.command()
def up(
    data: DataOption = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port on loopback, by default 9092; 0 takes any free one."),
    ] = None,
    heap_mb: Annotated[int, typer.Option("--heap-mb", min=128, help="Memory of its Java heap, MiB.")] = 384,
) -> None:
    """Start the broker and wait until it answers. Fetches Kafka (44 MB) the first time. Safe to repeat."""
    broker = _up(data, port, heap_mb)
    out = console()
    out.print(f"{'started' if broker.started else 'already running'}: Kafka at [bold]{broker.address}[/bold]")
    out.print(f"[dim]pid {broker.pid}, data {broker.data_dir}, log {broker.log}[/dim]")
    if data is not None:  # the other commands look for a broker in the usual folder only
        out.print(f"for the other commands: export TIDEGATE_BROKER={broker.address}")


def _up(data: Path | None, port: int | None, heap_mb: int) -> "Broker":
    from pipeline import broker

    with progress_bar("starting Kafka", None) as progress:

        def show(jar: str, present: int, total: int) -> None:
            progress.update(TASK, description="fetching Kafka", completed=present, total=total, count=jar)

        return broker.up(data, port, heap_mb=heap_mb, progress=show)


@app.command()
def down(data: DataOption = None) -> None:
    """Stop the broker. Its data stay; safe to repeat."""
    from pipeline import broker

    console().print("stopped" if broker.down(data) else "no broker was running")


@app.command()
def status(data: DataOption = None) -> None:
    """Say whether the broker runs, where, and what it holds. Exit code 1 when it does not answer."""
    from pipeline import broker

    found = broker.status(data)
    state = "running" if found.ready else "starting, or not answering" if found.running else "not running"
    table = Table(box=None, show_header=False, pad_edge=False)
    facts = {
        "broker": state,
        "address": found.address,
        "pid": found.pid,
        "up for": None if found.uptime_s is None else f"{found.uptime_s} s",
        "memory": None if found.resident_mb is None else f"{found.resident_mb} MiB",
        "Kafka": found.kafka_version,
        "cluster": found.cluster_id,
        "data": found.data_dir,
        "log": found.log,
    }
    for name, fact in facts.items():
        if fact is not None:
            table.add_row(name, str(fact))
    console().print(table)
    if not found.ready:
        raise typer.Exit(NOT_RUNNING)
