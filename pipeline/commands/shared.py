"""What commands share: the broker's address, the terminal, files that may be `-` or gzip."""

import asyncio
import contextlib
import gzip
import logging
import os
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

TASK = TaskID(0)  # the one task of a progress bar
PIPED_COLUMNS = 240  # a table or line that goes to a file or a pipe is not folded to a terminal's width

T = TypeVar("T")


class UserError(Exception):
    """A failure to tell the user in one sentence: what is wrong, what to do next."""


BrokerOption = Annotated[
    str,
    typer.Option(
        "--broker",
        envvar="TIDEGATE_BROKER",
        metavar="HOST:PORT",
        help="Kafka to talk to; by default the local one of `tidegate broker up`.",
        rich_help_panel="Kafka",
    ),
]


def console(stderr: bool = False) -> Console:
    """Standard output (or error) with colours on a terminal and plain, unfolded text elsewhere."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPED_COLUMNS, highlight=False, soft_wrap=True)


def broker_address(given: str) -> str:
    """`given` when it names a broker, else that of the running local broker. Raises UserError without either."""
    if given:
        return _checked(given)
    from pipeline import broker

    status = broker.status()
    if not status.running or not status.address:
        raise UserError(
            "no broker is running here: start one with `tidegate broker up`, "
            "or name yours with --broker host:port (or TIDEGATE_BROKER)"
        )
    return str(status.address)


def _checked(given: str) -> str:
    for address in given.split(","):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise UserError(f"{address!r} is no broker address: give host:port, such as 127.0.0.1:9092")
    return given


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end; what Kafka's client cannot do becomes a UserError."""
    from aiokafka.errors import KafkaError

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its errors are raised as well; say them once
    try:
        return asyncio.run(work)
    except KafkaError as error:
        raise UserError(f"Kafka: {error}; look at the broker with `tidegate broker status`") from error


@contextlib.contextmanager
def progress_bar(about: str, total: float | None, unit: str = "") -> Iterator[Progress]:
    """A progress bar on stderr with one task, TASK; nothing at all when stderr is no terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(show_speed=total is None),
        TextColumn("{task.fields[count]} " + unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        progress.add_task(about, total=total, count=0)
        yield progress


@contextlib.contextmanager
def opened_input(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked when its name ends in .gz, or of standard input for `-`."""
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = gzip.open(path) if path.endswith(".gz") else Path(path).open("rb")  # noqa: SIM115 — closed below
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; give a file that exists, or -") from error
    with stream:
        try:
            yield stream  # type: ignore[misc]
        except (gzip.BadGzipFile, EOFError) as error:
            raise UserError(f"{path} is no whole gzip file ({error}); give it another name or pack it again") from error


@contextlib.contextmanager
def opened_output(path: str, reads: str = "-") -> Iterator[IO[bytes]]:
    """Where to write bytes: a file, packed when its name ends in .gz, or standard output for `-`."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if reads != "-" and Path(path).exists() and Path(reads).exists() and os.path.samefile(path, reads):  # noqa: PTH121
        raise UserError(f"{path} is the input itself: name another file with --output")
    try:
        stream = gzip.open(path, "wb") if path.endswith(".gz") else Path(path).open("wb")  # noqa: SIM115 — closed below
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; name another file") from error
    with stream:
        yield stream  # type: ignore[misc]


def counted(number: int, noun: str) -> str:
    """`1 incident`, `2,000 incidents`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def write_text(path: str, text: str) -> None:
    """Write a small document to a file, or to standard output for `-`. Raises UserError."""
    with opened_output(path) as target:
        target.write(text.encode())


def check_folder(path: Path, option: str) -> None:
    """Raise UserError before a long run, not after it, where `path` is no folder and none can be made there."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise UserError(f"{path} cannot be written: name another folder with {option}")


def size_bytes(path: str) -> int | None:
    """The size of an input for a progress bar; None where it is not known before the end."""
    return None if path == "-" or path.endswith(".gz") or not Path(path).is_file() else Path(path).stat().st_size
