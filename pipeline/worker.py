"""The flow as a Faust application: one agent per log, rebalances, and a web page. With its transport, the only file
that imports faust."""

import asyncio
import atexit
import contextlib
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError

import classifiers
import detectors
from pipeline.chain import StateError, sources
from pipeline.changelog import FencedError
from pipeline.fetched import read_in_large_pieces
from pipeline.garbage import collect_rarely
from pipeline.group_offsets import GroupOffsets
from pipeline.heap import keep_freed_memory
from pipeline.heartbeats import Heartbeats
from pipeline.lane import GapError, Lane
from pipeline.lanes import Lanes, Place
from pipeline.publisher import Publisher
from pipeline.ticks import Ticks
from pipeline.transport import PARTITION_FETCH_BYTES_MAX, BatchConsumer, BatchTransport
from pipeline.watchdog import Progress, Watchdog
from pipeline.worker_options import WorkerOptions
from topics.table import BY_ALIAS, BY_NAME

logger = logging.getLogger("tidegate.worker")

BATCHES_BUFFERED_MAX = 8  # per source, between the consumer and the agent: bounds memory when a stage is slow
WATCHES_PER_LIMIT = 6  # how often the watchdog looks within the time after which it acts
HEARTBEATS_PER_SESSION = 4
METADATA_MS_MAX = 10_000
"""A broker that has just come back may not know its topics yet. Who leads the group then gives nobody anything until it
looks again, by the client's default in five minutes."""
ANOTHER_LOG_LOOKS = 5
ANOTHER_LOG_LOOK_S = 1.0
"""A broker that has just come to lead a partition may not know at once how far its log goes."""
STOP_S_MAX = 20.0  # for an orderly stop; without a broker it would never end


class RestartError(Exception):
    """Why the worker starts anew."""


