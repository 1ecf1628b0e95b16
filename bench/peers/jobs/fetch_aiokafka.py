# mypy: ignore-errors
# Runs in an environment of its own, and is written as its documentation writes such jobs: without annotations.
"""Fetches N events with aiokafka's consumer and does nothing with them."""

import asyncio
import os
import sys

from aiokafka import AIOKafkaConsumer


async def main(events):
    consumer = AIOKafkaConsumer(
        os.environ["PEER_INPUT"],
        bootstrap_servers=os.environ["PEER_BROKER"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    await consumer.start()
    seen = 0
    while seen < events:
        for records in (await consumer.getmany(timeout_ms=1_000)).values():
            seen += len(records)
    await consumer.stop()


asyncio.run(main(int(sys.argv[1])))
