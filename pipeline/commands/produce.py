"""`tidegate produce FILE|-`: JSON lines of traffic and control events into Kafka.

The producer keeps the promises that any Kafka client must keep: the record key is the topic's key field, the partition
is Kafka's default (murmur2 of the key), the record's timestamp is the event's time.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import IO, Annotated, Any, get_args

import msgspec
import typer

from pipeline.commands.shared import (
    TASK,
    BrokerOption,
    UserError,
    broker_address,
    console,
    opened_input,
    progress_bar,
    run_async,
    size_bytes,
)
from topics.codec import FUTURE_US_MAX, Problem, decoder, partition_of, problem_of
from topics.configuration import duration_text
from topics.table import BY_ALIAS, RECORD_BYTES_MAX, Topic

READ_BYTES = 1 << 18
VALUE_BYTES_MAX = RECORD_BYTES_MAX - 4096  # what Kafka puts around a value counts towards its limit
IN_FLIGHT_MAX = 256  # batches handed to the producer and not yet acknowledged
PROBLEMS_SHOWN_MAX = 20

ROUTES: dict[str, Topic] = {
    member.__struct_config__.tag: topic
    for topic in (BY_ALIAS["traffic"], BY_ALIAS["control"])
    for member in get_args(topic.values)
}
"""Event type -> topic. What has no known type goes to the traffic topic, whose dead letters will name it."""


TRAFFIC = BY_ALIAS["traffic"]


class _Envelope(msgspec.Struct):
    type: str = ""


@dataclass
class Tally:
    """What was read and sent."""

    lines: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    unsent: int = 0
    old: int = 0
    problems: list[str] = field(default_factory=list)
    hidden: int = 0

    def problem(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_SHOWN_MAX:
            self.problems.append(f"line {self.lines}: {text}")
        else:
            self.hidden += 1


@dataclass(frozen=True)
class Routed:
    """One line with its place. `problem` is why it is no event, if so; `time_us` its event time, if it has one."""

    topic: Topic
    key: bytes | None
    time_us: int | None
    problem: Problem | None


_envelope = msgspec.json.Decoder(_Envelope)
_anything = msgspec.json.Decoder()
_decoders = {topic.alias: decoder(topic) for topic in ROUTES.values()}


def route(line: bytes) -> Routed:
    """Where a line belongs. Never raises: what cannot be read belongs to the traffic topic's dead letters."""
    topic = TRAFFIC
    try:
        topic = ROUTES.get(_envelope.decode(line).type, topic)
        event = _decoders[topic.alias](line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Routed(topic, _key_in(line, topic.key), None, problem_of(error))
    key = getattr(event, topic.key, "")
    return Routed(topic, key.encode() or None, getattr(event, "time_us", None), None)


def _key_in(line: bytes, key_field: str) -> bytes | None:
    """The key in a line that is JSON but no valid event: its dead letter then stands among its neighbours."""
    try:
        found = _anything.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    key = found.get(key_field) if isinstance(found, dict) else None
    return key.encode("utf-8", "surrogatepass") if isinstance(key, str) and key else None


def produce(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON lines; .gz is unpacked; - is standard input.")],
    broker: BrokerOption = "",
    check: Annotated[
        bool, typer.Option("--check", help="Do not send lines that are no valid event; name them and exit with 1.")
    ] = False,
) -> None:
    """Send traffic and control events.

    Each line is one JSON object; its "type" (request, completion, deployment, maintenance, launch, plan, feedback,
    approval, job, ...) decides the topic. `tidegate topics doc` describes every field. Invalid lines are sent too, so
    that the pipeline's dead letters tell of them; with --check they are held back.
    """
    tally = run_async(_produce(broker_address(broker), file, check))
    _report(tally, check)


def _report(tally: Tally, check: bool) -> None:
    out, errors = console(), console(stderr=True)
    for problem in tally.problems:
        errors.print(problem, markup=False)
    if tally.hidden:
        errors.print(f"... and {tally.hidden} more")
    counts = ", ".join(f"{count} to {name}" for name, count in sorted(tally.sent.items())) or "nothing sent"
    out.print(f"{tally.lines} lines: {counts}; {tally.bad} invalid, {tally.unsent} not sent")
    if tally.old:
        kept = duration_text(TRAFFIC.retention_ms)
        errors.print(
            f"warning: {tally.old} events are older than the {kept} that the traffic topic is kept; Kafka will soon "
            "delete them. `tidegate replay` moves recorded traffic to now"
        )
    if tally.unsent:
        what = "are no valid events (see above)" if check else f"are over {VALUE_BYTES_MAX} bytes"
        raise UserError(
            f"{tally.unsent} of {tally.lines} lines {what} and were not sent: correct them and send them again"
        )


async def _produce(address: str, file: str, check: bool) -> Tally:
    from aiokafka.errors import KafkaConnectionError

    from pipeline.kafka_admin import KafkaUnreachableError, partition_counts, unreachable
    from pipeline.publisher import Publisher

    counts = await partition_counts(address)
    for topic in set(ROUTES.values()):
        if topic.name not in counts:
            raise UserError(f"topic {topic.name} does not exist at {address}: run `tidegate topics create` first")
    publisher = Publisher(address, "tidegate-produce")
    try:
        await publisher.start()
    except KafkaConnectionError as error:
        raise KafkaUnreachableError(unreachable(address)) from error
    try:
        with opened_input(file) as stream, progress_bar(f"sending {file}", size_bytes(file), "lines") as progress:
            return await _send_all(publisher, counts, stream, check, progress)
    finally:
        await publisher.stop()


async def _send_all(publisher: Any, counts: dict[str, int], stream: IO[bytes], check: bool, progress: Any) -> Tally:
    tally = Tally()
    pending: set[asyncio.Future[Any]] = set()
    async for lines, size in _line_groups(stream):
        pending.update(await publisher.send(list(_records(lines, counts, check, tally))))
        if len(pending) > IN_FLIGHT_MAX:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*done)
        progress.update(TASK, advance=size, count=f"{tally.lines:,}")
    await asyncio.gather(*pending)
    return tally


