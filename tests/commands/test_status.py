"""`tidegate status` and `tidegate feedback` against a real Kafka."""

import asyncio
import json
import signal
import subprocess
import sys
import time

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.broker import temporary_broker
from pipeline.commands.status import span
from pipeline.commands.steer import write_control
from pipeline.kafka_admin import create_topics
from pipeline.publisher import Publisher
from pipeline.stage import Output
from tests.pipeline.test_status import alert, command, incident, told
from tests.streams.alerting import judged
from topics.control import Deployment
from topics.fields import MINUTE_US

PARTITIONS = 2
NOW_US = time.time_ns() // 1000


@pytest.fixture(scope="module")
def empty():
    """A broker with topics and nothing in them."""
    with temporary_broker() as started:
        asyncio.run(create_topics(started.address, PARTITIONS, replicas=1))
        yield started.address


@pytest.fixture(scope="module")
def lived_in():
    """A broker in which a worker has run."""
    window = judged(".", 0).window
    fresh = msgspec.structs.replace(window, start_us=NOW_US - 2 * MINUTE_US, end_us=NOW_US - MINUTE_US)
    records = [
        ("windows", window),
        ("windows", fresh),
        ("thresholds", msgspec.structs.replace(told(), time_us=fresh.end_us)),
        ("alerts", alert("a0-7-0", "open")),
        ("alerts", alert("a0-9-0", "open", 5)),
        ("alerts", alert("a0-9-0", "resolved", 9)),
        ("incidents", incident("i0-7", "opened")),
        ("incidents", incident("i0-9", "resolved")),
        ("commands", command("c0-7-0", "pending_approval", expires_us=NOW_US + 60 * MINUTE_US)),
        ("commands", command("c0-7-1", "issued", expires_us=NOW_US + 60 * MINUTE_US)),
    ]
    with temporary_broker() as started:
        asyncio.run(create_topics(started.address, PARTITIONS, replicas=1))
        asyncio.run(_publish(started.address, records))
        deployment = Deployment(id="d", time_us=NOW_US - MINUTE_US, model="m-large", version="[2.0]")
        asyncio.run(write_control(started.address, deployment))
        asyncio.run(_commit(started.address, "tidegate", "tidegate.windows.v1"))  # of no log: does not count
        asyncio.run(_commit(started.address, "tidegate", "tidegate.control.v1"))
        asyncio.run(_commit(started.address, "somebody-else", "tidegate.alerts.v1"))
        yield started.address


async def _publish(address, records):
    publisher = Publisher(address)
    await publisher.start()
    outputs = [Output(0, alias, getattr(value, "model", "all"), value) for alias, value in records]
    for sent in await publisher.publish(0, outputs):
        await sent
    await publisher.stop()


async def _commit(address, group, topic):
    consumer = AIOKafkaConsumer(bootstrap_servers=address, group_id=group, enable_auto_commit=False)
    await consumer.start()
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    await consumer.commit({place: 0})
    await consumer.stop()


@pytest.mark.broker
def test_an_empty_broker_says_what_to_do(empty, tidegate):
    ran = tidegate("status", "--broker", empty)
    assert ran.code == 0, ran.err
    assert "no window has closed yet: send traffic with `tidegate produce FILE`" in ran.out
    assert "no alert is open" in ran.out
    assert "no worker has run yet: start one with `tidegate worker`" in ran.out


@pytest.mark.broker
def test_without_topics_or_a_broker_it_fails_with_a_sentence(tidegate):
    with temporary_broker() as bare:
        ran = tidegate("status", "--broker", bare.address)
    assert ran.code == 1
    assert "run `tidegate topics create` first" in ran.err
    gone = tidegate("status", "--broker", bare.address)
    assert gone.code == 1
    assert "no Kafka broker answers" in gone.err


def test_json_is_one_object(tidegate):
    ran = tidegate("status", "--json", "--watch", 1, "--broker", "127.0.0.1:1")
    assert ran.code == 2
    assert "leave out --watch" in ran.err


