"""A lane that failed to hand over what it computed never writes the state that goes with it."""

import asyncio

import pytest

from pipeline import lane as lane_module
from pipeline.chain import Chain, check_stages
from pipeline.changelog import Changelog
from pipeline.fetched import Fetched
from pipeline.flow import STAGES
from pipeline.intake import Intake, Raw
from pipeline.kafka_admin import create_changelogs, create_topics
from pipeline.lane import GapError, Lane
from pipeline.publisher import Publisher
from pipeline.settings import Settings
from tests.pipeline.packing import fetched
from tests.pipeline.test_intake import NOW_US, changed


class Batch:
    """What a consumer delivered; remembers whether it may be committed."""

    acked = False

    def ack(self) -> bool:
        self.acked = True
        return True


def lane(position: int = -1) -> Lane:
    """A lane over a publisher that is connected to nothing, so that every hand-over fails."""
    chain = Chain("traffic", check_stages(STAGES), Settings())
    chain.restore({}, position)
    changelog = Changelog("127.0.0.1:1", "changelog", 0)
    return Lane(chain, Intake("traffic", "quota"), Publisher("127.0.0.1:1"), 0, 1, changelog)


def test_a_batch_that_cannot_be_published_closes_the_lane() -> None:
    failing, first, second = lane(), Batch(), Batch()

    async def run() -> None:
        with pytest.raises(AssertionError, match="start"):
            await failing.handle(first, fetched(Raw(0, NOW_US, changed())))
        assert failing.closed
        assert await failing.handle(second, fetched(Raw(1, NOW_US, changed(id="r-2")))) == 0
        await failing.checkpoint()  # would fail as well if it tried to write

    asyncio.run(run())
    assert not first.acked
    assert not second.acked


def test_what_was_before_a_crash_is_not_processed_again() -> None:
    resumed, again = lane(position=7), Batch()
    assert asyncio.run(resumed.handle(again, fetched(Raw(6, NOW_US, changed()), Raw(7, NOW_US, changed())))) == 0
    assert not resumed.closed


def test_a_delivery_that_passes_records_over_is_left_alone_until_they_came() -> None:
    """Nothing behind what is wanted is processed or committed."""
    resumed, ahead, further, wanted = lane(position=7), Batch(), Batch(), Batch()

    def records(first: int, stop: int) -> Fetched:
        return Fetched([], first, range(first, stop))

    async def run() -> None:
        with pytest.raises(GapError, match="begins at offset 9, and offset 8 was to come"):
            await resumed.handle(ahead, records(9, 12))
        with pytest.raises(GapError, match="begins at offset 12, and offset 8 was to come"):
            await resumed.handle(further, records(12, 15))
        assert not resumed._processed
        await resumed.handle(wanted, records(8, 12))  # holds nothing that is new, as after an aborted transaction
        await resumed.handle(further, records(12, 15))
        assert resumed._processed == [wanted, further]
        assert resumed.chain.position == 14  # a worker that begins here wants no record before 15
        with pytest.raises(GapError):
            await resumed.handle(ahead, records(20, 21))
        resumed.pass_over(20)
        await resumed.handle(ahead, records(20, 21))
        assert resumed._processed == [wanted, further, ahead]

    asyncio.run(run())


ORGANISATIONS = 200
PARTITIONS = 4  # of every topic, as in other tests on the same broker


def requests(first: int) -> Fetched:
    """One of each organisation, at offsets from `first` on."""
    return fetched(
        *(
            Raw(first + number, NOW_US, changed(id=f"r-{first + number}", organisation=f"org-{number}"))
            for number in range(ORGANISATIONS)
        )
    )


async def opened(broker: str, publisher: Publisher, topic: str) -> Lane:
    changelog = Changelog(broker, topic, 0)
    assert await changelog.open() == ({}, -1)
    chain = Chain("traffic", check_stages(STAGES), Settings())
    return Lane(chain, Intake("traffic", "quota"), publisher, 0, 1, changelog)


@pytest.mark.broker
def test_a_stop_does_not_wait_for_a_checkpoint_at_leisure(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "ENCODE_S_MAX", 1e-9)
    monkeypatch.setattr(lane_module, "ENCODE_SHARE", 1e-9)  # a key a second: minutes in all

    async def run() -> None:
        await create_topics(broker, PARTITIONS, 1)
        await create_changelogs(broker, {"in-haste": 1}, 1)
        publisher = Publisher(broker)
        await publisher.start()
        leisurely, batch = await opened(broker, publisher, "in-haste"), Batch()
        await leisurely.handle(batch, requests(0))
        writing = asyncio.create_task(leisurely.checkpoint(at_leisure=True))
        await asyncio.sleep(0.1)
        assert not batch.acked
        async with asyncio.timeout(30):
            await leisurely.close()
            await writing
        assert batch.acked
        assert leisurely.written == ORGANISATIONS - 1
        await publisher.stop()

    asyncio.run(run())


@pytest.mark.broker
def test_others_run_between_the_parts_of_a_large_batch(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "STEP_RECORDS_MAX", 1)

    async def run() -> int:
        await create_topics(broker, PARTITIONS, 1)
        await create_changelogs(broker, {"in-parts": 1}, 1)
        publisher = Publisher(broker)
        await publisher.start()
        at_work = await opened(broker, publisher, "in-parts")
        handling = asyncio.ensure_future(at_work.handle(Batch(), requests(0)))
        seen = set()
        while not handling.done():
            seen.add(at_work.chain.position)
            await asyncio.sleep(0)
        assert await handling == ORGANISATIONS
        await at_work.close()
        await publisher.stop()
        return len(seen)

    assert asyncio.run(run()) >= ORGANISATIONS / lane_module.STEPS_IN_A_ROW_MAX


@pytest.mark.broker
def test_a_checkpoint_at_leisure_holds_what_one_at_once_would(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches come, and change again what is encoded already; one such checkpoint is called off half-way."""
    monkeypatch.setattr(lane_module, "ENCODE_S_MAX", 0.0)  # a key at a time
    encoded: list[int] = []

    async def run() -> dict[str, tuple[dict[str, bytes], int]]:
        await create_topics(broker, PARTITIONS, 1)
        topics = ("at-leisure", "at-once")
        await create_changelogs(broker, dict.fromkeys(topics, 1), 1)
        publisher = Publisher(broker)
        await publisher.start()
        leisurely, at_once = [await opened(broker, publisher, topic) for topic in topics]
        for number in range(3):
            await leisurely.handle(Batch(), requests(number * ORGANISATIONS))
            await at_once.handle(Batch(), requests(number * ORGANISATIONS))
            writing = asyncio.create_task(leisurely.checkpoint(at_leisure=True))
            for _ in range(10):
                await asyncio.sleep(0)
            encoded.append(len(leisurely._encoded))
            if number == 1:
                writing.cancel()
        await writing
        written = leisurely.written
        await at_once.close()
        await leisurely.close()
        assert written == leisurely.written == 3 * ORGANISATIONS - 1
        await publisher.stop()
        return {topic: await Changelog(broker, topic, 0).open() for topic in topics}

    found = asyncio.run(run())
    assert all(0 < count < ORGANISATIONS for count in encoded)
    assert found["at-leisure"] == found["at-once"]
    assert len(found["at-once"][0]) > ORGANISATIONS
