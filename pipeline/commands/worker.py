"""`tidegate worker`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.shared import BrokerOption, UserError, broker_address, console, run_async

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def worker(
    broker: BrokerOption = "",
    agents: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Stages to run, as `tidegate flow` names them; by default all.")
    ] = "",
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings in TOML; one section a stage.")] = None,
    web_port: Annotated[int, typer.Option(min=0, max=65535, help="Faust's web page on loopback; 0: none.")] = 0,
    replicas: Annotated[int, typer.Option(min=1, max=32, help="Copies of each changelog partition.")] = 1,
    session_timeout: Annotated[
        float,
        typer.Option(
            min=1.0, max=300.0, help="Seconds after which a worker that is not heard of loses its partitions."
        ),
    ] = 6.0,
    stuck_after: Annotated[
        float,
        typer.Option(min=1.0, max=3600.0, help="Seconds of a partition growing unprocessed until the worker restarts."),
    ] = 30.0,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Begin with empty state where another --agents set holds it or another version wrote it."
        ),
    ] = False,
    log_level: Annotated[str, typer.Option(help=f"One of {', '.join(LEVELS)}.")] = "INFO",
) -> None:
    """Run stages as Faust agents over Kafka until Ctrl-C or SIGTERM.

    Start as many as you like: workers with the same --agents share the partitions, and one that dies loses nothing.
    The topics must exist: `tidegate topics create`.
    """
    from pipeline.chain import check_stages
    from pipeline.flow import STAGES
    from pipeline.kafka_admin import consumer_groups, create_changelogs, require_topics
    from pipeline.settings import load
    from pipeline.worker import run
    from pipeline.worker_options import WorkerOptions

    if log_level.upper() not in LEVELS:
        raise UserError(f"--log-level is one of {', '.join(LEVELS)}, not {log_level!r}")
    stages = check_stages(name.strip() for name in agents.split(",")) if agents else frozenset(STAGES)
    settings = load(config)
    address = broker_address(broker)
    options = WorkerOptions(
        broker=address,
        partitions=run_async(require_topics(address)),
        stages=stages,
        settings=settings,
        web_port=web_port or None,
        replicas=replicas,
        session_timeout_s=session_timeout,
        stuck_after_s=stuck_after,
        fresh=fresh,
    )
    if not fresh:
        _refuse_to_start_over(options.group, stages, run_async(consumer_groups(address)))
    run_async(create_changelogs(address, options.changelogs, replicas))
    console(stderr=True).print(f"worker on {address}: {', '.join(name for name in STAGES if name in stages)}")
    run(options, log_level.upper())


def _refuse_to_start_over(group: str, stages: frozenset[str], groups: list[str]) -> None:
    """State belongs to a set of stages. Another set would begin anew: act on old commands, forget what is reserved."""
    from pipeline.worker_options import stages_of_group

    for other in groups:
        if other != group and (shared := stages_of_group(other) & stages):
            raise UserError(
                f"the state of {', '.join(sorted(shared))} belongs to workers of another --agents set (consumer group "
                f"{other}): start with the same set, or with --fresh to begin with empty state"
            )
