"""The same logs through both drivers, Kafka with Faust and this process without either: the same, record for record."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from pipeline.commands.replaying import find_source, plan
from pipeline.commands.steer import write_control
from pipeline.settings import Settings
from replay.offline import Offline
from replay.synthesis import Synthesis
from tests.e2e.runs import (
    OUTPUTS,
    PARTITIONS,
    caught_up,
    differences,
    offline_from_logs,
    once,
    read,
    read_async,
    read_log,
    replayed,
    worker,
)
from topics.codec import decoder
from topics.control import Feedback, Relayed
from topics.table import BY_ALIAS

SEED = 5


def offline_from_traffic(address: str) -> dict[tuple[str, int], Any]:
    """Revision-0 windows by model and minute, from the traffic log alone: slices are computed, in another order."""
    windows: dict[tuple[str, int], Any] = {}

    def sink(alias: str, key: str, value: Any) -> None:
        if alias == "windows" and value.revision == 0:
            windows[value.model, value.start_us] = without_id(value)

    driver = Offline(Settings(), sink, partitions=PARTITIONS, recorded=("traffic",))
    for partition, raws in sorted(read_log(address, "traffic").items()):
        driver.feed_log("traffic", partition, raws)
    return windows


def without_id(record: Any) -> Any:
    return msgspec.structs.replace(record, id="-")


async def all_judged_false(address: str) -> int:
    """A person judges every alert that there is; waits until that has taken effect, and says how many there were."""
    names = sorted({found.value.alert for found in await read_async(address, "alerts")})
    for name in names:
        await write_control(address, Feedback(id=f"on-{name}", time_us=0, alert=name, verdict="false"))
    await caught_up(address)
    return len(names)


def test_replay_equals_worker(fresh_broker: str, tmp_path: Path) -> None:
    source = find_source("synthetic", "", SEED, Synthesis(70 * 60, 15.0, SEED), None, live=True)
    planned = plan(source, "default", SEED)
    assert planned.incidents
    with worker(fresh_broker, tmp_path):
        ran = asyncio.run(replayed(planned, fresh_broker, with_context=True))
        judged = asyncio.run(all_judged_false(fresh_broker))
    assert ran.settled
    assert ran.balanced
    told = {found.value.model: found.value for found in read(fresh_broker, "thresholds")}
    assert sum(family.false_alerts for each in told.values() for family in each.families) == judged > 0
    assert any(family.k > 1.0 for each in told.values() for family in each.families)

    offline = offline_from_logs(fresh_broker)
    for alias in OUTPUTS:
        recorded = once(read(fresh_broker, alias))
        assert recorded, f"the run has no {alias}: it proves nothing about them"
        assert differences(recorded, offline[alias]) == [], alias

    decode = decoder(BY_ALIAS["slices"])
    slices = [decode(raw.value) for raws in read_log(fresh_broker, "slices").values() for raw in raws if raw.value]
    written = {each.id: each for each in slices if not isinstance(each, Relayed)}
    assert differences(written, offline["slices"]) == []

    recorded_windows = {
        (found.value.model, found.value.start_us): without_id(found.value)
        for found in read(fresh_broker, "windows")
        if found.value.revision == 0
    }
    assert offline_from_traffic(fresh_broker) == recorded_windows
