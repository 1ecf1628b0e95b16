"""The command `tidegate`. A command is a function in a file of `pipeline/commands/`, registered in one row here.

A command's module is imported when the command is used, not for `tidegate --help`: statistics, plots and Faust take
seconds to import and most commands need none of them.

Exit codes: 0 done; 1 failed, with one sentence on stderr that says what is wrong and what to do; 2 wrong usage.
"""

import importlib
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

FAILED = 1
INTERRUPTED = 130


@dataclass(frozen=True)
class Entry:
    """One command: where its function (or, for a group of commands, its Typer app) is, and what `--help` says of it."""

    name: str
    target: str  # module:attribute
    panel: str
    about: str

    def load(self) -> Any:
        """The runnable command. Imports its module."""
        module, _, attribute = self.target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        command = typer.main.get_command(found if isinstance(found, typer.Typer) else _app_of(self.name, found))
        command.name = self.name
        return command

    def placeholder(self) -> TyperCommand:
        """What stands for the command in `tidegate --help`."""
        return TyperCommand(name=self.name, help=self.about, rich_help_panel=self.panel)


START = "Start here"
RUN = "Run the pipeline"
TALK = "Talk to the pipeline"
STEER = "Steer the pipeline"
FILES = "Judge your own files (no broker needed)"

COMMANDS: tuple[Entry, ...] = (
    Entry("demo", "pipeline.commands.demo:demo", START, "Everything at once: broker, worker, traffic, incidents."),
    Entry("flow", "pipeline.commands.flow:flow", START, "The stages and topics as a picture."),
    Entry(
        "broker", "pipeline.commands.broker:app", RUN, "A local Apache Kafka with nothing to install: up, down, status."
    ),
    Entry("topics", "pipeline.commands.topics:app", RUN, "The topics: create, list, doc (AsyncAPI)."),
    Entry("worker", "pipeline.commands.worker:worker", RUN, "Run stages as agents over Kafka."),
    Entry("replay", "pipeline.commands.replay:replay", RUN, "Replay recorded traffic, with incidents, and report."),
    Entry("produce", "pipeline.commands.produce:produce", TALK, "Send traffic or control events from JSON lines."),
    Entry("follow", "pipeline.commands.follow:follow", TALK, "Watch alerts, decisions, commands, windows, ... live."),
    Entry("status", "pipeline.commands.status:status", TALK, "How things stand: models, alerts, thresholds, lag."),
    Entry("approve", "pipeline.commands.steer:approve", STEER, "Let a command go ahead that waits for a person."),
    Entry("reject", "pipeline.commands.steer:reject", STEER, "Forbid a command that waits for a person."),
    Entry("deploy", "pipeline.commands.steer:deploy", STEER, "Say that a model version went live."),
    Entry(
        "maintenance", "pipeline.commands.steer:maintenance", STEER, "Announce a time in which nothing should alert."
    ),
    Entry("launch", "pipeline.commands.steer:launch", STEER, "Announce growth that should page nobody."),
    Entry("plan", "pipeline.commands.steer:plan", STEER, "Set the tier an organisation has bought."),
    Entry("feedback", "pipeline.commands.steer:feedback", STEER, "Judge an alert: true, false, or a note."),
    Entry("moderate", "pipeline.commands.moderate:moderate", FILES, "Moderate the texts of a JSON-lines file."),
    Entry("detect", "pipeline.commands.detect:detect", FILES, "Find anomalies in a CSV time series."),
    Entry(
        "backtest",
        "pipeline.commands.backtest:backtest",
        FILES,
        "Score detection on recorded traffic, windows, series.",
    ),
)
BY_NAME = {entry.name: entry for entry in COMMANDS}

USER_ERRORS: tuple[tuple[str, str], ...] = (
    ("pipeline.commands.shared", "UserError"),
    ("pipeline.broker_install", "BrokerError"),
    ("pipeline.kafka_admin", "KafkaUnreachableError"),
    ("pipeline.kafka_admin", "MissingTopicsError"),
    ("pipeline.kafka_admin", "ChangelogMismatchError"),
    ("pipeline.settings", "SettingsError"),
    ("replay.event", "ReplayError"),
    ("pipeline.chain", "UnknownStageError"),
)
"""Exceptions whose message is for the user. Named, not imported: whoever raises one has imported it."""


class Commands(TyperGroup):
    """The group of all commands; only the one that is asked for is loaded."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See typer: the command that `args` begins with, and the rest."""
        if args and args[0] in BY_NAME:
            self.commands[args[0]] = BY_NAME[args[0]].load()
        return super().resolve_command(ctx, args)


def _app_of(name: str, function: Any) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    app.command(name)(function)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tidegate {version('tidegate')}")
        raise typer.Exit


def _root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Meters, moderates and watches the traffic of an LLM API on Kafka; alerts, and acts.

    First steps: **tidegate demo** shows everything in two minutes. To run it yourself: **tidegate broker up**,
    **tidegate topics create**, **tidegate worker**; then **tidegate produce** in one terminal and **tidegate follow
    alerts** in another.

    Every command that talks to Kafka takes **--broker host:port** or the variable TIDEGATE_BROKER; without either it
    uses the local broker of **tidegate broker up**.
    """


def root() -> Commands:
    """The whole command line."""
    app = typer.Typer(cls=Commands, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
    app.callback()(_root)
    group: Commands = typer.main.get_command(app)  # type: ignore[assignment]
    group.commands = {entry.name: entry.placeholder() for entry in COMMANDS}
    return group


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name); the exit code. Output goes to stdout and stderr."""
    try:
        root().main(list(arguments), prog_name="tidegate")
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except tuple(_user_errors()) as error:
        sys.stderr.write(f"tidegate: {error}\n")
        return FAILED
    return 0


def _user_errors() -> Iterator[type[Exception]]:
    for module, name in USER_ERRORS:
        if module in sys.modules and (found := getattr(sys.modules[module], name, None)):
            yield found


def main() -> None:
    """Entry point of the program."""
    for end in (signal.SIGTERM, signal.SIGHUP):  # so that what was started is stopped, as after Ctrl-C
        if signal.getsignal(end) is signal.SIG_DFL:  # `nohup` ignores SIGHUP
            signal.signal(end, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))
