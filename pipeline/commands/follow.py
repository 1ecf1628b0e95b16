"""`tidegate follow TOPIC`: what the pipeline writes, as it comes."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import msgspec
import typer

from pipeline.commands.lines import LINES, line
from pipeline.commands.shared import BrokerOption, UserError, broker_address, console, run_async
from topics.codec import Problem, decoder, problem_of
from topics.table import BY_ALIAS, Topic

POLL_S = 0.5
RECORDS_AT_ONCE_MAX = 500
QUIET_S_MAX = 10.0  # after so long without a record the broker is asked whether it is there

Followed = StrEnum("Followed", {alias: alias for alias in LINES})  # type: ignore[misc]


class Start(StrEnum):
    """Where to begin in each partition."""

    earliest = "earliest"
    latest = "latest"


class Record(NamedTuple):
    """A record as it lies in Kafka. `problem`: why nobody can read it; it has no bytes then."""

    partition: int
    offset: int
    value: bytes
    problem: Problem | None = None

    @classmethod
    def of(cls, partition: int, offset: int, value: bytes | Problem | None) -> "Record":
        """A tombstone has no bytes either."""
        if isinstance(value, Problem):
            return cls(partition, offset, b"", value)
        return cls(partition, offset, value or b"")


def follow(
    topic: Annotated[Followed, typer.Argument(help="What to watch.")],
    broker: BrokerOption = "",
    start: Annotated[
        Start, typer.Option("--from", help="`earliest`: all that is kept, then live. `latest`: only what comes now.")
    ] = Start.latest,
    json_lines: Annotated[
        bool, typer.Option("--json", help="The raw values, one a line (alerts and commands are CloudEvents).")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many records; 0: never.")] = 0,
    timeout: Annotated[float, typer.Option(min=0, help="Stop after so many seconds; 0: never.")] = 0,
    to_end: Annotated[
        bool, typer.Option("--to-end", help="Stop where the topic ended when the command began.")
    ] = False,
) -> None:
    """Print records live, a line each. Ctrl-C stops. Reads outside any consumer group: it disturbs nobody."""
    address = broker_address(broker)
    deadline = time.monotonic() + timeout if timeout else None
    with contextlib.suppress(KeyboardInterrupt):
        run_async(_follow(address, BY_ALIAS[topic.value], start, json_lines, limit, deadline, to_end))


async def _follow(
    address: str, topic: Topic, start: Start, json_lines: bool, limit: int, deadline: float | None, to_end: bool
) -> None:
    show = _raw if json_lines else _readable(topic)
    shown = 0
    async for record in records(address, topic, start is Start.earliest, to_end, deadline):
        show(record)
        shown += 1
        if shown == limit:
            return


def _raw(record: Record) -> None:
    sys.stdout.buffer.write(record.value + b"\n")
    sys.stdout.buffer.flush()


def _readable(topic: Topic) -> Any:
    out, decode = console(), decoder(topic)

    def show(record: Record) -> None:
        try:
            out.print(line(topic.alias, decode(record.value)))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            where = f"{topic.name} partition {record.partition} offset {record.offset}"
            problem = record.problem or problem_of(error)
            out.print(f"{where} is no {topic.alias} record: {problem.reason}", style="red", markup=False)

    return show


async def records(
    address: str, topic: Topic, from_start: bool, to_end: bool, deadline: float | None = None, last: int = 0
) -> AsyncIterator[Record]:
    """The records of a topic, in order per partition. Ends at `deadline` (time.monotonic) or, with `to_end`, where the
    topic ended at the beginning. `last`: no more than so many from before that end of each partition.

    Raises UserError when there is no such topic, KafkaUnreachableError without a broker: at the beginning, or when it
    has gone for more than QUIET_S_MAX.
    """
    from aiokafka import AIOKafkaConsumer, TopicPartition
    from aiokafka.errors import KafkaConnectionError

    from pipeline.fetched import fetched_records
    from pipeline.kafka_admin import KafkaUnreachableError, partition_counts, unreachable

    counts = await partition_counts(address)
    if topic.name not in counts:
        raise UserError(f"topic {topic.name} does not exist at {address}: run `tidegate topics create` first")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=address, enable_auto_commit=False, client_id="tidegate-follow", fetch_max_wait_ms=100
    )
    try:
        await consumer.start()
    except KafkaConnectionError as error:
        raise KafkaUnreachableError(unreachable(address)) from error
    try:
        places = [TopicPartition(topic.name, partition) for partition in range(counts[topic.name])]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places) if from_start else ends
        if last:
            begins = {place: max(begins[place], ends[place] - last) for place in places}
        for place in places:
            consumer.seek(place, begins[place])
        left = {place for place in places if begins[place] < ends[place]}
        heard_at = time.monotonic()
        while (left or not to_end) and (deadline is None or time.monotonic() < deadline):
            polled = await fetched_records(consumer._fetcher, places, _wait_s(deadline), {topic.name}, {})
            if polled:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > QUIET_S_MAX:
                await partition_counts(address)  # the consumer itself waits for a broker for ever, and says nothing
                heard_at = time.monotonic()
            for place, fetched in polled.items():
                for part in fetched.parts(RECORDS_AT_ONCE_MAX):
                    for offset, value in zip(part.offsets, part.values, strict=True):
                        if not to_end or offset < ends[place]:
                            yield Record.of(place.partition, offset, value)
            left = {place for place in left if await consumer.position(place) < ends[place]}
            await asyncio.sleep(0)
    finally:
        with contextlib.suppress(asyncio.CancelledError):  # of a fetch from a broker that has gone (aiokafka 0.14)
            await consumer.stop()


def _wait_s(deadline: float | None) -> float:
    return POLL_S if deadline is None else max(0.001, min(POLL_S, deadline - time.monotonic()))
