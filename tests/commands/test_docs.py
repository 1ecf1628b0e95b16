"""The documents: generated ones are up to date, and what they tell the reader to run runs."""

import asyncio
import contextlib
import re
import shlex
import time
from pathlib import Path

import pytest

from pipeline.broker import temporary_broker
from pipeline.commands.follow import records
from pipeline.kafka_admin import create_topics
from pipeline.publisher import Publisher
from pipeline.stage import Output
from tests.test_readme import parsed
from topics.codec import decoder
from topics.records import Alert
from topics.table import BY_ALIAS, TOPICS
from topics.traffic import Completion, Request

DOCS = Path(__file__).parents[2] / "docs"
COMMAND = re.compile(r"^\$ tidegate (.*?)(?:\s+#.*)?$", re.MULTILINE)


def python_blocks(path):
    return [block.partition("```")[0] for block in path.read_text().split("```python\n")[1:]]


def test_the_committed_documents_are_up_to_date(tidegate):
    for name in ("asyncapi.json", "topics.md"):
        ran = tidegate("topics", "doc", "--check", "--output", DOCS / name)
        assert ran.code == 0, ran.err
    assert all(topic.name in (DOCS / "topics.md").read_text() for topic in TOPICS)


def test_a_document_that_is_not_up_to_date_is_told(tidegate, tmp_path):
    stale = tmp_path / "stale.json"
    stale.write_text("{}")
    ran = tidegate("topics", "doc", "--check", "--output", stale)
    assert ran.code == 1
    assert "tidegate topics doc --output" in ran.err


def test_the_committed_picture_is_up_to_date(tidegate, tmp_path):
    drawn = tmp_path / "flow.svg"
    assert tidegate("flow", "--format", "svg", "--output", drawn).code == 0
    assert (DOCS / "flow.svg").read_text() == drawn.read_text(), "tidegate flow --format svg --output docs/flow.svg"


@pytest.mark.parametrize("line", COMMAND.findall((DOCS / "feedback.md").read_text()))
def test_every_command_of_the_page_on_feedback_is_one_that_the_program_takes(line):
    assert parsed(shlex.split(line)) is not None


@pytest.mark.broker
def test_what_the_page_on_producing_shows_works(monkeypatch):
    produce, subscribe = python_blocks(DOCS / "produce-and-subscribe.md")
    with temporary_broker() as started:
        monkeypatch.setenv("TIDEGATE_BROKER", started.address)
        asyncio.run(create_topics(started.address, partitions=2, replicas=1))
        names: dict[str, object] = {}
        exec(produce, names)
        sent = asyncio.run(_read(started.address, "traffic"))
        assert [type(event) for event in sent] == [Request, Completion]
        exec(subscribe, names)
        asyncio.run(_alert(started.address))
        printed = asyncio.run(_first_printed(names))
    assert printed == "critical open error_burst aurora-large half of all fail"


async def _read(address, alias):
    decode = decoder(BY_ALIAS[alias])
    return [decode(record.value) async for record in records(address, BY_ALIAS[alias], from_start=True, to_end=True)]


async def _alert(address):
    alert = Alert(
        id="a0-1-0",
        time_us=time.time_ns() // 1000,
        alert="a0-1-0",
        status="open",
        severity="critical",
        kind="error_burst",
        model="aurora-large",
        started_us=0,
        windows=3,
        summary="half of all fail",
    )
    publisher = Publisher(address)
    await publisher.start()
    for sent in await publisher.publish(0, [Output(0, "alerts", alert.model, alert)]):
        await sent
    await publisher.stop()


async def _first_printed(names):
    """Run the page's endless subscriber until it prints a line; the test's own time limit bounds it."""
    lines = asyncio.Queue()
    names["print"] = lambda *parts: lines.put_nowait(" ".join(parts))
    running = asyncio.create_task(names["subscribe"]())
    printing = asyncio.create_task(lines.get())
    await asyncio.wait([running, printing], return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return printing.result()
