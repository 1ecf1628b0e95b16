# mypy: ignore-errors
# Runs in an environment of its own, and is written as its documentation writes such jobs: without annotations.
"""The windows job in plain Faust 0.15: an agent, group_by, take, a table, as its documentation has them.

Faust's own windowed tables never hand out a closed window's value (faust-streaming 0.15.3), so the table is keyed by
model and minute, and the agent answers for a minute when event time has passed its end and the grace. `take` handles
events by the batch, as Faust's guide on streams advises, so that the table is written once a batch and key.
"""

import os
from math import exp, log

import faust

GAMMA_LOG = log(1.02)
MINUTE_US = 60_000_000
GRACE_US = 30 * MINUTE_US
TAKE = 1_000

app = faust.App(
    os.environ["PEER_NAME"],
    broker=f"kafka://{os.environ['PEER_BROKER']}",
    datadir=os.environ["PEER_STATE"],
    store="memory://",
    topic_partitions=8,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    stream_buffer_maxsize=16_384,
    producer_linger_ms=100,
    producer_max_batch_size=256 * 1024,
    web_enabled=False,
)
source = app.topic(os.environ["PEER_INPUT"], key_type=bytes, value_serializer="json")
answers = app.topic(os.environ["PEER_OUTPUT"], value_serializer="json", partitions=1)
totals = app.Table("totals", default=None, partitions=8, use_partitioner=True)
latest_us = {}  # by model: event time moves on for each model alone, as its events lie in one partition


def model_of(event):
    return event["gen_ai.response.model"]


def add(state, event):
    """[completions, errors, input tokens, output tokens, {bucket: count}]; the buckets are logarithmic (1 %)."""
    state[0] += 1
    state[2] += event["gen_ai.usage.input_tokens"]
    state[3] += event["gen_ai.usage.output_tokens"]
    if event["error.type"]:
        state[1] += 1
    else:
        bucket = str(int(log(event["gen_ai.client.operation.duration"] * 1e6 + 1) / GAMMA_LOG))
        state[4][bucket] = state[4].get(bucket, 0) + 1


def quantile_us(buckets, percent):
    rank = max(1, -(-sum(buckets.values()) * percent // 100))
    for bucket in sorted(buckets, key=int):
        rank -= buckets[bucket]
        if rank <= 0:
            return exp((int(bucket) + 0.5) * GAMMA_LOG)
    return None


def answer(model, start_us, state):
    completions, errors, input_tokens, output_tokens, buckets = state
    return {
        "model": model,
        "start_us": start_us,
        "completions": completions,
        "errors": errors,
        "error_rate": errors / completions,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "duration_us_p50": quantile_us(buckets, 50),
        "duration_us_p99": quantile_us(buckets, 99),
    }


async def close_windows(model, before_us):
    """Send and forget this model's windows that ended before."""
    prefix = f"{model} "
    for key in [key for key in totals if key.startswith(prefix) and int(key[len(prefix) :]) + MINUTE_US <= before_us]:
        await answers.send(key=model, value=answer(model, int(key[len(prefix) :]), totals[key]))
        del totals[key]


def is_completion(event):
    return event["type"] == "completion"


def by_model(stream):
    completions = stream.filter(is_completion)
    if os.environ["PEER_REGROUP"] == "1":
        return completions.group_by(model_of, name="model")
    return completions


@app.agent(source)
async def windows(stream):
    async for batch in by_model(stream).take(TAKE, within=1.0):
        changed = {}
        for event in batch:
            model, time_us = model_of(event), event["time_us"]
            key = f"{model} {time_us - time_us % MINUTE_US}"
            if key not in changed:
                changed[key] = totals.get(key) or [0, 0, 0, 0, {}]
            add(changed[key], event)
            latest_us[model] = max(latest_us.get(model, 0), time_us)
        for key, state in changed.items():
            totals[key] = state
        for model in {key.partition(" ")[0] for key in changed}:
            await close_windows(model, latest_us[model] - GRACE_US)


if __name__ == "__main__":
    app.main()
