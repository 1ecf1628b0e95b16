"""JSON on the wire: records to bytes and back, and what is wrong with bytes that do not decode.

Alerts and commands travel as CloudEvents 1.0 in structured mode (https://github.com/cloudevents/spec, Kafka binding).
"""

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
from aiokafka.partitioner import murmur2  # a pure function: the one that producers use

from topics.fields import HOUR_US, MINUTE_US
from topics.table import Topic

FUTURE_US_MAX = 5 * MINUTE_US
PAST_US_MAX = 7 * 24 * HOUR_US
CLOUDEVENTS_CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
JSON_CONTENT_TYPE = "application/json"

T = TypeVar("T")
_FIELD_IN_MESSAGE = re.compile(r" - at `\$?\.?([^`]*)`$")  # msgspec's own message, not user text
_VALUE_QUOTED = re.compile(r"Invalid value .*?(?= - at `|$)", re.DOTALL)
_FIELD_NAMED = re.compile(r"(?:required|unknown) field `([^`]{1,80})`")


class CloudEvent(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The CloudEvents envelope; `subject` and `partitionkey` are the record key."""

    id: str
    source: str
    type: str
    time: str
    subject: str
    partitionkey: str
    data: T
    specversion: str = "1.0"
    datacontenttype: str = JSON_CONTENT_TYPE


class Problem(msgspec.Struct, frozen=True):
    """Why bytes are no record: the field (empty when the whole is unreadable) and the reason, never the content."""

    field: str
    reason: str


_encode_json = msgspec.json.Encoder().encode


def rfc3339(time_us: int) -> str:
    """An event time as text, whole microseconds, UTC."""
    seconds, micros = divmod(time_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{micros:06d}Z"


def encoder(topic: Topic) -> Callable[[Any], bytes]:
    """The function that makes this topic's values into bytes."""
    if not topic.cloudevent:
        return _encode_json

    def encode(value: Any) -> bytes:
        key = getattr(value, topic.key)
        status = getattr(value, "status", None) or value.state
        envelope = CloudEvent(
            id=value.id,
            source=f"tidegate/{topic.alias}",
            type=f"{topic.cloudevent}.{status}.v1",
            time=rfc3339(value.time_us),
            subject=key,
            partitionkey=key,
            data=value,
        )
        return _encode_json(envelope)

    return encode


def content_type(topic: Topic) -> str:
    return CLOUDEVENTS_CONTENT_TYPE if topic.cloudevent else JSON_CONTENT_TYPE


def decoder(topic: Topic) -> Callable[[bytes], Any]:
    """The function that makes this topic's bytes into values; raises msgspec.DecodeError or UnicodeDecodeError."""
    if not topic.cloudevent:
        return msgspec.json.Decoder(topic.values).decode
    envelope = msgspec.json.Decoder(CloudEvent[topic.values])  # type: ignore[name-defined]
    return lambda raw: envelope.decode(raw).data


def problem_of(error: Exception) -> Problem:
    """What to tell about a decoding error. msgspec's messages name types and fields; a value is cut out."""
    if isinstance(error, UnicodeDecodeError):
        return Problem("", f"not UTF-8 (byte {error.start})")
    message = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Problem("", f"not JSON: {message}" if message else "not JSON")
    named = _FIELD_NAMED.search(message)
    where = _FIELD_IN_MESSAGE.search(message)
    message = _VALUE_QUOTED.sub("Invalid value", message)
    path = [part.group(1) for part in (where, named) if part and part.group(1)]
    return Problem(".".join(path), message)


def time_problem(time_us: int, record_time_us: int) -> Problem | None:
    """Judge an event time against the record's own Kafka timestamp, so that one bad clock cannot move a watermark."""
    if time_us > record_time_us + FUTURE_US_MAX:
        return Problem("time_us", f"{rfc3339(time_us)} is over 5 minutes after the record's timestamp")
    if time_us < record_time_us - PAST_US_MAX:
        return Problem("time_us", f"{rfc3339(time_us)} is over 7 days before the record's timestamp")
    return None


def digest(raw: bytes) -> str:
    """BLAKE2b-128, hexadecimal: tells whether two contents are the same without telling the content."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner (murmur2) gives a key."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions
