"""The flow as a Faust application: one agent per log, the state in changelogs, a web page. With its transport, the only
file that imports faust."""

import asyncio
import atexit
import contextlib
import gc
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import faust

import detectors
from pipeline.chain import Chain, sources
from pipeline.changelog import Changelog, FencedError
from pipeline.flow import STAGES
from pipeline.intake import Intake
from pipeline.kafka_admin import latest_time_us
from pipeline.lane import Lane
from pipeline.publisher import Publisher, Ready
from pipeline.settings import Settings
from pipeline.transport import BatchTransport
from topics.codec import encoder
from topics.fields import SECOND_US
from topics.table import BY_ALIAS, BY_NAME
from topics.traffic import Tick

logger = logging.getLogger("tidegate.worker")

BATCHES_BUFFERED_MAX = 8  # per source, between the consumer and the agent: bounds memory when a stage is slow
GROUP = "tidegate"
STOP_S_MAX = 20.0  # for an orderly stop; without a broker it would never end


@dataclass(frozen=True)
class WorkerOptions:
    """How to run a worker. Times in seconds; `web_port` None: no web page."""

    broker: str
    partitions: Mapping[str, int]  # topic name -> number of partitions, as they are in Kafka
    stages: frozenset[str] = frozenset(STAGES)
    settings: Settings = field(default_factory=Settings)
    checkpoint_interval_s: float = 0.25
    idle_tick_s: float = 3.0
    session_timeout_s: float = 6.0
    web_port: int | None = None
    replicas: int = 1

    @property
    def group(self) -> str:
        """The consumer group: workers with the same stages share the partitions."""
        if self.stages == frozenset(STAGES):
            return GROUP
        return "-".join([GROUP, *(stage for stage in STAGES if stage in self.stages)])

    @property
    def changelogs(self) -> dict[str, int]:
        """The topics that hold the state, with their numbers of partitions: one a source."""
        return {self.changelog(source): self.partitions[BY_ALIAS[source].name] for source in sources(self.stages)}

    def changelog(self, source: str) -> str:
        """The topic that holds the state of a source's lanes."""
        return f"{self.group}-{source}-state-changelog"


def stages_of_group(group: str) -> frozenset[str]:
    """The stages whose state a consumer group of this name holds; none when it is not one of ours."""
    name, *stages = group.split("-")
    known = frozenset(stages) & frozenset(STAGES)
    return (known or frozenset(STAGES)) if name == GROUP and len(known) == len(stages) else frozenset()


class RestartError(Exception):
    """Why the worker starts anew."""


class StreamClock:
    """Event time of the traffic as this worker has seen it, going on by the wall clock once it stands still."""

    def __init__(self) -> None:
        self._time_us: int | None = None
        self._seen_at = 0.0

    def saw(self, time_us: int, now: float) -> None:
        if self._time_us is None or time_us > self._time_us:
            self._time_us, self._seen_at = time_us, now

    def at(self, now: float) -> int | None:
        """The event time to assume at `now` (monotonic seconds); None before the first event."""
        return None if self._time_us is None else self._time_us + int((now - self._seen_at) * SECOND_US)


class Worker:
    """The lanes of one process, fed by Faust agents."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.publisher = Publisher(options.broker, f"{options.group}-outputs")
        self.app = _faust_app(options, self)
        self._stopping = False
        self._assigned = False
        self._clock = StreamClock()
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._last_batch_at: dict[int, float] = {}
        self._intakes: dict[str, Intake] = {}
        self.restart_because = ""  # set: the process begins anew when it has stopped
        for source, rows in sources(options.stages).items():
            self._intakes[source] = Intake(source, rows[0].stage)
            self._add_agent(source)
        self.app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        self.app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        self.app.task(self._checkpoints)
        self.app.task(self._ticks)

    def _add_agent(self, source: str) -> None:
        topic = BY_ALIAS[source]
        channel = self.app.topic(topic.name, key_serializer="raw", value_serializer="raw", value_type=bytes)

        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    await self._handle(source, event)
                except Exception as error:  # Faust would start the agent again and go on behind the lost batch
                    self._stopping = True
                    logger.exception("%s: a batch failed; the worker stops and will resume before it", source)
                    await self.app.crash(error)
                    raise

        self.app.agent(channel, name=source, concurrency=1)(agent)

    async def _handle(self, source: str, event: Any) -> None:
        """One Faust message: a partition's batch of raw records.

        Left unacknowledged, for whoever holds the partition next: what comes while stopping or between two assignments,
        and what was fetched under an earlier assignment, since batches before it may have been cleared away.
        """
        if not self._holds(event):
            return
        partition = event.message.partition
        lane = self._lanes.get((source, partition)) or await self._restore(source, partition)
        if not self._holds(event):  # a rebalance came while the state was read
            await lane.close()
            return
        self._lanes[source, partition] = lane
        await lane.handle(event, event.message.value)
        if source == "traffic":
            now = time.monotonic()
            self._last_batch_at[partition] = now
            if lane.time_us is not None:
                self._clock.saw(lane.time_us, now)

    def _holds(self, event: Any) -> bool:
        current = event.message.generation_id == self.app.consumer_generation_id
        return current and self._assigned and not self._stopping

    async def _restore(self, source: str, partition: int) -> Lane:
        """A lane for a partition that came to this worker, with the state that its changelog holds."""
        began = time.monotonic()
        chain = Chain(source, self.options.stages, self.options.settings)
        changelog = Changelog(self.options.broker, self.options.changelog(source), partition)
        values, position = await changelog.open()
        chain.restore(values, position)
        gc.freeze()  # what was restored will mostly stay: the collector need not look at all of it again and again
        partitions = self.options.partitions[BY_ALIAS[source].name]
        lane = Lane(chain, self._intakes[source], self.publisher, partition, partitions, changelog)
        if chain.position < 0:
            logger.info("%s/%d: no state yet", source, partition)
        else:
            took_s = time.monotonic() - began
            what = f"{source}/{partition}: state restored up to offset {chain.position}"
            logger.info("%s: %d keys in %.1f s", what, len(values), took_s)
        return lane

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        """Partitions may come back with another worker's progress: forget the states, restore them when they do."""
        self._assigned = False
        lanes = list(self._lanes.items())
        self._lanes.clear()
        closed = await asyncio.gather(*(lane.close() for _, lane in lanes), return_exceptions=True)
        failed = []
        for ((source, partition), _lane), error in zip(lanes, closed, strict=True):
            if isinstance(error, FencedError):
                logger.warning("%s/%d: another worker has gone on from the last checkpoint", source, partition)
            elif isinstance(error, BaseException):
                failed.append(error)
        if failed:
            raise failed[0]
        await self.app.consumer.commit()

    async def _on_assigned(self, *_: Any, **__: Any) -> None:
        self._assigned = True

    async def start(self) -> None:
        """Connect the producer of outputs; before anything is consumed."""
        await self.publisher.start()

    async def stop(self) -> None:
        """Leave nothing to compute again; a kill instead of a stop only costs that.

        Batches still come in while Faust stops: they must not find their lanes gone and begin from an older state.
        """
        self._stopping = True
        timer = threading.Timer(STOP_S_MAX, self.leave)  # Faust waits for its consumer for ever when the broker is gone
        timer.daemon = True
        timer.start()
        try:
            async with asyncio.timeout(STOP_S_MAX / 2):
                await self._on_revoked()
        except Exception:
            logger.exception("the last checkpoint failed; the next worker resumes from the one before")
        with contextlib.suppress(Exception):
            async with asyncio.timeout(STOP_S_MAX / 4):
                await self.publisher.stop()

    def leave(self, code: int = 1) -> None:
        """End the process, or begin it anew; what is not checkpointed will be computed again."""
        if self.restart_because:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves again
        os._exit(code)

    async def _checkpoints(self) -> None:
        while not self._stopping:
            await asyncio.sleep(self.options.checkpoint_interval_s)
            if self._stopping:
                return
            try:
                await asyncio.gather(*(lane.checkpoint_if_due() for lane in list(self._lanes.values())))
            except FencedError as error:
                await self.restart(f"{error}. This process was cut off or stood still for longer than the group waits")
                return
            except Exception as error:  # state and outputs no longer agree: start again from the last checkpoint
                self._stopping = True
                logger.exception("checkpoint failed; the worker stops and will resume from the last one")
                await self.app.crash(error)
                return

    async def restart(self, reason: str) -> None:
        """Begin anew, as a new process: from the last checkpoints, with nothing remembered."""
        if not self._stopping:
            self._stopping = True
            self.restart_because = reason
            logger.error("%s; the worker starts anew", reason)
            await self.app.crash(RestartError(reason))

    async def _ticks(self) -> None:
        """Move on idle traffic partitions: an event time, logged, so that every replay sees the same."""
        encode = encoder(BY_ALIAS["traffic"])
        while not self._stopping:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            time_us = self._clock.at(now) or await self._time_of_others(now)
            if time_us is None or self._stopping:
                continue
            idle = [partition for partition in self._traffic_partitions() if self._idle(partition, now)]
            tick = encode(Tick(time_us=time_us))
            await self.publisher.send(
                [Ready(BY_ALIAS["traffic"].name, partition, None, tick, time_us // 1000) for partition in idle]
            )

    async def _time_of_others(self, now: float) -> int | None:
        """A worker whose partitions have never held anything takes the time from those of the others."""
        if not self._traffic_partitions():
            return None
        latest_us = await latest_time_us(self.options.broker, BY_ALIAS["traffic"].name)
        if latest_us < 0:
            return None
        self._clock.saw(latest_us, now)
        return latest_us

    def _traffic_partitions(self) -> list[int]:
        name = BY_ALIAS["traffic"].name
        return sorted(tp.partition for tp in self.app.consumer.assignment() if tp.topic == name)

    def _idle(self, partition: int, now: float) -> bool:
        return now - self._last_batch_at.get(partition, 0.0) > self.options.idle_tick_s


class _App(faust.App):
    worker: Worker

    async def on_start(self) -> None:
        await self.worker.start()
        await super().on_start()

    async def on_stop(self) -> None:
        await self.worker.stop()
        await super().on_stop()


def run(options: WorkerOptions, log_level: str = "INFO") -> None:
    """Run a worker until SIGINT or SIGTERM; exits the process. Faust itself tells warnings only."""
    detectors.preload()  # seconds, at the first fit otherwise
    gc.freeze()  # what was imported will not be collected: the collector need not look at it again
    gc.set_threshold(50_000, 20, 50)
    worker = Worker(options)
    _log_to_stderr(log_level)
    logging.getLogger("mode.timers").setLevel(logging.ERROR)  # tells of every batch that outlasts a timer's interval
    try:
        faust.Worker(worker.app, loglevel="WARNING", redirect_stdouts=False, quiet=True).execute_from_commandline()
    finally:
        if worker.restart_because:
            shutil.rmtree(worker.app.conf.datadir, ignore_errors=True)
            worker.leave()


def _log_to_stderr(level: str) -> None:
    """Our own log on its own handler: Faust sets up the root logger for itself."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    ours = logging.getLogger("tidegate")
    ours.setLevel(level)
    ours.addHandler(handler)
    ours.propagate = False


def _scratch_folder() -> str:
    """Faust wants a folder, although state in memory and in changelogs leaves nothing there; gone with the process."""
    folder = tempfile.mkdtemp(prefix="tidegate-faust-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _faust_app(options: WorkerOptions, worker: Worker) -> faust.App:
    app = _App(
        options.group,
        broker=[f"kafka://{address}" for address in options.broker.split(",")],
        store="memory://",
        datadir=_scratch_folder(),
        web_enabled=options.web_port is not None,
        web_port=options.web_port or 6066,
        web_bind="127.0.0.1",
        topic_disable_leader=True,
        topic_replication_factor=options.replicas,
        broker_session_timeout=options.session_timeout_s,
        broker_heartbeat_interval=options.session_timeout_s / 4,
        broker_commit_interval=0.5,
        broker_request_timeout=30.0,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=BATCHES_BUFFERED_MAX,
        stream_recovery_delay=0.0,
        stream_wait_empty=False,  # lanes know what is in hand; Faust would wait for batches left for the next worker
    )
    app.worker = worker
    app.transport = BatchTransport(options.broker, app, frozenset(BY_NAME))
    return app
