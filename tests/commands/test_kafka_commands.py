"""The commands that talk to Kafka, on a real one."""

import asyncio
import contextlib
import json
import time
import uuid

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.broker import temporary_broker
from pipeline.commands import follow
from pipeline.commands.produce import VALUE_BYTES_MAX, route
from pipeline.commands.steer import write_control
from pipeline.kafka_admin import KafkaUnreachableError, create_topics
from pipeline.publisher import Publisher
from pipeline.stage import Output
from topics.codec import partition_of
from topics.control import Command
from topics.examples import EXAMPLES, REQUEST
from topics.records import Alert
from topics.table import BY_ALIAS, TOPICS

pytestmark = pytest.mark.broker


PARTITIONS = 3


@pytest.fixture(scope="module")
def kafka():
    """A broker of this file's own: the topics have one name everywhere, and nothing else writes to these."""
    with temporary_broker() as started:
        asyncio.run(create_topics(started.address, PARTITIONS, replicas=1))
        yield started.address


def publish(broker, alias, key, value):
    async def work():
        publisher = Publisher(broker)
        await publisher.start()
        for sent in await publisher.publish(0, [Output(0, alias, key, value)]):
            await sent
        await publisher.stop()

    asyncio.run(work())


def raw_records(broker, name, mark, partitions=PARTITIONS):
    """The records of a topic that contain `mark`."""

    async def work():
        consumer = AIOKafkaConsumer(bootstrap_servers=broker)
        await consumer.start()
        places = [TopicPartition(name, partition) for partition in range(partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, 0)  # not seek_to_beginning: a reset to the end that is under way would undo it
        found = []
        while sum([await consumer.position(place) for place in places]) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [record for record in records if mark.encode() in record.value]
        await consumer.stop()
        return found

    return asyncio.run(work())


def command(name, state="pending_approval"):
    return Command(
        id=f"{name}-{state}",
        time_us=time.time_ns() // 1000,
        command=name,
        alert="a1-1-0",
        model="aurora-large",
        action="roll_back",
        target="aurora-large",
        state=state,
        severity="critical",
        expires_us=time.time_ns() // 1000 + 3_600_000_000,
        reason="latency over 10 s",
    )


def test_topics_are_created_once_and_compared(kafka, tidegate):
    again = tidegate("topics", "create", "--broker", kafka, "--partitions", 3)
    assert again.code == 0
    assert f"0 created, {len(TOPICS)} existed" in again.out
    assert "warning" not in again.err
    other = tidegate("topics", "create", "--broker", kafka, "--partitions", 5)
    assert other.code == 0
    assert "tidegate.traffic.v1 has 3 partitions, not 5" in other.err
    assert "tidegate.control.v1" not in other.err  # its number is fixed


def test_a_broker_without_topics_is_told(tidegate, tmp_path):
    (tmp_path / "events.jsonl").write_bytes(msgspec.json.encode(REQUEST))
    with temporary_broker() as empty:
        refused = tidegate("topics", "create", "--broker", empty.address, "--replicas", 3)
        assert refused.code == 1
        assert "was refused: InvalidReplicationFactorError" in refused.err
        listed = tidegate("topics", "list", "--broker", empty.address).out.splitlines()
        assert sum("missing" in line for line in listed) == len(TOPICS)
        for arguments in (["produce", tmp_path / "events.jsonl"], ["follow", "alerts"], ["approve", "c1"]):
            ran = tidegate(*arguments, "--broker", empty.address)
            assert ran.code == 1
            assert "run `tidegate topics create` first" in ran.err


def test_topics_are_listed_as_they_are(kafka, tidegate):
    ran = tidegate("topics", "list", "--broker", kafka)
    row = next(line for line in ran.out.splitlines() if line.startswith("traffic "))
    assert row.split()[:4] == ["traffic", "tidegate.traffic.v1", "3", "organisation"]
    assert "private" in row


def test_produce_routes_keys_and_stamps_as_kafka_clients_do(kafka, tidegate, tmp_path):
    mark = str(uuid.uuid4())
    now_us = time.time_ns() // 1000
    request = msgspec.structs.replace(REQUEST, id=mark, time_us=now_us - 5_000_000, organisation=f"org-{mark}")
    future = msgspec.structs.replace(request, id=f"{mark}-future", time_us=now_us + 86_400_000_000)
    plan = next(event for event in EXAMPLES.values() if event.__struct_config__.tag == "plan")
    lines = [msgspec.json.encode(event) for event in (request, future, msgspec.structs.replace(plan, id=mark))]
    lines += [f'{{"organisation":"org-{mark}","broken":"{mark}"}}'.encode(), f"no json {mark}".encode()]
    source = tmp_path / "events.jsonl"
    source.write_bytes(b"\n".join(lines))
    ran = tidegate("produce", source, "--broker", kafka)
    assert ran.code == 0
    assert "5 lines: 1 to tidegate.control.v1, 4 to tidegate.traffic.v1; 2 invalid, 0 not sent" in ran.out
    assert "line 4: " in ran.err
    found = {record.value: record for record in raw_records(kafka, "tidegate.traffic.v1", mark)}
    assert set(found) == {lines[0], lines[1], lines[3], lines[4]}
    key = f"org-{mark}".encode()
    assert {found[line].partition for line in (lines[0], lines[1], lines[3])} == {partition_of(key, PARTITIONS)}
    assert found[lines[0]].key == found[lines[3]].key == key
    assert found[lines[4]].key is None
    assert found[lines[0]].timestamp == request.time_us // 1000
    assert abs(found[lines[1]].timestamp - now_us // 1000) < 60_000  # the event's own time lies too far ahead


def test_produce_check_holds_bad_lines_back(kafka, tidegate, tmp_path):
    mark = str(uuid.uuid4())
    good = msgspec.json.encode(msgspec.structs.replace(REQUEST, id=mark, time_us=time.time_ns() // 1000))
    (tmp_path / "events.jsonl").write_bytes(good + b"\n" + f'{{"type":"request","id":"{mark}"}}'.encode() + b"\n")
    ran = tidegate("produce", tmp_path / "events.jsonl", "--check", "--broker", kafka)
    assert ran.code == 1
    assert "line 2: " in ran.err
    assert "1 of 2 lines" in ran.err
    assert [record.value for record in raw_records(kafka, "tidegate.traffic.v1", mark)] == [good]


def test_produce_tells_of_lines_that_kafka_cannot_take(kafka, tidegate, tmp_path):
    (tmp_path / "events.jsonl").write_bytes(b"x" * (VALUE_BYTES_MAX + 1) + b"\n")
    ran = tidegate("produce", tmp_path / "events.jsonl", "--broker", kafka)
    assert ran.code == 1
    assert str(VALUE_BYTES_MAX) in ran.err


def test_produce_takes_the_largest_value(kafka, tidegate, tmp_path):
    mark = uuid.uuid4().hex
    line = b'{"prompt":"' + mark.encode() * ((VALUE_BYTES_MAX - 20) // len(mark)) + b'"}'
    (tmp_path / "events.jsonl").write_bytes(line)
    assert tidegate("produce", tmp_path / "events.jsonl", "--broker", kafka).code == 0
    assert [record.value for record in raw_records(kafka, "tidegate.traffic.v1", mark)] == [line]


@pytest.mark.parametrize("line", [b"", b"[]", b'{"type":1}', b"\xff", b'{"type":"plan"}', b"[" * 100_000])
def test_every_line_has_a_route(line):
    assert route(line).problem is not None


def test_follow_shows_lines_for_people_and_raw_ones(kafka, tidegate):
    mark = str(uuid.uuid4())
    alert = Alert(
        id=mark,
        time_us=time.time_ns() // 1000,
        alert=mark,
        status="open",
        severity="critical",
        kind="error_burst",
        model="aurora-large",
        started_us=0,
        windows=3,
        summary="[bold]not markup[/bold] errors at 40 %",
    )
    publish(kafka, "alerts", "aurora-large", alert)
    people = tidegate("follow", "alerts", "--from", "earliest", "--to-end", "--broker", kafka)
    line = next(line for line in people.out.splitlines() if mark in line)
    assert "critical" in line
    assert "[bold]not markup[/bold]" in line
    raw = tidegate("follow", "alerts", "--from", "earliest", "--to-end", "--json", "--broker", kafka)
    envelope = next(event for event in map(json.loads, raw.out.splitlines()) if event["data"]["id"] == mark)
    assert envelope["type"] == "tidegate.alert.open.v1"
    assert envelope["partitionkey"] == "aurora-large"


def test_follow_ends_when_the_broker_has_gone(monkeypatch):
    monkeypatch.setattr(follow, "QUIET_S_MAX", 0.2)
    control = BY_ALIAS["control"]

    async def work():
        with contextlib.ExitStack() as running:
            address = running.enter_context(temporary_broker()).address
            await create_topics(address, PARTITIONS, replicas=1)
            await write_control(
                address, next(event for event in EXAMPLES.values() if isinstance(event, control.values))
            )
            found = follow.records(address, control, from_start=True, to_end=False)
            await anext(found)
            running.close()
            with pytest.raises(KafkaUnreachableError, match="tidegate broker up"):
                await anext(found)

    asyncio.run(work())


def test_follow_stops_by_limit_and_by_time(kafka, tidegate):
    for _ in range(3):
        publish(kafka, "alerts", "m", msgspec.convert({**ALERT, "id": str(uuid.uuid4())}, Alert))
    limited = tidegate("follow", "alerts", "--from", "earliest", "--limit", 2, "--json", "--broker", kafka)
    assert len(limited.out.splitlines()) == 2
    began = time.monotonic()
    assert tidegate("follow", "alerts", "--timeout", 1, "--broker", kafka).out == ""
    assert time.monotonic() - began >= 1


ALERT = {
    "type": "alert",
    "time_us": 0,
    "alert": "a",
    "status": "resolved",
    "severity": "info",
    "kind": "traffic_drop",
    "model": "m",
    "started_us": 0,
    "windows": 1,
    "summary": "over",
}


@pytest.mark.parametrize(("verb", "approved"), [("approve", True), ("reject", False)])
def test_a_waiting_command_is_answered_once(verb, approved, kafka, tidegate):
    name = f"c-{uuid.uuid4()}"
    publish(kafka, "commands", "aurora-large", command(name))
    assert name in tidegate("approve", "--broker", kafka).out
    ran = tidegate(verb, name, "--by", "dana", "--broker", kafka)
    assert ran.code == 0, ran.err
    written = tidegate("follow", "control", "--from", "earliest", "--to-end", "--json", "--broker", kafka)
    (answer,) = [event for event in map(json.loads, written.out.splitlines()) if event.get("command") == name]
    assert (answer["type"], answer["approved"], answer["by"]) == ("approval", approved, "dana")
    assert name not in tidegate("approve", "--broker", kafka).out
    again = tidegate(verb, name, "--broker", kafka)
    assert again.code == 1
    assert "was already" in again.err
    assert "by dana" in again.err


def test_only_a_waiting_command_can_be_answered(kafka, tidegate):
    name = f"c-{uuid.uuid4()}"
    unknown = tidegate("approve", name, "--broker", kafka)
    assert unknown.code == 1
    assert "there is no command" in unknown.err
    publish(kafka, "commands", "aurora-large", command(name))
    publish(kafka, "commands", "aurora-large", command(name, state="expired"))
    expired = tidegate("approve", name, "--broker", kafka)
    assert expired.code == 1
    assert "it is expired" in expired.err


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (["deploy", "aurora", "v2", "--stable", "v1"], {"type": "deployment", "version": "v2", "stable": "v1"}),
        (["maintenance", "30", "--reason", "network"], {"type": "maintenance", "reason": "network"}),
        (
            ["launch", "90", "2.5", "--organisation", "acme"],
            {"type": "launch", "factor": 2.5, "organisation": "acme"},
        ),
        (["plan", "acme", "pro"], {"type": "plan", "organisation": "acme", "tier": "pro"}),
        (
            ["feedback", "a1-1-0", "false", "--note", "a test"],
            {"type": "feedback", "verdict": "false", "note": "a test"},
        ),
    ],
)
def test_what_a_person_says_lies_in_the_control_topic(arguments, fields, kafka, tidegate):
    publish(kafka, "alerts", "m", msgspec.convert({**ALERT, "id": "a1-1-0", "alert": "a1-1-0"}, Alert))
    assert tidegate(*arguments, "--broker", kafka).code == 0
    written = tidegate("follow", "control", "--from", "earliest", "--to-end", "--json", "--broker", kafka)
    last = [event for event in map(json.loads, written.out.splitlines()) if event["type"] == fields["type"]][-1]
    assert {name: last[name] for name in fields} == fields
    if fields["type"] == "maintenance":
        assert last["end_us"] - last["start_us"] == 30 * 60_000_000


def test_every_control_example_can_be_written(kafka):
    for event in EXAMPLES.values():
        if isinstance(event, BY_ALIAS["control"].values):
            asyncio.run(write_control(kafka, event))
