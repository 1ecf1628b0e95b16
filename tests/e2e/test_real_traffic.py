"""Recorded traffic of production services replays to the end: as many decisions as requests, none lost, none double."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from pipeline.commands.replaying import find_source, plan
from tests.e2e.runs import once, read, replayed, worker

TRACES = {
    "azure-llm-2023-conv.csv": 19_366,
    "azure-llm-2023-code.csv": 8_819,
    "mooncake-conversation.jsonl": 12_031,
}


@pytest.mark.parametrize("name", TRACES)
def test_every_request_of_a_real_trace_is_decided_once(
    name: str, traffic_folder: Path, fresh_broker: str, tmp_path: Path
) -> None:
    source = find_source(str(traffic_folder / name), "", 1, None, None, live=True)
    with worker(fresh_broker, tmp_path):
        ran = asyncio.run(replayed(plan(source, "none", 1), fresh_broker))
    assert ran.settled
    assert (ran.requests, ran.decisions) == (TRACES[name], TRACES[name])

    decisions = read(fresh_broker, "decisions")
    assert Counter(found.value.request for found in decisions).most_common(1)[0][1] == 1
    assert len(once(decisions)) == TRACES[name]
    assert read(fresh_broker, "dead-letters") == []

    windows = once(read(fresh_broker, "windows")).values()
    latest = {(window.model, window.start_us): window for window in sorted(windows, key=lambda each: each.revision)}
    assert sum(window.requests for window in latest.values()) == TRACES[name]
    assert sum(window.completions for window in latest.values()) == TRACES[name]
