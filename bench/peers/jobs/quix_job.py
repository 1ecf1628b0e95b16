# mypy: ignore-errors
# Runs in an environment of its own, and is written as its documentation writes such jobs: without annotations.
"""The windows job in Quix Streams 3.28: group_by, tumbling_window, agg, final, as its documentation has them."""

import os
from math import exp, log

from quixstreams import Application
from quixstreams.dataframe.windows import Aggregator

GAMMA_LOG = log(1.02)
MINUTE_MS = 60_000
GRACE_MS = 30 * MINUTE_MS


class Totals(Aggregator):
    """All in one aggregator: [completions, errors, input tokens, output tokens, {bucket: count}].

    The buckets are logarithmic (1 % accuracy). State is JSON, so that their numbers are strings.
    """

    def initialize(self):
        return [0, 0, 0, 0, {}]

    def agg(self, old, new, timestamp):
        old[0] += 1
        old[2] += new["gen_ai.usage.input_tokens"]
        old[3] += new["gen_ai.usage.output_tokens"]
        if new["error.type"]:
            old[1] += 1
        else:
            bucket = str(int(log(new["gen_ai.client.operation.duration"] * 1e6 + 1) / GAMMA_LOG))
            old[4][bucket] = old[4].get(bucket, 0) + 1
        return old

    def result(self, value):
        return value


def quantile_us(buckets, percent):
    rank = max(1, -(-sum(buckets.values()) * percent // 100))
    for bucket in sorted(buckets, key=int):
        rank -= buckets[bucket]
        if rank <= 0:
            return exp((int(bucket) + 0.5) * GAMMA_LOG)
    return None


def answer(window, key, timestamp, headers):
    completions, errors, input_tokens, output_tokens, buckets = window["totals"]
    return {
        "model": key if isinstance(key, str) else key.decode(),
        "start_us": window["start"] * 1000,
        "completions": completions,
        "errors": errors,
        "error_rate": errors / completions,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "duration_us_p50": quantile_us(buckets, 50),
        "duration_us_p99": quantile_us(buckets, 99),
    }


def main():
    app = Application(
        broker_address=os.environ["PEER_BROKER"],
        consumer_group=os.environ["PEER_NAME"],
        state_dir=os.environ["PEER_STATE"],
        auto_offset_reset="earliest",
        loglevel="WARNING",
    )
    events = app.dataframe(app.topic(os.environ["PEER_INPUT"], value_deserializer="json"))
    completions = events[events["type"] == "completion"]
    if os.environ["PEER_REGROUP"] == "1":
        completions = completions.group_by("gen_ai.response.model")
    windows = completions.tumbling_window(MINUTE_MS, GRACE_MS, name="windows").agg(totals=Totals()).final()
    windows.apply(answer, metadata=True).to_topic(app.topic(os.environ["PEER_OUTPUT"], value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main()
