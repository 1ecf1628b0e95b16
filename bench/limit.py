"""The physical limit of the windows job: a process that only fetches, or fetches and decodes, as a worker does.

`python -m bench.limit --broker HOST:PORT --partitions N --events N [--decode]`

Prints the processor seconds from the first record batch to the last: what would be left if stages cost nothing.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable
from typing import cast

from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.load import TRAFFIC
from pipeline.fetched import fetched_records, read_in_large_pieces
from pipeline.garbage import collect_rarely
from pipeline.heap import keep_freed_memory
from pipeline.lane import STEP_RECORDS_MAX
from pipeline.transport import FETCH_BYTES_MAX, PARTITION_FETCH_BYTES_MAX
from topics.codec import decoder
from topics.table import BY_ALIAS

FETCH_S_MAX = 1.0


async def consume(address: str, partitions: int, events: int, *, decode: bool) -> float:
    """Read the first `events` of the traffic topic; processor seconds, user and system, of this process."""
    places = [TopicPartition(TRAFFIC, number) for number in range(partitions)]
    decode_one = decoder(BY_ALIAS["traffic"]) if decode else None
    consumer = AIOKafkaConsumer(
        bootstrap_servers=address,
        enable_auto_commit=False,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
        fetch_max_bytes=FETCH_BYTES_MAX,
    )
    await consumer.start()
    try:
        began = time.process_time()
        consumer.assign(places)
        await consumer.seek_to_beginning()
        seen = 0
        while seen < events:
            for found in (await fetched_records(consumer._fetcher, places, FETCH_S_MAX, {TRAFFIC}, {})).values():
                for part in found.parts(STEP_RECORDS_MAX):
                    seen += len(part.values)
                    if decode_one is not None:
                        list(map(decode_one, cast(Iterable[bytes], part.values)))
        return time.process_time() - began
    finally:
        await consumer.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--decode", action="store_true")
    chosen = parser.parse_args()
    collect_rarely()
    keep_freed_memory()
    read_in_large_pieces()
    cpu_s = asyncio.run(consume(chosen.broker, chosen.partitions, chosen.events, decode=chosen.decode))
    sys.stdout.write(f"{cpu_s}\n")


if __name__ == "__main__":
    main()
