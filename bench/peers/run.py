"""Runs one peer over one input: until every window is answered, or the input has been fetched."""

import asyncio
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from bench.peers.answers import check, complete, parse
from bench.peers.produce import create_topic, produce_closing
from bench.peers.table import PEERS, ROOT, Peer, Start
from bench.peers.work import Answer, Key, Work, exact
from pipeline.broker_process import end_with_this_process

SAMPLE_S = 0.25
IDLE_SAMPLES = 20
IDLE_SHARE = 0.1  # of one core, over IDLE_SAMPLES
BUSY_US_MIN = 1.5  # no peer has read everything before it has used this much processor time an event
RUN_S_MAX = 900.0
CLOSING_S_MAX = 60.0
STOP_S_MAX = 15.0
OUTPUT_OURS = "tidegate.windows.v1"
_NUMBERS = itertools.count(1)


class PeerError(Exception):
    """A peer that ended early, gave wrong answers or none; the message ends with its last words."""


@dataclass(frozen=True)
class Measured:
    """One run of one peer. `cpu_s`: user and system time of its processes from their start to the last answer.

    `wall_s`: from the start until everything was consumed. `rss_mb`: the most that was seen resident.
    """

    peer: str
    events: int
    cpu_s: float
    wall_s: float
    rss_mb: float

    @property
    def events_per_cpu_s(self) -> float:
        """Start-up and warm-up included."""
        return self.events / self.cpu_s


def steady_events_per_cpu_s(shorter: Measured, longer: Measured) -> float:
    """What an event costs once running: start-up and warm-up are in both runs and cancel out."""
    return (longer.events - shorter.events) / (longer.cpu_s - shorter.cpu_s)


async def run_peer(name: str, address: str, work: Work) -> Measured:
    """Run a peer over `work`, whose input is already in `work.topic` (see produce_input).

    Raises PeerError. Ours adds ticks to the input and keeps state: give it a broker of its own for each run.
    """
    peer = PEERS[name]
    label = f"peers-{name}-{os.getpid()}-{next(_NUMBERS)}"
    output = OUTPUT_OURS if peer.ours else label
    if peer.answers and not peer.ours:
        await create_topic(address, output, 1)
    state = Path(tempfile.mkdtemp(prefix=label))
    try:
        start = Start(address, work, label, output, state)
        with _process(peer, start) as running:
            return await _measured(peer, running, start)
    finally:
        shutil.rmtree(state, ignore_errors=True)


@dataclass
class _Running:
    """A started peer, watched by sampling. Children that have ended keep counting."""

    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    began: float = field(default_factory=time.monotonic)
    rss_mb: float = 0.0
    cpu_by_pid: dict[int, float] = field(default_factory=dict)
    history: list[float] = field(default_factory=list)

    def sample(self) -> float:
        """Processor seconds used so far, by the process and its children."""
        resident = 0
        for process in self._tree():
            try:
                times = process.cpu_times()
                resident += process.memory_info().rss
            except psutil.Error:
                continue
            self.cpu_by_pid[process.pid] = times.user + times.system
        self.rss_mb = max(self.rss_mb, resident / 1e6)
        self.history.append(sum(self.cpu_by_pid.values()))
        return self.history[-1]

    def _tree(self) -> Iterable[psutil.Process]:
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.Error:
            return []

    def idle(self) -> bool:
        """Whether hardly anything has been done over the last samples."""
        recent = self.history[-IDLE_SAMPLES - 1 :]
        return len(recent) > IDLE_SAMPLES and recent[-1] - recent[0] < IDLE_SHARE * IDLE_SAMPLES * SAMPLE_S

    def ended(self) -> bool:
        """Whether it has ended by itself, well; its processor time is then known exactly."""
        if self.process.returncode is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid == 0:
                return False
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_by_pid = {pid: usage.ru_utime + usage.ru_stime}
        if self.process.returncode != 0:
            raise PeerError(f"ended with {self.process.returncode}: {self.last_words()}")
        return True

    def check_alive(self) -> None:
        if self.ended():
            raise PeerError(f"ended too early: {self.last_words()}")

    def check_time(self) -> None:
        if time.monotonic() - self.began > RUN_S_MAX:
            raise PeerError(f"not done after {RUN_S_MAX:.0f} s: {self.last_words()}")

    def last_words(self) -> str:
        self.log.seek(0)
        return self.log.read()[-2_000:].decode(errors="replace")


@contextmanager
def _process(peer: Peer, start: Start) -> Iterator[_Running]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - the commands of our own table
            peer.command(start),
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=start.environment,
            preexec_fn=end_with_this_process(),
        )
        try:
            yield _Running(process, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _measured(peer: Peer, running: _Running, start: Start) -> Measured:
    work = start.work
    if peer.ends:
        await _until_ended(running)
    else:
        await _until_consumed(peer, running, start)
    wall_s = time.monotonic() - running.began - (0.0 if peer.ends else IDLE_SAMPLES * SAMPLE_S)
    if peer.answers:
        await _expect_answers(peer, running, start)
    return Measured(peer.name, work.events, running.sample(), wall_s, running.rss_mb)


async def _expect_answers(peer: Peer, running: _Running, start: Start) -> None:
    if not peer.ends:
        await produce_closing(start.address, start.work)
    answers = await _answers(start, CLOSING_S_MAX)
    if problems := check(answers, exact(start.work)):
        raise PeerError(
            f"{peer.name}: {len(problems)} wrong answers, {'; '.join(problems[:3])}: {running.last_words()}"
        )


async def _until_ended(running: _Running) -> None:
    while not running.ended():
        running.sample()
        running.check_time()
        await asyncio.sleep(SAMPLE_S)


async def _until_consumed(peer: Peer, running: _Running, start: Start) -> None:
    """Until a peer has read everything: it is idle, and where it commits offsets, nothing lies behind them."""
    while True:
        busy_enough = running.sample() > start.work.events * BUSY_US_MIN / 1e6
        if busy_enough and running.idle() and (not peer.commits or await _no_lag(start)):
            return
        running.check_alive()
        running.check_time()
        await asyncio.sleep(SAMPLE_S)


async def _no_lag(start: Start) -> bool:
    """Whether the peer's group has committed all of the input, and all that it has put in between by itself."""
    client = AIOKafkaAdminClient(bootstrap_servers=start.address)
    await client.start()
    try:
        committed = await client.list_consumer_group_offsets(start.name)
        places = [
            TopicPartition(found["topic"], partition["partition"])
            for found in await client.describe_topics()
            if found["topic"] == start.work.topic or start.is_between(found["topic"])
            for partition in found["partitions"]
        ]
    except GroupCoordinatorNotAvailableError:
        return False  # the broker is still setting up its first group
    finally:
        await client.close()
    async with AIOKafkaConsumer(bootstrap_servers=start.address) as consumer:
        ends = await consumer.end_offsets(places)
    return all(end == 0 or (place in committed and committed[place].offset >= end) for place, end in ends.items())


async def _answers(start: Start, wait_s: float) -> dict[Key, Answer]:
    """The last answer for each window, once all are complete, or what there is after `wait_s`."""
    answers: dict[Key, Answer] = {}
    want = exact(start.work)
    deadline = time.monotonic() + wait_s
    async with AIOKafkaConsumer(
        start.output, bootstrap_servers=start.address, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        while not complete(answers, want) and time.monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                answers.update(parse(record.value) for record in records)
    return answers
