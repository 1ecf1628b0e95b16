"""`tidegate replay`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.shared import BrokerOption, UserError, broker_address, check_folder, console, counted, run_async

FORMATS = ("native", "azure", "burstgpt", "mooncake")
DRIVERS = ("kafka", "offline")


def replay(
    source: Annotated[str, typer.Argument(help="A recording, or `synthetic` for made-up traffic of measured shape.")],
    form: Annotated[
        str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}; by default found out from the file.")
    ] = "",
    speed: Annotated[str, typer.Option(help="Event seconds a second, or `max`.")] = "max",
    to: Annotated[
        str, typer.Option(help="`kafka`: into the traffic topic, for running workers; `offline`: no Kafka.")
    ] = "kafka",
    incidents: Annotated[
        str, typer.Option(help="`none`, `default` (one of each kind), or a file of JSON lines with start, end, kind.")
    ] = "none",
    seed: Annotated[int, typer.Option(help="For all that the recording does not say, and the incidents.")] = 1,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write report.html and report.json there.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings in TOML (offline only).")] = None,
    minutes: Annotated[int, typer.Option(min=1, help="Length of `synthetic` traffic.")] = 150,
    rate: Annotated[float, typer.Option(help="Requests a second of `synthetic` traffic.")] = 20.0,
    context: Annotated[
        bool, typer.Option(help="Also send deployments and GPU jobs of a made-up service, for commands to act upon.")
    ] = False,
    broker: BrokerOption = "",
) -> None:
    """Replay recorded traffic, with incidents if you like, and report what was found.

    Over Kafka the recording is moved in time so that it ends about now; workers must run (`tidegate worker`). Offline,
    the same stages run in this process and give the same verdicts, as fast as the processor allows.

    An incidents file has lines such as {"start": 3000, "end": 3600, "kind": "error_burst", "target": "tide-70b"}:
    seconds from the start, or ISO times. Kinds: error_burst, latency_spike, traffic_drop, token_surge, latency_leak.
    """
    from pipeline.commands import replaying, summary
    from pipeline.commands.board import Board
    from pipeline.settings import load
    from replay.synthesis import Synthesis

    pace = _pace(speed)
    if to not in DRIVERS:
        raise UserError(f"--to is {' or '.join(DRIVERS)}, not {to!r}")
    folder = report or Path("reports") / time.strftime("%Y%m%d-%H%M%S")
    check_folder(folder, "--report")
    spec = Synthesis(minutes * 60, rate, seed) if source == replaying.SYNTHETIC else None
    address = broker_address(broker) if to == "kafka" else ""
    out = console()
    found = replaying.find_source(source, form, seed, spec, pace, live=to == "kafka")
    planned = replaying.plan(found, incidents, seed)
    partitions = replaying.OFFLINE_PARTITIONS
    if to == "kafka":
        partitions = run_async(replaying.check_topic(address, found))
    out.print(
        f"{found.name}: {found.requests:,} requests, {found.duration_us / 60e6:.0f} minutes, "
        f"{counted(len(planned.incidents), 'incident')}"
    )
    with Board(out, found.name, found.start_us, found.duration_us, found.requests, planned.incidents) as board:
        if to == "kafka":
            ran = run_async(replaying.over_kafka(planned, address, board, pace, context))
        else:
            ran = replaying.offline(planned, load(config), board, context)
    judged = summary.judge(planned, ran)
    summary.show(out, planned, ran, judged)
    out.print(f"report: [bold]{summary.write_report(folder, to, partitions, planned, ran, judged)}[/]")
    if ran.settled and not ran.balanced:
        raise UserError(
            f"{ran.requests:,} requests and {ran.decisions:,} decisions: does somebody else send traffic, too?"
        )
    if not ran.settled:
        raise UserError("nothing more came back: is a worker running? (`tidegate worker`; its log says why it stopped)")


def _pace(speed: str) -> float | None:
    if speed == "max":
        return None
    try:
        value = float(speed)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e6:
        raise UserError(f"--speed is a number of event seconds a second, or `max`, not {speed!r}")
    return value
