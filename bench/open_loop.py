"""A process of its own that sends requests at a fixed rate and sees their decisions: `python -m bench.open_loop`.

Open loop: request i is due at start + i / rate whatever has happened before, and its latency is the moment its decision
was seen less the moment it was *due*. A stall anywhere (the worker, the broker, this process) so counts against every
request that was due in it: no coordinated omission. Sender and consumer share one clock.

With `--watch traffic` it waits for its own requests to come back: what one passage through the broker costs, without a
worker. A decision needs two.

Each request completes three seconds later: reservations that nobody ends pile up, and no gateway leaves them.

What this process adds is measured too: how late it handed requests to its producer, and its own processor time. A
figure whose sender was late is void (`is_valid`): it would tell of this process and not of Tidegate.
"""

import argparse
import asyncio
import gc
import json
import re
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.load import TRAFFIC
from bench.traffic import CHUNK, COMPLETION, COMPLETION_AFTER_US, Traffic, columns, pools, request_value
from bench.watch import DECISIONS

LINGER_S = 0.005
"""Requests that became due meanwhile go out together, which is part of the latency. It is the default of Kafka's own
producer (since 4.0) and of librdkafka's."""

WARM_UP_S = 5.0  # sent and decided, not counted
DRAIN_S_MAX = 30.0  # after the last request, for its decision
LATE_S_MAX = 0.02  # 99.9 % of the requests must have been handed over within this, or the figure is void
LAG_SAMPLE_S = 1.0
BATCH_BYTES_MAX = 4 * 1024 * 1024  # of what became due in one stall
WATCHED = {
    "decisions": (DECISIONS, re.compile(rb'"request":"r(\d{9})"').findall),
    "traffic": (TRAFFIC, re.compile(rb'^\{"type":"request","id":"r(\d{9})"', re.MULTILINE).findall),
}
"""What is waited for -> its topic, and the numbers of the requests in its records."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Latency:
    """One run. Milliseconds from due to seen; `late_ms_*` from due to handed to the producer, part of the former.

    `lag_*`: requests due and not yet decided, sampled each second: medians of the first and last third of the run.
    """

    rate: int
    requests: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    late_ms_p99: float
    late_ms_p999: float
    undecided: int
    throttled: int
    lag_first: float
    lag_last: float
    cores: float

    @property
    def is_valid(self) -> bool:
        """Whether the sender kept its schedule."""
        return self.late_ms_p999 <= LATE_S_MAX * 1000

    @property
    def lag_grows(self) -> bool:
        """More than double, and by more than half a second's requests."""
        return self.lag_last > 2 * self.lag_first and self.lag_last - self.lag_first > self.rate / 2


