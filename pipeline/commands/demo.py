"""`tidegate demo`: everything at once, on a broker of its own, and nothing left running afterwards."""

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipeline.commands.shared import UserError, broker_address, check_folder, console, progress_bar, run_async

SPEED = 100.0
PARTITIONS = 4
REPORT = Path("reports") / "demo"
WORKER_STOP_S = 4.0  # one that is killed loses nothing, here least of all
OPERATOR = "demo operator"
OPERATOR_THINKS_S = 1.0


def demo(
    traffic: Annotated[
        str, typer.Option(metavar="FILE", help="A recording to replay (azure, burstgpt, mooncake, native).")
    ] = "synthetic",
    speed: Annotated[float, typer.Option(min=1, max=1000, help="Event seconds a second.")] = SPEED,
    seed: Annotated[int, typer.Option(help="For the traffic and the incidents.")] = 1,
    report: Annotated[Path, typer.Option(metavar="DIR", help="Where report.html and report.json go.")] = REPORT,
    broker: Annotated[
        str,
        typer.Option(
            "--broker",
            envvar="TIDEGATE_BROKER",
            metavar="HOST:PORT",
            help="A Kafka of yours instead of one for the demo.",
        ),
    ] = "",
) -> None:
    """A broker, a worker and 2.5 hours of traffic at a hundred times its speed, with five incidents: about two minutes.

    Lines show what happens as it happens; a summary and a report (HTML, with plots) say what was detected, by what,
    what was done about it, what was missed. A command that cannot be undone waits for a person: here the demo's
    operator approves it. Everything that was started is stopped in the end, after Ctrl-C too.
    """
    from pipeline.commands import replaying, summary
    from replay.synthesis import Synthesis

    out = console()
    check_folder(report, "--report")
    spec = Synthesis(seed=seed) if traffic == replaying.SYNTHETIC else None
    replaying.plan(
        replaying.find_source(traffic, "", seed, spec, speed, live=True), "default", seed
    )  # a bad file fails now
    with _broker(out, broker) as address, tempfile.TemporaryDirectory(prefix="tidegate-demo-") as folder:
        partitions = run_async(_create_topics(address))
        with _worker(out, address, Path(folder) / "worker.log") as worker:
            source = replaying.find_source(traffic, "", seed, spec, speed, live=True)
            run_async(replaying.check_topic(address, source))
            planned = replaying.plan(source, "default", seed)
            ran = run_async(_watched(out, planned, address, speed, worker))
    judged = summary.judge(planned, ran)
    summary.show(out, planned, ran, judged)
    page = summary.write_report(report, "kafka", partitions, planned, ran, judged)
    _how_to_go_on(out, page)
    if not (ran.settled and ran.balanced):
        raise UserError("the run did not come to its end: some requests have no decision (see above)")


@contextlib.contextmanager
def _broker(out: Console, given: str) -> Iterator[str]:
    """The broker to use: the one given, or Apache Kafka for the length of the demo."""
    if given:
        out.print(f"using the broker at {broker_address(given)}")
        yield given
        return
    from pipeline.broker import KAFKA_VERSION, temporary_broker

    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        with progress_bar(f"Apache Kafka {KAFKA_VERSION}", None, "jars") as bar:

            def progress(jar: str, done: int, total: int) -> None:
                bar.update(bar.task_ids[0], completed=done, total=total, count=f"{done}/{total}")

            started = stack.enter_context(temporary_broker(progress=progress))
        out.print(f"Apache Kafka {KAFKA_VERSION} runs at {started.address} [dim]({time.monotonic() - began:.1f} s)[/]")
        try:
            yield started.address
        finally:
            out.print("[dim]stopping Kafka[/]")


async def _create_topics(address: str) -> int:
    from pipeline.kafka_admin import create_topics
    from topics.table import BY_ALIAS

    reports = await create_topics(address, PARTITIONS, 1)
    return next(report.partitions for report in reports if report.topic is BY_ALIAS["traffic"])


