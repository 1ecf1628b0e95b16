"""What the end-to-end tests share: worker processes, replays, and Kafka's logs read whole."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console

from pipeline.commands.board import Board
from pipeline.commands.replaying import Plan, Ran, over_kafka
from pipeline.intake import Raw
from pipeline.kafka_admin import admin, create_topics, group_names, partition_counts
from pipeline.settings import Settings
from replay.offline import Offline
from topics.codec import decoder
from topics.control import Relayed
from topics.table import BY_ALIAS

PARTITIONS = 4
CATCH_UP_S = 60.0
OUTPUTS = (
    "decisions",
    "windows",
    "anomalies",
    "alerts",
    "incidents",
    "thresholds",
    "commands",
    "jobs",
    "invalidations",
)
LOGS = ("control", "traffic", "slices")


class WorkerProcess:
    """A `tidegate worker` of its own process, which a test may kill and start again. `log` collects its output."""

    def __init__(self, address: str, log: Path, *options: str) -> None:
        self._command = [sys.executable, "-m", "pipeline", "worker", "--broker", address, *options]
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as sink:
            self.process = subprocess.Popen(self._command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """As the out-of-memory killer would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)


@contextlib.contextmanager
def worker(address: str, folder: Path, *options: str) -> Iterator[WorkerProcess]:
    """Topics, and a running worker."""
    asyncio.run(create_topics(address, PARTITIONS, 1))
    log = folder / "worker.log"
    running = WorkerProcess(address, log, *options)
    running.start()
    try:
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.stop()
        print(log.read_text(errors="replace")[-5000:])  # noqa: T201 - pytest shows it when the test fails


async def replayed(planned: Plan, address: str, speed: float | None = None, with_context: bool = False) -> Ran:
    """Replay into Kafka and wait for all that comes of it."""
    source = planned.source
    console = Console(quiet=True)
    with Board(console, source.name, source.start_us, source.duration_us, source.requests, planned.incidents) as board:
        ran = await over_kafka(planned, address, board, speed, with_context)
    await caught_up(address)
    return ran


Place = tuple[str, int]


async def committed(address: str) -> dict[str, dict[Place, int]]:
    """What every consumer group has committed: group -> (topic, partition) -> offset."""
    async with admin(address) as client:
        found = {name: await client.list_consumer_group_offsets(name) for name in await group_names(client)}
    return {
        group: {(tp.topic, tp.partition): at.offset for tp, at in offsets.items()} for group, offsets in found.items()
    }


async def caught_up(address: str) -> None:
    """Wait until all workers have committed all there is: with outputs acknowledged first, nothing is under way."""
    async with asyncio.timeout(CATCH_UP_S), AIOKafkaConsumer(bootstrap_servers=address) as consumer:
        while True:
            held = [item for offsets in (await committed(address)).values() for item in offsets.items()]
            ends = await consumer.end_offsets({TopicPartition(*place) for place, _ in held})
            if held and all(at >= ends[TopicPartition(*place)] for place, at in held):
                return


class Found(NamedTuple):
    partition: int
    offset: int
    time_us: int
    raw: bytes | None
    value: Any


async def read_async(address: str, alias: str) -> list[Found]:
    """A whole topic; values decoded, except of traffic, which may hold what does not decode."""
    topic = BY_ALIAS[alias]
    decode = decoder(topic)
    counts = await partition_counts(address)
    places = [TopicPartition(topic.name, number) for number in range(counts[topic.name])]
    found: list[Found] = []
    async with AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False) as consumer:
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, begins[place])
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    value = decode(record.value) if alias != "traffic" else None
                    found.append(Found(place.partition, record.offset, record.timestamp * 1000, record.value, value))
    return found


def read(address: str, alias: str) -> list[Found]:
    """As `read_async`, where no loop runs."""
    return asyncio.run(read_async(address, alias))


def read_log(address: str, alias: str) -> dict[int, list[Raw]]:
    """A whole log, by partition."""
    log: dict[int, list[Raw]] = {}
    for found in read(address, alias):
        log.setdefault(found.partition, []).append(Raw(found.offset, found.time_us, found.raw))
    return log


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The first ids whose records differ, with both."""
    ids = sorted(ours.keys() | theirs.keys())
    return [f"{each}: {ours.get(each)} != {theirs.get(each)}" for each in ids if ours.get(each) != theirs.get(each)][:3]


def offline_from_logs(address: str) -> dict[str, dict[str, Any]]:
    """What one process that never dies makes of the three recorded logs: topic alias -> id -> record."""
    outputs: dict[str, dict[str, Any]] = {alias: {} for alias in (*OUTPUTS, "slices", "dead-letters")}

    def sink(alias: str, key: str, value: Any) -> None:
        if alias in outputs and not isinstance(value, Relayed):
            outputs[alias][value.id] = value

    driver = Offline(Settings(), sink, partitions=PARTITIONS, recorded=LOGS)
    processed = asyncio.run(committed(address)).values()
    for log in LOGS:
        for partition, raws in sorted(read_log(address, log).items()):
            place = (BY_ALIAS[log].name, partition)
            end = min(offsets[place] for offsets in processed if place in offsets)
            driver.feed_log(log, partition, [raw for raw in raws if raw.offset < end])  # a last tick may lie behind it
    return outputs


def assert_same_as_offline(address: str) -> None:
    """Every output topic holds, record for record, what the logs say."""
    offline = offline_from_logs(address)
    for alias in OUTPUTS:
        found = differences(once(read(address, alias)), offline[alias])
        assert not found, f"{alias}: recorded != offline: {found}"


def once(found: list[Found]) -> dict[str, Any]:
    """Records by id; one that came twice must say the same both times."""
    records: dict[str, Any] = {}
    for each in found:
        known = records.setdefault(each.value.id, each.value)
        assert known == each.value, f"{each.value.id} came twice, with different content"
    return records
