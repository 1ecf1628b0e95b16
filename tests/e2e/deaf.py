"""`python -m tests.e2e.deaf FAULT ONCE worker ...`: a worker that has, once, what Faust and its client may get.

FAULT is `fetch` (partition 0 of the traffic log is never fetched again), `commit` (nothing is committed any more),
`join` (no rebalance ever ends), `topics` (the broker knows no topic when partitions are first given out) or `drop` (of
each partition's first fetches, every other one is thrown away). ONCE is a file that this process leaves, so that the
one after it is healthy.
"""

import asyncio
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.assignor.partition_assignor import PartitionAssignor

from pipeline import cli, transport
from topics.table import BY_ALIAS

TRAFFIC = BY_ALIAS["traffic"].name
DROPPED_AMONG = 6


def _stop_fetching() -> None:
    fetch = transport.fetched_records

    async def deaf(fetcher: Any, partitions: Any, *how: Any) -> Any:
        heard = {tp for tp in partitions if (tp.topic, tp.partition) != (TRAFFIC, 0)}
        return await fetch(fetcher, heard, *how)

    transport.fetched_records = deaf


def _stop_committing() -> None:
    transport.BatchConsumer._new_offset = lambda self, tp: None  # type: ignore[method-assign]


def _never_join() -> None:
    async def waits(*_: Any) -> Any:
        await asyncio.Event().wait()

    GroupCoordinator._do_rejoin_group = waits


def _forget_topics() -> None:
    assign, asked = PartitionAssignor.assign, list[Any]()

    def forgetful(self: Any, cluster: Any, members: Any) -> Any:
        if not asked:
            cluster._partitions.clear()
        asked.append(members)
        return assign(self, cluster, members)

    PartitionAssignor.assign = forgetful


def _drop_fetches() -> None:
    fetch, fetched = transport.fetched_records, defaultdict[Any, int](int)

    async def dropping(*how: Any) -> Any:
        found = await fetch(*how)
        for tp in found:
            fetched[tp] += 1
        return {tp: each for tp, each in found.items() if fetched[tp] > DROPPED_AMONG or fetched[tp] % 2 == 0}

    transport.fetched_records = dropping


FAULTS = {
    "drop": _drop_fetches,
    "fetch": _stop_fetching,
    "commit": _stop_committing,
    "join": _never_join,
    "topics": _forget_topics,
}

if __name__ == "__main__":
    fault, once, *arguments = sys.argv[1:]
    if not Path(once).exists():
        Path(once).touch()
        FAULTS[fault]()
    sys.exit(cli.run(arguments))