@contextlib.contextmanager
def _worker(out: Console, address: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker process while the block runs; its log is shown when it ends before it should."""
    from pipeline.broker_process import end_with_this_process

    command = [sys.executable, "-m", "pipeline", "worker", "--broker", address]
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the worker, once
            preexec_fn=end_with_this_process(),
        )
    out.print(f"a Faust worker runs all agents [dim](pid {process.pid})[/]")
    try:
        yield process
    except BaseException:
        if process.poll() is not None:
            out.print(f"[red]the worker ended with exit code {process.returncode}; the end of its log:[/]")
            out.print(log.read_text(errors="replace")[-3000:], markup=False)
        raise
    finally:
        out.print("[dim]stopping the worker[/]")
        process.terminate()
        try:
            process.wait(WORKER_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _watched(out: Console, planned: Any, address: str, speed: float, worker: "subprocess.Popen[bytes]") -> Any:
    """Replay with the board on screen and the operator at hand; fail at once when the worker dies."""
    from pipeline.commands.board import Board
    from pipeline.commands.replaying import over_kafka

    source = planned.source
    with Board(out, source.name, source.start_us, source.duration_us, source.requests, planned.incidents) as board:
        operator = _Operator(address, board)
        run = asyncio.create_task(over_kafka(planned, address, board, speed, True, [operator.hear]))
        death = asyncio.create_task(_died(worker))
        done, _ = await asyncio.wait((run, death), return_when=asyncio.FIRST_COMPLETED)
        for task in (run, death):
            task.cancel()
        await operator.finish()
        if run not in done:
            await asyncio.gather(run, return_exceptions=True)
            raise UserError("the worker died during the replay")
        return run.result()


async def _died(worker: "subprocess.Popen[bytes]") -> None:
    while worker.poll() is None:  # noqa: ASYNC110 - another process sets no event of ours
        await asyncio.sleep(0.5)


class _Operator:
    """The person that commands wait for, played by the demo: thinks for a second, then approves."""

    def __init__(self, address: str, board: Any) -> None:
        self._address = address
        self._board = board
        self._answers: list[asyncio.Task[None]] = []

    def hear(self, alias: str, value: Any) -> None:
        """Called with everything the pipeline writes."""
        if alias == "commands" and value.state == "pending_approval":
            self._answers.append(asyncio.create_task(self._approve(value)))

    async def finish(self) -> None:
        await asyncio.gather(*self._answers)

    async def _approve(self, command: Any) -> None:
        from pipeline.publisher import Publisher, Ready
        from topics.codec import encoder
        from topics.control import Approval
        from topics.table import BY_ALIAS

        await asyncio.sleep(OPERATOR_THINKS_S)
        approval = Approval(
            id=f"demo-{command.command}", time_us=command.time_us, command=command.command, approved=True, by=OPERATOR
        )
        publisher = Publisher(self._address, "tidegate-demo-operator")
        await publisher.start()
        topic = BY_ALIAS["control"]
        ready = Ready(topic.name, 0, approval.id.encode(), encoder(topic)(approval))
        await asyncio.gather(*await publisher.send([ready]))
        await publisher.stop()
        self._board.tell(
            command.time_us, "operator", [(f"approves {command.command}: {command.action} {command.target}", "magenta")]
        )


def _how_to_go_on(out: Console, page: Path) -> None:
    out.print(f"\nfull report, with plots: [bold]{page}[/]")
    out.print("to go on: [bold]tidegate broker up[/], [bold]tidegate topics create[/], [bold]tidegate worker[/]; then")
    out.print(
        "  [bold]tidegate follow alerts[/]    (also decisions, commands, windows, jobs, invalidations, dead-letters)"
    )
    out.print("  [bold]tidegate status[/]           what is open, how sensitive, and why; [bold]tidegate feedback[/]")
    out.print("  [bold]tidegate produce FILE[/]     your own traffic; or from any Kafka client, as the README shows")
    out.print("  [bold]tidegate replay azure-llm-2023-conv.csv --incidents default[/]   a recording of yours")
    out.print("[dim](the commands are in .venv/bin; --help tells more)[/]")
