"""What is announced with a recording: that it ends."""

from typing import Any

import pytest

from pipeline.settings import Settings
from replay.context import context
from replay.event import Event
from replay.offline import Offline
from replay.sources import synthetic
from replay.synthesis import Synthesis
from topics.fields import MINUTE_US
from topics.traffic import Tick

START_US = 1_760_000_400_000_000
SOURCE = synthetic(Synthesis(duration_s=1_500, rate_per_s=4, seed=3), START_US)
END_US = START_US + SOURCE.duration_us
SILENCE = [Tick(time_us=END_US + minute * MINUTE_US) for minute in range(1, 7)]


def _alerts(events: list[Event]) -> list[Any]:
    alerts: list[Any] = []
    driver = Offline(Settings(), lambda alias, _, value: alerts.append(value) if alias == "alerts" else None, 2)
    driver.feed(events)
    driver.finish()
    return alerts


@pytest.mark.parametrize(("announced", "kinds"), [(True, set()), (False, {"traffic_drop"})])
def test_the_silence_behind_a_recording_is_no_drop_in_traffic(announced: bool, kinds: set[str]) -> None:
    before = list(context(SOURCE.models, START_US, END_US)) if announced else []
    assert {alert.kind for alert in _alerts([*before, *SOURCE.events(), *SILENCE])} == kinds
