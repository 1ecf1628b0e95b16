"""What lies in a broker's data folder, which is also the working directory of its Java process.

    server.properties   written at each start: kafka.properties and the lines for this folder and its ports
    broker.json         the process that was last started here, see State
    data/               Kafka's storage; its existence means that it has been formatted, whole
    logs/               broker.0.log (newest), broker.1.log, broker.2.log; jvm.log, what Java itself printed

Paths inside server.properties are relative to the folder, so that no character in a folder's name needs escaping.
"""

import base64
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.broker_archive import use_options
from pipeline.broker_install import BrokerError, Installation
from pipeline.broker_ports import LOOPBACK

COMMON_PROPERTIES = Path(__file__).with_name("kafka.properties")
LOGGING_PROPERTIES = Path(__file__).with_name("kafka-logging.properties")
FORMAT_TIMEOUT_S = 60
FORMAT_HEAP_MB = 96
TAIL_LINES_MAX = 12
TAIL_BYTES_MAX = 16_384

JVM_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # a broker is soon warm and mostly moves bytes: less processor time and memory than C2
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:ErrorFile=logs/hs_err.log",
    "-Djava.awt.headless=true",
    f"-Djava.util.logging.config.file={LOGGING_PROPERTIES}",
)


class State(msgspec.Struct, frozen=True):
    """The process last started in a folder, the ports it was given, and the class archive it writes when it ends."""

    pid: int
    port: int
    controller_port: int
    recording: str | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """One broker's data folder."""

    path: Path

    @property
    def properties(self) -> Path:
        return self.path / "server.properties"

    @property
    def storage(self) -> Path:
        return self.path / "data"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def jvm_log(self) -> Path:
        return self.logs / "jvm.log"

    @property
    def log(self) -> Path:
        return self.logs / "broker.0.log"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def state_file(self) -> Path:
        return self.path / "broker.json"

    def create(self) -> None:
        """Make the folder and its logs folder. Raises BrokerError where it cannot be written."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.lock.touch()
        except OSError as error:
            raise BrokerError(f"the data folder cannot be used: {error}; choose another with --data") from error

    def read_state(self) -> State | None:
        """The last state written, None without one or where it is unreadable."""
        try:
            return msgspec.json.decode(self.state_file.read_bytes(), type=State)
        except (OSError, msgspec.DecodeError):
            return None

    def write_state(self, state: State) -> None:
        fresh = self.state_file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(state))
        fresh.replace(self.state_file)

    def clear_state(self) -> None:
        self.state_file.unlink(missing_ok=True)

    def write_properties(self, port: int, controller_port: int) -> None:
        """server.properties for one node that listens on loopback only."""
        plain, controller = f"{LOOPBACK}:{port}", f"{LOOPBACK}:{controller_port}"
        own = {
            "listeners": f"PLAINTEXT://{plain},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{plain}",
            "controller.quorum.bootstrap.servers": controller,
            "log.dirs": self.storage.name,
        }
        lines = "".join(f"{key}={value}\n" for key, value in own.items())
        self.properties.write_text(f"{COMMON_PROPERTIES.read_text()}\n# This folder and its ports.\n{lines}")

    def cluster_id(self) -> str | None:
        """The cluster id that the storage was formatted with, None before that."""
        try:
            lines = (self.storage / "meta.properties").read_text().splitlines()
        except OSError:
            return None
        return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), None)

    def format(self, installation: Installation) -> None:
        """Format new storage aside and move it into place in one step. Needs server.properties; does nothing twice."""
        if self.cluster_id() is not None:
            return
        if self.storage.exists():
            raise BrokerError(f"{self.storage} exists but is no Kafka storage: choose another folder with --data")
        aside = self.path / "formatting"
        shutil.rmtree(aside, ignore_errors=True)
        (aside / self.logs.name).mkdir(parents=True)
        tool = ("kafka.tools.StorageTool", "format", "--standalone", "-t", new_cluster_id(), "-c", str(self.properties))
        _run(java_command(installation, FORMAT_HEAP_MB, use_options(installation), tool), aside)
        (aside / self.storage.name).replace(self.storage)
        shutil.rmtree(aside)

    def log_tail(self) -> str:
        """The last lines of what Java printed and of Kafka's log, for an error message."""
        return "\n".join(f"{path}:\n{_tail(path)}" for path in (self.jvm_log, self.log) if path.exists())


def java_command(
    installation: Installation, heap_mb: int, options: tuple[str, ...], program: tuple[str, ...]
) -> list[str]:
    """The command line that runs a main class of Kafka's, with its arguments, on the verified jars.

    Half of the heap is for what is young, from the beginning: a heap that starts small has a collection of 5 to 12 ms
    every half a second at 10,000 requests/s, and one of 50 ms each time it grows.
    """
    classpath = ":".join(map(str, installation.jars))
    heap = (f"-Xmx{heap_mb}m", f"-Xms{heap_mb}m", f"-Xmn{heap_mb // 2}m")
    return [str(installation.java.path), *heap, *JVM_OPTIONS, *options, "-cp", classpath, *program]


def new_cluster_id() -> str:
    """A random UUID as Kafka writes it: 22 characters of URL-safe base64, the first of them no dash."""
    first, *rest = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")


def _run(command: list[str], directory: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603 — our own command line
            command, cwd=directory, capture_output=True, text=True, errors="replace", timeout=FORMAT_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerError(f"Kafka's storage could not be formatted: {error}") from error
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-TAIL_LINES_MAX:]
        raise BrokerError("Kafka's storage could not be formatted; its tool said:\n" + "\n".join(lines))


def _tail(path: Path) -> str:
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - TAIL_BYTES_MAX))
        lines = handle.read().decode(errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-TAIL_LINES_MAX:])
