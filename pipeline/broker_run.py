"""Start, stop and look at the broker of one data folder; callers of the same folder wait for each other."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.broker_archive import drop_recording, keep_recording, new_recording, record_options, use_options
from pipeline.broker_folder import Folder, State, java_command
from pipeline.broker_install import KAFKA_VERSION, BrokerError, Installation, Progress, exclusive, resolve
from pipeline.broker_ports import LOOPBACK, accepts, ask_cluster_id, free_port, is_free, require_free
from pipeline.broker_process import POLL_INTERVAL_S, end_with_this_process, ends_within, is_alive

PORT_DEFAULT = 9092
PORT_MAX = 65535
HEAP_MB_DEFAULT = 384
HEAP_MB_MIN = 128
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
MAIN_CLASS = "kafka.Kafka"


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answers. `started` is False where it was running already."""

    address: str
    pid: int
    cluster_id: str
    data_dir: Path
    log: Path
    started: bool


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What is known of a data folder's broker; the fields of the process are None while none runs.

    `ready` tells whether it has just answered a metadata request; a broker that starts runs before it is ready.
    """

    running: bool
    ready: bool
    data_dir: Path
    log: Path
    kafka_version: str = KAFKA_VERSION
    cluster_id: str | None = None
    address: str | None = None
    pid: int | None = None
    uptime_s: int | None = None
    resident_mb: int | None = None


def default_data_dir() -> Path:
    """$TIDEGATE_HOME/broker, else tidegate/broker in the user's state folder."""
    if home := os.environ.get("TIDEGATE_HOME"):
        return Path(home).expanduser().absolute() / "broker"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state").absolute() / "tidegate" / "broker"


def up(
    data_dir: Path | None = None,
    port: int | None = None,
    *,
    heap_mb: int = HEAP_MB_DEFAULT,
    progress: Progress | None = None,
    start_timeout_s: float = START_TIMEOUT_S,
    die_with_parent: bool = False,
) -> Broker:
    """Start the folder's broker, detached, and return when it answers; do nothing where it runs already.

    `port` 0 takes a free one; None keeps the folder's last port, else PORT_DEFAULT. With `die_with_parent` the system
    kills the broker when this process ends, however it ends (Linux, and only when called from the main thread: the
    kernel ties the signal to the thread that forks). Raises BrokerError.
    """
    _check(port, heap_mb)
    folder = _folder(data_dir)
    folder.create()
    with exclusive(folder.lock):
        if process := _process(folder):
            return _already_running(folder, process, port, start_timeout_s)
        installation = resolve(progress)
        ports = _choose_ports(port, folder.read_state())
        try:
            folder.write_properties(*ports)
            folder.format(installation)
            process = _launch(folder, installation, heap_mb, ports, die_with_parent)
        except OSError as error:
            raise BrokerError(f"Kafka could not be started in {folder.path}: {error}") from error
        try:
            return _ready_broker(folder, process, ports[0], start_timeout_s, started=True)
        except BaseException:
            _kill(folder, process)
            raise


