"""Workers that do one thing wrong each, to prove that the comparison can fail. A mutant is a patch made at start.

flush      checkpoints do not wait for outputs: these are on their way for a second longer
position   a restored lane does not skip what its state accounts for already
increment  a slice that comes again is added to what it was, instead of replacing it
fence      who held a lane before is not shut out from its changelog
barrier    plans and throttles take effect when a worker hears of them, not at their place in the traffic log
gap        a fetch that got lost is not noticed by what comes after it

All but fence are noticed in 40,000 events, `--seed 8 --events 40000`. What a zombie writes over a newer state stays
only where nobody writes again before partitions move, which takes many organisations: `--seed 15 --events 500000`.
"""

import asyncio
import itertools
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

import pipeline.changelog
import pipeline.stages.windows
import pipeline.transport
from pipeline import minutes
from pipeline.chain import Chain
from pipeline.fetched import Fetched, fetched_records
from pipeline.publisher import Publisher
from pipeline.stage import Batch, Output
from pipeline.stages.relay import concerned
from topics.codec import decoder
from topics.control import Relayed
from topics.table import BY_ALIAS

LATE_S = 1.0
ONE_LOST_OF = 20


def flush(_: str) -> None:
    publish = Publisher.publish

    async def later(publisher: Publisher, partition: int, outputs: Iterable[Output]) -> list[Any]:
        kept = list(outputs)
        loop = asyncio.get_running_loop()
        loop.call_later(LATE_S, lambda: loop.create_task(publish(publisher, partition, kept)))
        return []

    _replace(Publisher, "publish", later)


def position(_: str) -> None:
    _replace(Fetched, "after", lambda fetched, position: fetched)


def fence(_: str) -> None:
    producer = pipeline.changelog.AIOKafkaProducer  # type: ignore[attr-defined]

    def not_the_lanes_own(**options: Any) -> Any:
        options["transactional_id"] += f" {os.getpid()}"
        return producer(**options)

    _replace(pipeline.changelog, "AIOKafkaProducer", not_the_lanes_own)


def increment(_: str) -> None:
    def add(state: Any, progress: Any, part: Any, window_us: int) -> bool:
        key = minutes.cell_key(part.start_us, part.partition, part.model)
        held = state.get(key)
        if held is None or held.offset != part.offset:
            return minutes.keep(state, progress, part, window_us)
        state.put(key, msgspec.structs.replace(held, requests=held.requests + part.requests))
        return True

    _replace(pipeline.stages.windows, "keep", add)
    _replace(pipeline.stages.windows, "was_heard", lambda progress, part: False)


def barrier(broker: str) -> None:
    heard: list[Relayed] = []
    applied: dict[int, int] = {}
    threading.Thread(target=lambda: asyncio.run(_listen(broker, heard)), daemon=True).start()
    step = Chain.step

    def at_once(chain: Chain, batch: Batch, position: int) -> list[Output]:
        if chain.source != "traffic":
            return step(chain, batch, position)
        news = heard[applied.get(id(chain), 0) :]
        applied[id(chain)] = applied.get(id(chain), 0) + len(news)
        kept = [index for index, event in enumerate(batch.events) if not isinstance(event, Relayed)]
        offsets = [batch.offsets[0]] * len(news) + [batch.offsets[index] for index in kept]
        events = [*news, *(batch.events[index] for index in kept)]
        return step(chain, batch._replace(offsets=offsets, events=events), position)

    _replace(Chain, "step", at_once)


def gap(_: str) -> None:
    fetches = itertools.count(1)

    async def losing(*how: Any) -> Any:
        found = await fetched_records(*how)
        if next(fetches) % ONE_LOST_OF == 0:
            return {}
        return {tp: _from_the_first(one) if isinstance(one, Fetched) else one for tp, one in found.items()}

    _replace(pipeline.transport, "fetched_records", losing)


def _from_the_first(found: Fetched) -> Fetched:
    """Said to cover all offsets before it too, so that it leaves no gap."""
    return found._replace(covers=range(found.covers.stop))


async def _listen(broker: str, heard: list[Relayed]) -> None:
    topic = BY_ALIAS["control"]
    decode = decoder(topic)
    async with AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition(topic.name, 0)])
        consumer.seek(TopicPartition(topic.name, 0), 0)
        async for record in consumer:
            event = decode(record.value)
            if "traffic" in concerned(event):
                heard.append(Relayed(offset=record.offset, event=event))


def _replace(owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name}: the mutant would change nothing"
    setattr(owner, name, value)


MUTANTS: dict[str, Callable[[str], None]] = {
    "flush": flush,
    "position": position,
    "fence": fence,
    "increment": increment,
    "barrier": barrier,
    "gap": gap,
}
"""By name; called with the broker's address before the worker starts."""