class Worker:
    """The lanes of one process, fed by Faust agents."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.publisher = Publisher(options.broker, f"{options.group}-outputs")
        self.app = _faust_app(options, self)
        self.restart_because = ""  # set: the process begins anew when it has stopped
        self.told_to_stop: Callable[[], bool] = lambda: False  # by a signal, which also ends a restart
        self._stopping = False
        self._revoked: int | None = None  # the generation whose partitions were taken away
        self._lanes = Lanes(options, self.publisher)
        self._ticks = Ticks(options.broker, self.publisher, options.idle_tick_s)
        self._source_of = {BY_ALIAS[source].name: source for source in sources(options.stages)}
        for name, source in self._source_of.items():
            self._add_agent(name, source)
        self.app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        self.app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        for task in (self._write_checkpoints, self._send_ticks):
            self.app.task(task)

    def _add_agent(self, topic: str, source: str) -> None:
        channel = self.app.topic(topic, key_serializer="raw", value_serializer="raw", value_type=bytes)

        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    await self._handle((source, event.message.partition), event)
                    if stream.channel.queue.empty() and not cast(BatchConsumer, self.app.consumer).in_hand:
                        await self.publisher.send_now()
                except Exception as error:  # Faust would start the agent again and go on behind the lost batch
                    await self._crash(f"{source}: a batch failed", error)
                    raise

        self.app.agent(channel, name=source, concurrency=1)(agent)

    async def _handle(self, place: Place, event: Any) -> None:
        """One Faust message: a partition's batch of raw records.

        Left unacknowledged, for whoever holds the partition next: what comes while stopping, and what was fetched under
        an assignment that is over, since batches before it may have been cleared away. Never a batch of the assignment
        that holds, or the next one would jump over it: Faust may deliver before it signals that partitions are there.
        """
        if not self._holds(event):
            return
        lane = await self._lanes.at(place)
        if lane is None or not self._holds(event):  # a rebalance came while the state was read
            return
        if lane.has_had(event.message.value):
            await self._check_it_is_the_same_log(lane, event)
        try:
            await lane.handle(event, event.message.value)
        except GapError as gap:
            await self._close_gap(lane, event, gap)
        event.value = event.message.value = None  # kept until the next checkpoint, to be acknowledged: not its records
        if place[0] == "traffic":
            self._ticks.saw(place[1], lane.time_us)

    async def _check_it_is_the_same_log(self, lane: Lane, event: Any) -> None:
        """StateError where the log ends before what the state accounts for: all that comes would be taken for repeated,
        and passed over without a word. A log that has outgrown the former one cannot be told from it."""
        tp, position = event.message.tp, lane.chain.position
        for _ in range(ANOTHER_LOG_LOOKS):
            end = None
            with contextlib.suppress(KafkaError):  # a broker that does not answer now says nothing against the log
                end = (await self.app.consumer.highwaters(tp))[tp]
            if end is None or end > position or not self._holds(event):
                return
            await asyncio.sleep(ANOTHER_LOG_LOOK_S)
        raise StateError(
            f"{tp.topic}/{tp.partition} ends at offset {end}, and the state accounts for it up to {position}: the "
            "topic was deleted and created anew, or cut. State and outputs name their events by offset, so begin anew "
            "as a whole: stop the workers, delete all topics whose names begin with tidegate, `tidegate topics create`"
        )

    async def _close_gap(self, lane: Lane, event: Any, gap: GapError) -> None:
        """Fetch again what was passed over; what the log no longer holds is named, and given up."""
        tp = event.message.tp
        earliest = (await self.app.consumer.earliest_offsets(tp))[tp]
        if not self._holds(event):
            return
        if gap.begin <= earliest:
            if gap.wanted > 0:  # else a log of which this group has never read anything
                lost = f"records {gap.wanted} to {gap.begin - 1} were deleted before they were read"
                why = "the topic's retention is too short, or the worker was away too long"
                logger.error("%s/%d: %s; %s", *tp, lost, why)
            lane.pass_over(gap.begin)
            await lane.handle(event, event.message.value)
        else:
            logger.warning("%s/%d: %s: it is fetched again", *tp, gap)
            await self.app.consumer.seek(tp, gap.wanted)

    def _holds(self, event: Any) -> bool:
        generation = event.message.generation_id
        return bool(self._is_current(generation) and not self._stopping)

    def _is_current(self, generation: int) -> bool:
        return generation == self.app.consumer_generation_id and generation != self._revoked

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        """Partitions may come back with another worker's progress: forget the states, restore them when they do."""
        self._revoked = self.app.consumer_generation_id
        await self._lanes.close()
        await self.app.consumer.commit()

    async def _on_assigned(self, *given: Any, **_: Any) -> None:
        if not self._stopping:
            _app, assigned = given
            self._lanes.open(self._place(tp) for tp in sorted(assigned) if tp.topic in self._source_of)

    def _place(self, tp: Any) -> Place:
        return self._source_of[tp.topic], tp.partition

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
        if self.restart_because and not self.told_to_stop():
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves again
        os._exit(code)

    async def restart(self, reason: str) -> None:
        """Begin anew, as a new process: from the last checkpoints, with nothing remembered."""
        if not self._stopping:
            self._stopping = True
            self.restart_because = reason
            logger.error("%s; the worker starts anew", reason)
            await self.app.crash(RestartError(reason))

    async def _crash(self, what: str, error: Exception) -> None:
        """State and outputs may no longer agree: end here, and let the next process begin from the last checkpoint."""
        if isinstance(error, FencedError):
            await self.restart(f"{error}. This process was cut off or stood still for longer than the group waits")
        elif not self._stopping:
            self._stopping = True
            if isinstance(error, StateError):  # nothing is lost by leaving at once, and a traceback would tell nothing
                logger.error("%s", error)
                self.leave()
            logger.error("%s; the worker stops and will resume from the last checkpoint", what, exc_info=error)
            await self.app.crash(error)

    async def _write_checkpoints(self) -> None:
        while not self._stopping:
            try:
                await self._lanes.checkpoint(self.options.checkpoint_interval_s)
            except Exception as error:
                await self._crash("a checkpoint failed", error)

    async def _send_ticks(self) -> None:
        while not self._stopping:
            await asyncio.sleep(1.0)
            if not self._stopping:
                held = {tp.partition for tp in self.app.consumer.assignment() if tp.topic == BY_ALIAS["traffic"].name}
                try:
                    await self._ticks.send(held)
                except Exception as error:
                    await self._crash("a tick was not sent", error)

    def send_heartbeats(self) -> None:
        """While a step takes longer than the group waits."""
        consumer = cast(BatchConsumer, self.app.consumer)
        interval_s = self.options.session_timeout_s / HEARTBEATS_PER_SESSION
        Heartbeats(self.options.broker, self.options.group, consumer.membership, interval_s).start()

    async def watch(self) -> None:
        """Ask the broker how far the logs and the commits are; see pipeline.watchdog.

        From the start on: Faust begins its own tasks when it has been given partitions, which is one of the things that
        may never come.
        """
        watchdog = Watchdog(self.options.stuck_after_s)
        offsets = GroupOffsets(self.options.broker, self.options.group)
        while not self._stopping:
            await asyncio.sleep(self.options.stuck_after_s / WATCHES_PER_LIMIT)
            generation = self.app.consumer_generation_id
            consumer = cast(BatchConsumer, self.app.consumer)
            waits = consumer.is_rebalancing()
            held = [] if waits else [tp for tp in consumer.assignment() if tp.topic in self._source_of]
            try:
                told = await offsets.of(held)
            except (KafkaError, TimeoutError, OSError) as error:
                logger.warning("the broker does not tell how far its logs are: %r", error)
                await offsets.stop()
                watchdog.forget()
                continue
            now_s, stuck = time.monotonic(), ""
            if self._is_current(generation):
                stuck = watchdog.observe(now_s, {tp: self._progress(tp, *told[tp]) for tp in held})
            else:
                watchdog.forget_partitions()
            if stuck := stuck or watchdog.rebalancing(now_s, waits):
                await self.restart(stuck)
        await offsets.stop()

    def _progress(self, tp: Any, end: int, committed: int) -> Progress:
        lane = self._lanes.restored(self._place(tp))
        if lane is None:
            return Progress(end, committed, committed, committed, busy=True)
        return Progress(end, lane.chain.position + 1, lane.written + 1, committed, lane.busy)


