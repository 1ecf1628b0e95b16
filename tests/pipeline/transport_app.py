"""`python -m tests.pipeline.transport_app BROKER OUTPUT`: a Faust application over the batch transport, on its own.

It reads a batched and a plain topic side by side, acknowledges the batches of `batched` in pairs, the later one first,
takes its time over `slow`, and tells all it got, a line of JSON each.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import faust

from pipeline.transport import BatchTransport

BUFFERED_MAX = 4
ALL = sys.maxsize
BATCHED = frozenset(("batched", "slow"))
SLOW_S = 0.01


def application(broker: str, output: Path) -> faust.App:
    app = faust.App(
        "transport-test",
        broker=f"kafka://{broker}",
        store="memory://",
        datadir=tempfile.mkdtemp(),
        web_enabled=False,
        topic_disable_leader=True,
        broker_commit_interval=0.2,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=BUFFERED_MAX,
        stream_wait_empty=False,
    )
    app.transport = BatchTransport(broker, app, BATCHED)
    sink = output.open("a", buffering=1)

    def tell(topic: str, partition: int, offsets: list[int], values: list[Any]) -> None:
        line = {"topic": topic, "partition": partition, "offsets": offsets, "values": [v.decode() for v in values]}
        sink.write(json.dumps(line) + "\n")

    def channel(name: str) -> Any:
        return app.topic(name, key_serializer="raw", value_serializer="raw", value_type=bytes)

    @app.agent(channel("batched"))
    async def batched(stream: Any) -> None:
        held: dict[int, Any] = {}
        async for event in stream.noack().events():
            (records,) = event.message.value.parts(ALL)
            tell("batched", event.message.partition, list(records.offsets), records.values)
            before = held.pop(event.message.partition, None)
            if before is None:
                held[event.message.partition] = event
                asyncio.get_running_loop().call_later(0.5, event.ack)  # a last one has no second
            else:
                event.ack()
                before.ack()

    @app.agent(channel("plain"))
    async def plain(stream: Any) -> None:
        async for event in stream.events():
            tell("plain", event.message.partition, [event.message.offset], [event.value])

    @app.agent(channel("slow"))
    async def slow(stream: Any) -> None:
        async for event in stream.events():
            await asyncio.sleep(SLOW_S)
            tp, (records,) = event.message.tp, event.message.value.parts(ALL)
            acknowledged = len(app.consumer._acked_index[tp])  # and not yet committed
            outstanding = app.consumer.offsets.outstanding(tp) - acknowledged
            tell("slow", event.message.partition, list(records.offsets), [str(outstanding).encode()])

    return app


if __name__ == "__main__":
    app = application(sys.argv[1], Path(sys.argv[2]))
    faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True).execute_from_commandline()