async def _line_groups(stream: IO[bytes]) -> AsyncIterator[tuple[list[bytes], int]]:
    """Whole lines as they come, with the bytes read for them: a live pipe is not held back to fill a buffer."""
    read = getattr(stream, "read1", stream.read)
    rest = b""
    while chunk := await asyncio.to_thread(read, READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines, len(chunk)
    if rest:
        yield [rest], 0


def _records(lines: list[bytes], counts: dict[str, int], check: bool, tally: Tally) -> Iterator[Any]:
    from pipeline.publisher import Ready

    now_us = time.time_ns() // 1000
    for raw in lines:
        line = raw.rstrip(b"\r")
        tally.lines += 1
        routed = route(line)
        tally.bad += routed.problem is not None
        if routed.problem:
            tally.problem(
                f"{routed.problem.reason} {routed.problem.field and f'(field {routed.problem.field})'}".rstrip()
            )
        if len(line) > VALUE_BYTES_MAX or (check and routed.problem):
            tally.unsent += 1
            if not routed.problem:
                tally.problem(f"{len(line)} bytes are over the limit of {VALUE_BYTES_MAX}")
            continue
        name = routed.topic.name
        partition = partition_of(routed.key, counts[name]) if routed.key else tally.lines % counts[name]
        tally.sent[name] += 1
        tally.old += name == TRAFFIC.name and _is_expired(routed.time_us, now_us)
        yield Ready(name, partition, routed.key, line, _record_time_us(routed.time_us, now_us) // 1000)


def _is_expired(event_time_us: int | None, now_us: int) -> bool:
    return event_time_us is not None and event_time_us < now_us - TRAFFIC.retention_ms * 1000


def _record_time_us(event_time_us: int | None, now_us: int) -> int:
    """The event's time, unless it has none or lies so far ahead that Kafka would refuse it as a timestamp."""
    if event_time_us is None or event_time_us > now_us + FUTURE_US_MAX:
        return now_us
    return event_time_us
