"""A lane that failed to hand over what it computed never writes the state that goes with it."""

import asyncio

import pytest

from pipeline.chain import Chain, check_stages
from pipeline.changelog import Changelog
from pipeline.flow import STAGES
from pipeline.intake import Intake, Raw, Records
from pipeline.lane import Lane
from pipeline.publisher import Publisher
from pipeline.settings import Settings
from tests.pipeline.test_intake import NOW_US, changed


class Batch:
    """What a consumer delivered; remembers whether it may be committed."""

    acked = False

    def ack(self) -> bool:
        self.acked = True
        return True


def lane() -> Lane:
    """A lane over a publisher that is connected to nothing, so that every hand-over fails."""
    chain = Chain("traffic", check_stages(STAGES), Settings())
    changelog = Changelog("127.0.0.1:1", "changelog", 0)
    return Lane(chain, Intake("traffic", "quota"), Publisher("127.0.0.1:1"), 0, 1, changelog)


def test_a_batch_that_cannot_be_published_closes_the_lane() -> None:
    failing, first, second = lane(), Batch(), Batch()

    async def run() -> None:
        with pytest.raises(AssertionError, match="start"):
            await failing.handle(first, Records.of_rows([Raw(0, NOW_US, changed())]))
        assert failing.closed
        assert await failing.handle(second, Records.of_rows([Raw(1, NOW_US, changed(id="r-2"))])) == 0
        await failing.checkpoint()  # would fail as well if it tried to write

    asyncio.run(run())
    assert not first.acked
    assert not second.acked


def test_what_was_before_a_crash_is_not_processed_again() -> None:
    resumed, again = lane(), Batch()
    resumed.chain.restore({}, position=7)
    assert (
        asyncio.run(resumed.handle(again, Records.of_rows([Raw(6, NOW_US, changed()), Raw(7, NOW_US, changed())]))) == 0
    )
    assert not resumed.closed
