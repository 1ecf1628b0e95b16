# mypy: ignore-errors
# Runs in an environment of its own, and is written as its documentation writes such jobs: without annotations.
"""Fetches N events with confluent-kafka (librdkafka) and does nothing with them."""

import os
import sys

from confluent_kafka import Consumer

consumer = Consumer(
    {
        "bootstrap.servers": os.environ["PEER_BROKER"],
        "group.id": os.environ["PEER_NAME"],
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
)
consumer.subscribe([os.environ["PEER_INPUT"]])
seen, events = 0, int(sys.argv[1])
while seen < events:
    seen += len(consumer.consume(5_000, timeout=1.0))
