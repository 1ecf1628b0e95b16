# mypy: ignore-errors
# Runs in an environment of its own, and is written as its documentation writes such jobs: without annotations.
"""The windows job in Bytewax 0.21: KafkaSource, key_on, fold_window, KafkaSink, as its documentation has them.

    python -m bytewax.run bytewax_job:flow --recovery-directory DIR --snapshot-interval 10 --backup-interval 0

One worker. The accumulator is an object in memory; Bytewax exchanges by key between its own workers, so no repartition
topic is needed. `batch_size` stays at the 1,000 that KafkaSource's documentation gives for throughput; more was slower.
`tail=False` ends it at the end of the input, all windows closed: it never idles, so nothing else would show the end.
"""

import os
from datetime import UTC, datetime, timedelta
from math import exp, log

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow

BROKERS = [os.environ["PEER_BROKER"]]
GAMMA_LOG = log(1.02)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GRACE = timedelta(minutes=30)


class Totals:
    """The aggregate of one window, with counts in logarithmic buckets (1 % accuracy) as its sketch."""

    __slots__ = ("buckets", "completions", "errors", "input_tokens", "output_tokens")

    def __init__(self):
        self.completions = self.errors = self.input_tokens = self.output_tokens = 0
        self.buckets = {}

    def quantile_us(self, percent):
        rank = max(1, -(-sum(self.buckets.values()) * percent // 100))
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank <= 0:
                return exp((bucket + 0.5) * GAMMA_LOG)
        return None


def add(totals, item):
    event = item[1]
    totals.completions += 1
    totals.input_tokens += event["gen_ai.usage.input_tokens"]
    totals.output_tokens += event["gen_ai.usage.output_tokens"]
    if event["error.type"]:
        totals.errors += 1
    else:
        bucket = int(log(event["gen_ai.client.operation.duration"] * 1e6 + 1) / GAMMA_LOG)
        totals.buckets[bucket] = totals.buckets.get(bucket, 0) + 1
    return totals


def merge(one, other):
    """Only session windows merge; fold_window wants it all the same."""
    one.completions += other.completions
    one.errors += other.errors
    one.input_tokens += other.input_tokens
    one.output_tokens += other.output_tokens
    for bucket, count in other.buckets.items():
        one.buckets[bucket] = one.buckets.get(bucket, 0) + count
    return one


def parse(message):
    """(time, event), or None for what is no completion."""
    event = orjson.loads(message.value)
    if event["type"] != "completion":
        return None
    return datetime.fromtimestamp(event["time_us"] / 1e6, UTC), event


def answer(keyed):
    model, (window_id, totals) = keyed
    value = {
        "model": model,
        "start_us": window_id * 60_000_000,  # windows are numbered from `align_to`
        "completions": totals.completions,
        "errors": totals.errors,
        "error_rate": totals.errors / totals.completions,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "duration_us_p50": totals.quantile_us(50),
        "duration_us_p99": totals.quantile_us(99),
    }
    return KafkaSinkMessage(model.encode(), orjson.dumps(value))


flow = Dataflow("windows")
messages = op.input(
    "input",
    flow,
    KafkaSource(
        BROKERS,
        [os.environ["PEER_INPUT"]],
        tail=False,
    ),
)
events = op.filter_map("parse", messages, parse)
by_model = op.key_on("by model", events, lambda item: item[1]["gen_ai.response.model"])
windows = win.fold_window(
    "windows",
    by_model,
    win.EventClock(lambda item: item[0], wait_for_system_duration=GRACE),
    win.TumblingWindower(length=timedelta(minutes=1), align_to=EPOCH),
    Totals,
    add,
    merge,
    ordered=False,
)
op.output("output", op.map("answer", windows.down, answer), KafkaSink(BROKERS, os.environ["PEER_OUTPUT"]))
