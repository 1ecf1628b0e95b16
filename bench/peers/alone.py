"""One run on a broker of its own, so that nothing is left over from another: no offsets, state or closing events."""

import time

from bench.peers.produce import produce_input
from bench.peers.run import Measured, run_peer
from bench.peers.work import KeyedBy, Work, base_for
from pipeline.broker import temporary_broker
from pipeline.kafka_admin import create_topics


async def measured_alone(name: str, events: int, keyed_by: KeyedBy, seed: int = 1) -> Measured:
    """Start a broker, fill it with `events`, run the peer `name` over them. Raises PeerError, BrokerError."""
    work = Work(events, base_for(events, time.time_ns() // 1000), seed, keyed_by=keyed_by)
    with temporary_broker() as broker:
        await create_topics(broker.address, work.partitions, 1)
        await produce_input(broker.address, work)
        return await run_peer(name, broker.address, work)
