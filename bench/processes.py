"""The processes that are measured: Tidegate's worker, started as a user would, and the broker beside it."""

import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

ROOT = Path(__file__).parent.parent
STOP_S_MAX = 30.0
LAST_WORDS = 2_000


class WorkerError(Exception):
    """A worker that ended by itself; the message ends with its last words."""


class WorkerProcess:
    """`tidegate worker`, in a process of its own. Times in seconds of processor time, user and system."""

    def __init__(self, address: str, agents: str) -> None:
        command = [sys.executable, "-m", "pipeline", "worker", "--broker", address]
        if agents != "all":
            command += ["--agents", agents]
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the worker may write
        self.began = time.perf_counter()
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd=ROOT)  # noqa: S603 - ourselves
        self._watched = psutil.Process(self._process.pid)

    def cpu_s(self) -> float:
        """Processor time since its start; raises WorkerError when it has ended."""
        self.check()
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def resident_mb(self) -> float:
        self.check()
        return float(self._watched.memory_info().rss / 1e6)

    def check(self) -> None:
        if (code := self._process.poll()) is not None:
            raise WorkerError(f"the worker ended by itself with {code}: {self.log()[-LAST_WORDS:]}")

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def kill(self) -> None:
        """As a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def cpu_s_of(pid: int) -> float:
    """Processor time of any process since its start."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def machine_busy_s() -> float:
    """Processor time that all processes of the machine have used since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


@dataclass(frozen=True)
class Shares:
    """How many cores each used over a measurement; `others`: whatever else ran on the machine meanwhile."""

    worker: float
    broker: float
    ourselves: float
    others: float

    def __str__(self) -> str:
        named = (("worker", self.worker), ("broker", self.broker), ("bench", self.ourselves), ("others", self.others))
        return "cores used: " + ", ".join(f"{name} {cores:.2f}" for name, cores in named)


@dataclass(frozen=True)
class Moment:
    """The clock and the processor times at one moment."""

    at_s: float
    worker_s: float
    broker_s: float
    ourselves_s: float
    machine_s: float

    def shares_since(self, before: "Moment") -> Shares:
        wall_s = self.at_s - before.at_s
        worker, broker = self.worker_s - before.worker_s, self.broker_s - before.broker_s
        ourselves = self.ourselves_s - before.ourselves_s
        others = max(0.0, self.machine_s - before.machine_s - worker - broker - ourselves)
        return Shares(worker / wall_s, broker / wall_s, ourselves / wall_s, others / wall_s)


def moment(workers: list[WorkerProcess], broker_pid: int) -> Moment:
    """Now. Processor time of several workers is added up."""
    return Moment(
        time.perf_counter(),
        sum(worker.cpu_s() for worker in workers),
        cpu_s_of(broker_pid),
        time.process_time(),
        machine_busy_s(),
    )