class OpenLoop:
    """One run at one rate: times by request number."""

    def __init__(self, address: str, traffic: Traffic, rate: int, watched: str, linger_s: float) -> None:
        self._address = address
        self._traffic = traffic
        self._rate = rate
        self._linger_s = linger_s
        self._due: Floats = np.zeros(traffic.requests)
        self._handed: Floats = np.zeros(traffic.requests)
        self._seen: Floats = np.full(traffic.requests, np.nan)
        self._decided = 0
        self._throttled = 0
        self._lags: list[float] = []
        self._complete = asyncio.Event()
        self._ready = _prepared(traffic)
        self._completes_after = COMPLETION_AFTER_US * rate // 1_000_000  # so many requests later
        topic, self._requests_in = WATCHED[watched]
        self._places = [TopicPartition(topic, number) for number in range(traffic.partitions)]

    async def run(self) -> Latency:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._address, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES_MAX
        )
        consumer = AIOKafkaConsumer(bootstrap_servers=self._address, enable_auto_commit=False, fetch_max_wait_ms=100)
        await producer.start()
        await producer.client.set_topics([TRAFFIC])
        await consumer.start()
        consumer.assign(self._places)
        await consumer.seek_to_end()
        for place in self._places:
            await consumer.position(place)
        watching = asyncio.create_task(self._watch(consumer))
        try:
            began, cpu_began = time.perf_counter(), time.process_time()
            await self._send(producer, began)
            cores = (time.process_time() - cpu_began) / (time.perf_counter() - began)
            await self._until_decided(watching)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await producer.stop()
            await consumer.stop()
        return self._result(cores)

    async def _send(self, producer: Any, began: float) -> None:
        total, sent = self._traffic.requests, 0
        began_us = time.time_ns() // 1000
        self._due = began + np.arange(total) / self._rate
        sample_at = began
        while sent < total:
            now = time.perf_counter()
            due = min(total, int((now - began) * self._rate) + 1)
            if due > sent:
                await self._hand_over(producer, sent, due, began_us)
                sent = due
            if now >= sample_at:
                self._lags.append(float(due - self._decided))
                sample_at += LAG_SAMPLE_S
            await asyncio.sleep(max(0.0, self._linger_s - (time.perf_counter() - now)))

    async def _hand_over(self, producer: Any, first: int, end: int, began_us: int) -> None:
        """Requests `first` to `end` - 1 and the completions due with them, by the record batch of each partition."""
        builders: defaultdict[int, Any] = defaultdict(producer.create_batch)
        for number in range(first, end):
            time_us = began_us + number * 1_000_000 // self._rate
            ready = self._ready[number % CHUNK]
            values = [(ready, request_value(number, time_us, ready.rest))]
            if (ended := number - self._completes_after) >= 0:
                ready = self._ready[ended % CHUNK]
                values.append((ready, COMPLETION % (ended, time_us, ready.key, *ready.completion)))
            for ready, value in values:
                appended = builders[ready.partition].append(timestamp=time_us // 1000, key=ready.key, value=value)
                assert appended is not None, "a stall of more than BATCH_BYTES_MAX"
        for partition, builder in builders.items():
            builder.close()
            await producer.send_batch(builder, TRAFFIC, partition=partition)
        self._handed[first:end] = time.perf_counter()

    async def _watch(self, consumer: Any) -> None:
        while True:
            found = await consumer.getmany(timeout_ms=100)
            now = time.perf_counter()
            text = b"\n".join(record.value for records in found.values() for record in records)
            numbers = np.array(self._requests_in(text), dtype=np.int64)
            self._seen[numbers] = np.fmin(self._seen[numbers], now)  # the first, should one come twice
            self._decided += len(numbers)
            self._throttled += text.count(b'"outcome":"throttled"')
            if self._decided >= len(self._seen) and not np.isnan(self._seen).any():
                self._complete.set()

    async def _until_decided(self, watching: "asyncio.Task[None]") -> None:
        """Wait for the last decision, or for the consumer to fail; not for ever."""
        complete = asyncio.create_task(self._complete.wait())
        await asyncio.wait([complete, watching], timeout=DRAIN_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        complete.cancel()
        if watching.done():
            watching.result()

    def _result(self, cores: float) -> Latency:
        counted = slice(int(WARM_UP_S * self._rate), None)
        latencies = (self._seen - self._due)[counted] * 1000
        undecided = int(np.isnan(latencies).sum())
        p50, p99, p999, slowest = np.nanpercentile(latencies, (50, 99, 99.9, 100)).tolist()
        late = np.percentile((self._handed - self._due)[counted] * 1000, (99, 99.9)).tolist()
        lags = np.array(self._lags[int(WARM_UP_S / LAG_SAMPLE_S) :])
        third = max(1, len(lags) // 3)
        return Latency(
            rate=self._rate,
            requests=len(latencies),
            p50_ms=p50,
            p99_ms=p99,
            p999_ms=p999,
            max_ms=slowest,
            late_ms_p99=late[0],
            late_ms_p999=late[1],
            undecided=undecided,
            throttled=self._throttled,
            lag_first=float(np.median(lags[:third])),
            lag_last=float(np.median(lags[-third:])),
            cores=cores,
        )


class Ready(NamedTuple):
    """What can be encoded of a request beforehand, and what its completion says; numbers and times make it new."""

    partition: int
    key: bytes
    rest: bytes
    completion: tuple[int, ...]


def _prepared(traffic: Traffic) -> list[Ready]:
    """CHUNK requests."""
    made = pools(traffic.organisations, traffic.models, traffic.partitions)
    drawn = zip(*(column.tolist() for column in columns(traffic, 0, CHUNK)), strict=True)
    return [
        Ready(
            made.places[who],
            made.keys[who],
            made.rest(who, model, tokens) + made.prompt(number, salt),
            (model, tokens, salt % 500, salt % 97, salt),
        )
        for number, (who, model, tokens, salt) in enumerate(drawn)
    ]


def main() -> None:
    """Print the result as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--linger", type=float, default=LINGER_S)
    parser.add_argument("--watch", choices=tuple(WATCHED), default="decisions")
    chosen = parser.parse_args()
    requests = int((chosen.seconds + WARM_UP_S) * chosen.rate)
    traffic = Traffic(requests, 0, partitions=chosen.partitions, prompts=True)
    loop = OpenLoop(chosen.broker, traffic, chosen.rate, chosen.watch, chosen.linger)
    gc.freeze()  # a collection of what was prepared would be measured as latency
    found = asyncio.run(loop.run())
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    main()
