"""Worker processes under a supervisor that starts again whatever ends by itself, as systemd or Kubernetes would."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.broker_process import end_with_this_process

BACKOFF_S = 0.5
STOP_S_MAX = 60.0

Say = Callable[[str], None]


class Member:
    """One worker. `wanted`: whether it shall run; `exits`: the codes with which it ended by itself."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self.wanted = False
        self.exits: list[int] = []
        self._command = command
        self._log_file = log
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = 0.0

    @property
    def runs(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """All that it has said, in all its lives."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def start(self, after_s: float = 0.0) -> None:
        """Want it to run; the next look starts it, not before `after_s`."""
        self.wanted = True
        self._start_at = time.monotonic() + after_s

    def look(self, say: Say) -> None:
        """Note an end that nobody asked for, and start what shall run and does not."""
        if self._process is not None and self._process.poll() is not None:
            if self.wanted:
                self.exits.append(self._process.returncode)
                say(f"worker {self.name} ended by itself with code {self._process.returncode}: started again")
                self.start(BACKOFF_S)
            self._process = None
        if self.wanted and self._process is None and time.monotonic() >= self._start_at:
            with self._log_file.open("ab") as sink:
                self._process = subprocess.Popen(
                    self._command,
                    stdout=sink,
                    stderr=sink,
                    stdin=subprocess.DEVNULL,
                    preexec_fn=end_with_this_process(),
                )

    def kill(self) -> None:
        """As the out-of-memory killer would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)

    def leave(self) -> None:
        """Ask it to stop in order, and want it no more. It may be frozen: then it stops when it wakes."""
        self.wanted = False
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stopped(self) -> int:
        """The exit code of a member that was asked to leave; -9 after too long."""
        if self._process is None:
            return 0
        self.wake()
        try:
            code = self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL
        self._process = None
        return code


def worker_command(address: str, session_s: float, mutant: str = "") -> list[str]:
    """The command line of a worker; of one that does something wrong where a mutant is named."""
    module = ["tests.oracle.mutant", mutant] if mutant else ["pipeline"]
    return [sys.executable, "-m", *module, "worker", "--broker", address, "--session-timeout", str(session_s)]