def down(data_dir: Path | None = None, *, stop_timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Stop the folder's broker in good order, by force after `stop_timeout_s`; False where none was running."""
    folder = _folder(data_dir)
    if not folder.lock.exists():
        return False
    with exclusive(folder.lock):
        process = _process(folder)
        if process:
            _stop(folder, process, stop_timeout_s)
        return process is not None


def kill(data_dir: Path) -> None:
    """End the folder's broker at once, as a crash would: for data that is thrown away, and for tests of crashes."""
    folder = _folder(data_dir)
    if process := _process(folder):
        _kill(folder, process)


def status(data_dir: Path | None = None) -> BrokerStatus:
    """The folder's broker as it is now; asks it for metadata where it runs."""
    folder = _folder(data_dir)
    process, state = _process(folder), folder.read_state()
    if not process or not state:
        return BrokerStatus(False, False, folder.path, folder.log, cluster_id=folder.cluster_id())
    try:
        with process.oneshot():
            uptime_s, resident_mb = int(time.time() - process.create_time()), process.memory_info().rss >> 20
    except psutil.NoSuchProcess:  # it has just ended
        return BrokerStatus(False, False, folder.path, folder.log, cluster_id=folder.cluster_id())
    return BrokerStatus(
        running=True,
        ready=accepts(state.port) and ask_cluster_id(state.port) is not None,
        data_dir=folder.path,
        log=folder.log,
        cluster_id=folder.cluster_id(),
        address=f"{LOOPBACK}:{state.port}",
        pid=process.pid,
        uptime_s=uptime_s,
        resident_mb=resident_mb,
    )


def _check(port: int | None, heap_mb: int) -> None:
    if heap_mb < HEAP_MB_MIN:
        raise BrokerError(f"a heap of {heap_mb} MB is too small for Kafka: give at least {HEAP_MB_MIN}")
    if port is not None and not 0 <= port <= PORT_MAX:
        raise BrokerError(f"{port} is no TCP port: choose one from 1024 to {PORT_MAX}, or 0 for any free one")


def _folder(data_dir: Path | None) -> Folder:
    return Folder((data_dir or default_data_dir()).expanduser().resolve())


def _process(folder: Folder) -> psutil.Process | None:
    """The living broker of this folder: the pid of broker.json, if its command line is still the one we start."""
    state = folder.read_state()
    if state is None:
        return None
    try:
        process = psutil.Process(state.pid)
        ours = is_alive(process) and process.cmdline()[-2:] == [MAIN_CLASS, str(folder.properties)]
    except psutil.Error:
        return None
    return process if ours else None


def _already_running(folder: Folder, process: psutil.Process, port: int | None, timeout_s: float) -> Broker:
    state = folder.read_state()
    assert state is not None
    if port not in (None, 0, state.port):
        raise BrokerError(
            f"the broker of {folder.path} already runs on port {state.port} (pid {process.pid}): "
            f"stop it first to move it to port {port}, or give another folder with --data"
        )
    return _ready_broker(folder, process, state.port, timeout_s, started=False)


def _ready_broker(folder: Folder, process: psutil.Process, port: int, timeout_s: float, *, started: bool) -> Broker:
    cluster_id = _wait_ready(folder, process, port, timeout_s)
    return Broker(f"{LOOPBACK}:{port}", process.pid, cluster_id, folder.path, folder.log, started)


def _choose_ports(port: int | None, state: State | None) -> tuple[int, int]:
    """The clients' port and the controller's; Kafka's quorum accepts a new controller port at any start."""
    chosen = free_port() if port == 0 else port or (state.port if state else PORT_DEFAULT)
    require_free(chosen)
    candidate = state.controller_port if state else chosen
    while candidate == chosen or not is_free(candidate):
        candidate = free_port()
    return chosen, candidate


def _launch(
    folder: Folder, installation: Installation, heap_mb: int, ports: tuple[int, int], die_with_parent: bool
) -> psutil.Process:
    recording = new_recording(installation)
    options = record_options(installation, recording) if recording else use_options(installation)
    command = java_command(installation, heap_mb, options, (MAIN_CLASS, str(folder.properties)))
    with folder.jvm_log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 — our own command line
            command,
            cwd=folder.path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_this_process() if die_with_parent else None,
        )
    child.returncode = 0  # detached: Popen shall neither wait for it nor warn that it still runs
    try:
        folder.write_state(State(child.pid, *ports, str(recording) if recording else None))
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)  # without a state nobody could find it again
        raise
    return psutil.Process(child.pid)


def _wait_ready(folder: Folder, process: psutil.Process, port: int, timeout_s: float) -> str:
    """The cluster id, once the broker has answered a metadata request with itself in it."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if not is_alive(process):
            raise BrokerError(f"Kafka ended while starting. {folder.log_tail()}")
        if accepts(port) and (cluster_id := ask_cluster_id(port)):
            if cluster_id != folder.cluster_id():
                raise BrokerError(f"another Kafka (cluster {cluster_id}) answers on port {port}: choose another --port")
            return cluster_id
        time.sleep(POLL_INTERVAL_S)
    raise BrokerError(f"Kafka (pid {process.pid}) did not answer within {timeout_s:.0f} s. {folder.log_tail()}")


def _stop(folder: Folder, process: psutil.Process, timeout_s: float) -> None:
    process.terminate()
    if not ends_within(process, timeout_s):
        _kill(folder, process)
        return
    state = folder.read_state()
    if state and state.recording:
        keep_recording(Path(state.recording))
        folder.write_state(State(state.pid, state.port, state.controller_port))


def _kill(folder: Folder, process: psutil.Process) -> None:
    """The whole process group: while a JVM writes its class archive it may have a child."""
    state = folder.read_state()
    with contextlib.suppress(ProcessLookupError):  # it may just have ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    ends_within(process, STOP_TIMEOUT_S)
    if state and state.recording:
        drop_recording(Path(state.recording))