class _App(faust.App):
    worker: Worker

    async def on_start(self) -> None:
        await self.worker.start()
        self.worker.send_heartbeats()
        self.add_future(self.worker.watch())
        await super().on_start()

    async def on_stop(self) -> None:
        await self.worker.stop()
        await super().on_stop()


def run(options: WorkerOptions, log_level: str = "INFO") -> None:
    """Run a worker until SIGINT or SIGTERM; exits the process. Faust itself tells warnings only."""
    if "detection" in options.stages:
        detectors.preload()  # seconds, at the first fit otherwise
    if "safety" in options.stages:
        classifiers.preload()
    collect_rarely()
    keep_freed_memory()
    read_in_large_pieces()
    worker = Worker(options)
    _log_to_stderr(log_level)
    logging.getLogger("mode.timers").setLevel(logging.ERROR)  # tells of every batch that outlasts a timer's interval
    process = faust.Worker(worker.app, loglevel="WARNING", redirect_stdouts=False, quiet=True)
    worker.told_to_stop = lambda: process._signal_stop_time is not None
    try:
        process.execute_from_commandline()
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
        broker_heartbeat_interval=options.session_timeout_s / HEARTBEATS_PER_SESSION,
        broker_commit_interval=0.5,
        broker_request_timeout=30.0,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_MS_MAX,
        consumer_max_fetch_size=PARTITION_FETCH_BYTES_MAX,
        stream_buffer_maxsize=BATCHES_BUFFERED_MAX,
        stream_recovery_delay=0.0,
        stream_wait_empty=False,  # lanes know what is in hand; Faust would wait for batches left for the next worker
    )
    app.worker = worker
    app.transport = BatchTransport(options.broker, app, frozenset(BY_NAME))
    return app