@pytest.mark.broker
def test_a_broker_that_is_lived_in_is_shown(lived_in, tidegate):
    ran = tidegate("status", "--broker", lived_in)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    model = next(line for line in lines if line.startswith("m-large"))
    assert "2 of 6" in model
    assert "[2.0], observed for 23 h more" in model
    assert "latency × 1.5: 3 of 3 false" in model
    assert any(line.startswith("a0-7-0") and "a0-7-0 at 0" in line for line in lines)
    assert "a0-9-0" not in ran.out
    assert any(line.startswith("i0-7") and "1 of 2 open" in line and "m-large: i0-7" in line for line in lines)
    assert "i0-9" not in ran.out
    assert any(line.startswith("c0-7-0") and "tidegate approve c0-7-0" in line for line in lines)
    assert any(line.startswith("c0-7-1") and "holds" in line for line in lines)
    assert any("control" in line and "none running" in line and line.rstrip().endswith(" 1") for line in lines)
    assert "somebody-else" not in ran.out


@pytest.mark.broker
def test_the_same_for_a_program(lived_in, tidegate):
    found = json.loads(tidegate("status", "--json", "--broker", lived_in).out)
    (model,) = found["models"]
    assert (model["model"], model["alerts_open"], model["deployed"], model["windows"]) == ("m-large", 1, "[2.0]", 100)
    assert MINUTE_US <= model["age_us"] < 10 * MINUTE_US
    assert [each["alert"] for each in found["alerts"]] == ["a0-7-0"]
    assert [each["incident"] for each in found["incidents"]] == ["i0-7"]
    assert [(each["command"], each["waits"]) for each in found["commands"]] == [("c0-7-0", True), ("c0-7-1", False)]
    assert {each["source"]: each["records"] for each in found["lags"]}["control"] == 1


@pytest.mark.broker
def test_thresholds_can_be_followed(lived_in, tidegate):
    ran = tidegate("follow", "thresholds", "--from", "earliest", "--to-end", "--broker", lived_in)
    assert "latency × 1.5 (3 of 3 false)" in ran.out


@pytest.mark.broker
def test_feedback_names_an_alert_that_there_is(lived_in, tidegate):
    unknown = tidegate("feedback", "a0-8-0", "false", "--broker", lived_in)
    assert unknown.code == 1
    assert "there is no alert 'a0-8-0'" in unknown.err
    by_record = tidegate("feedback", "a0-9-0-resolved-9", "true", "--broker", lived_in)
    assert by_record.code == 0, by_record.err
    written = tidegate("follow", "control", "--from", "earliest", "--to-end", "--json", "--broker", lived_in).out
    said = [event for event in map(json.loads, written.splitlines()) if event["type"] == "feedback"]
    assert [(event["alert"], event["verdict"]) for event in said] == [("a0-9-0", "true")]


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (["false"], "false"),
        (["--false"], "false"),
        (["--true"], "true"),
        (["--note", "look again"], "note"),
        (["true", "--true", "--note", "it was"], "true"),
    ],
)
@pytest.mark.broker
def test_a_verdict_is_an_argument_or_an_option(arguments, verdict, lived_in, tidegate):
    ran = tidegate("feedback", "a0-7-0", *arguments, "--broker", lived_in)
    assert ran.code == 0, ran.err
    assert f"verdict {verdict}" in ran.out


@pytest.mark.parametrize("arguments", [[], ["true", "--false"]])
def test_no_verdict_or_two_are_refused(arguments, tidegate):
    ran = tidegate("feedback", "a0-7-0", *arguments, "--broker", "127.0.0.1:1")
    assert ran.code == 2
    assert "say " in ran.err


@pytest.mark.broker
def test_watching_looks_again_until_it_is_stopped(lived_in):
    command = [sys.executable, "-m", "pipeline", "status", "--watch", "0.1", "--broker", lived_in]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert any("a0-7-0" in line for line in running.stdout)  # drawn at least once
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)
    assert running.returncode == 0


@pytest.mark.parametrize(
    ("duration_us", "said"),
    [(0, "0 s"), (119_999_999, "119 s"), (120_000_000, "2 min"), (7_200_000_000, "2 h"), (200_000_000_000, "2 days")],
)
def test_a_span_in_words(duration_us, said):
    assert span(duration_us) == said
