"""The README: what it tells the reader to type is there, and its programs run as they stand."""

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.cli import root
from pipeline.commands.follow import records
from pipeline.kafka_admin import create_topics
from pipeline.publisher import Publisher
from pipeline.stage import Output
from topics.codec import decoder
from topics.records import Alert
from topics.table import BY_ALIAS
from topics.traffic import Completion, Request

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMAND = re.compile(r"^\$ (tidegate .*?)(?:\s+#.*)?$|`(tidegate [^`]+)`", re.MULTILINE)
TARGET = re.compile(r"\bmake ([a-z0-9]+)")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
SCRIPT_TIMEOUT_S = 60


def blocks(language):
    return [block.partition("```")[0] for block in README.split(f"```{language}\n")[1:]]


def commands():
    return list(dict.fromkeys(shown or named for shown, named in COMMAND.findall(README)))


def parsed(arguments):
    """Walk the command line as the program does, up to running it. Raises what the user would be told."""
    command, context, name = root(), None, "tidegate"
    while True:
        context = command.make_context(name, list(arguments), parent=context)
        if not hasattr(command, "resolve_command"):
            return context.params
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])


@pytest.mark.parametrize("line", commands())
def test_every_command_is_one_that_the_program_takes(line):
    _, *arguments = line.split()
    if "--help" in arguments:
        arguments.remove("--help")
        assert not arguments
    else:
        assert parsed(arguments) is not None


@pytest.mark.parametrize("line", ["brokr up", "topics lst", "follow alarms", "replay a.csv --sped 60"])
def test_a_command_that_the_program_does_not_take_is_noticed(line):
    with pytest.raises(Exception, match=r"No such|not one of"):
        parsed(line.split())


def test_the_commands_are_found_and_so_are_the_targets_of_make():
    assert len(commands()) > 8
    targets = set(TARGET.findall(README))
    assert {"demo", "test", "check", "e2e", "bench"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


def test_every_link_leads_somewhere():
    linked = LINK.findall(README)
    assert "ARCHITECTURE.md" in linked
    assert [path for path in linked if not (ROOT / path).exists()] == []


@pytest.mark.broker
def test_the_producer_sends_a_request_and_its_completion(broker, tmp_path):
    produce, _ = blocks("python")
    began_us = time.time_ns() // 1000
    asyncio.run(create_topics(broker, partitions=2, replicas=1))
    done = subprocess.run(_script(tmp_path, produce, broker), capture_output=True, text=True, timeout=SCRIPT_TIMEOUT_S)
    assert (done.returncode, done.stderr) == (0, "")
    request, completion = asyncio.run(_traffic_of(broker, "req-1"))[-2:]
    assert isinstance(request, Request)
    assert isinstance(completion, Completion)
    assert completion.time_us >= began_us > request.time_us
    assert request.organisation == completion.organisation == "acme"


@pytest.mark.broker
def test_the_subscriber_prints_an_alert(broker, tmp_path):
    _, subscribe = blocks("python")
    summary = f"half of all fail at {time.time_ns()}"
    asyncio.run(create_topics(broker, partitions=2, replicas=1))
    asyncio.run(_alert(broker, summary))
    script = _script(tmp_path, subscribe, broker)
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        printed = next((line for line in running.stdout if summary in line), "the program ended without it")
        running.kill()
    assert printed.split()[0] == "critical"


def _script(folder, program, broker):
    """The command that runs a program of the page, on this broker instead of the page's."""
    assert program.count("127.0.0.1:9092") == 1
    path = folder / "program.py"
    path.write_text(program.replace("127.0.0.1:9092", broker))
    return [sys.executable, "-u", str(path)]


async def _traffic_of(address, request):
    """The events of a request, of this test and of earlier runs on the same broker."""
    topic = BY_ALIAS["traffic"]
    decode = decoder(topic)
    found = records(address, topic, from_start=True, to_end=True)
    return [decode(record.value) async for record in found if f'"{request}"'.encode() in record.value]


async def _alert(address, summary):
    now_us = time.time_ns() // 1000
    alert = Alert(
        id=f"readme-{now_us}",
        time_us=now_us,
        alert="readme",
        status="open",
        severity="critical",
        kind="error_burst",
        model="aurora-large",
        started_us=0,
        windows=3,
        summary=summary,
    )
    publisher = Publisher(address)
    await publisher.start()
    for sent in await publisher.publish(0, [Output(0, "alerts", alert.model, alert)]):
        await sent
    await publisher.stop()
