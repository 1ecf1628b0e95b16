"""Traffic for the benchmarks as encoded records, from one seed: requests, with or without prompts and completions.

Organisations follow a mild power law; the busiest have the enterprise tier, most the pro tier, so that nearly all
requests are admitted: a throttled one never reaches the safety stage and would flatter the figures.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.prompts import Prompts
from topics.codec import partition_of

SECOND_US = 1_000_000
CHUNK = 20_000
RESERVED_TOKENS = 600
COMPLETION_AFTER_US = 3 * SECOND_US
ORGANISATION_EXPONENT = 0.3
MODEL_EXPONENT = 1.0
TIERS = ((0.1, "enterprise"), (0.8, "pro"), (1.0, "free"))
"""Up to which share of the organisations, busiest first, each tier goes."""

Ints = npt.NDArray[np.int64]


class Record(NamedTuple):
    """A record with its place. `time_ms` is the record's own timestamp."""

    partition: int
    key: bytes
    value: bytes
    time_ms: int


@dataclass(frozen=True)
class Traffic:
    """What to make. `per_s`: requests a second of event time; `base_us`: where event time begins.

    `completions`: "none", "each" (3 s of event time behind its request), or "only" (no requests at all).
    `each_once`: request i comes from organisation i, instead of one drawn by the power law.
    """

    requests: int
    base_us: int
    per_s: int = 100
    organisations: int = 10_000
    models: int = 10
    partitions: int = 8
    prompts: bool = False
    completions: str = "none"
    each_once: bool = False
    seed: int = 1

    @property
    def events(self) -> int:
        return self.requests * (2 if self.completions == "each" else 1)

    @property
    def decisions(self) -> int:
        return 0 if self.completions == "only" else self.requests


def base_for(requests: int, per_s: int, now_us: int) -> int:
    """Where event time begins so that the last event is a minute old now: no record comes from the future."""
    return now_us - requests * SECOND_US // per_s - COMPLETION_AFTER_US - 60 * SECOND_US


def request_value(number: int, time_us: int, rest: bytes) -> bytes:
    """An encoded request; `rest` is what `Pools` has for its organisation, model and prompt."""
    return b'{"type":"request","id":"r%09d","time_us":%d,%b}' % (number, time_us, rest)


class Pools:
    """The parts that values are put together from, encoded once. One instance serves one shape of traffic."""

    def __init__(self, organisations: int, models: int, partitions: int) -> None:
        self.keys = [b"organisation-%07d" % number for number in range(organisations)]
        self.places = [partition_of(key, partitions) for key in self.keys]
        self._organisations = [
            b'"organisation":"%b","tier":"%b"' % (key, _tier(number / organisations).encode())
            for number, key in enumerate(self.keys)
        ]
        self._models = [b'"gen_ai.request.model":"tide-%05d"' % number for number in range(models)]
        prompts = Prompts()
        self._openings = [text.encode() for text in prompts.openings]
        self._backgrounds = [text.encode() for text in prompts.backgrounds]

    def rest(self, organisation: int, model: int, input_tokens: int) -> bytes:
        """All of a request that comes behind its time, without a prompt."""
        who, what = self._organisations[organisation], self._models[model]
        tokens = (input_tokens, RESERVED_TOKENS - input_tokens)
        return b'%b,%b,"gen_ai.usage.input_tokens":%d,"gen_ai.request.max_tokens":%d' % (who, what, *tokens)

    def prompt(self, number: int, salt: int) -> bytes:
        """The field of a prompt that hardly any other request has; `number` and `salt` choose it."""
        opening, background = self._openings[number % len(self._openings)], self._backgrounds[salt]
        return b',"prompt":"%b %b"' % (opening, background)


@cache
def pools(organisations: int, models: int, partitions: int) -> Pools:
    return Pools(organisations, models, partitions)


def records(traffic: Traffic, first: int = 0) -> Iterator[Record]:
    """The log in the order in which it is sent, from request number `first` on."""
    made = pools(traffic.organisations, traffic.models, traffic.partitions)
    running: deque[tuple[int, Record]] = deque()
    for chunk in range(first, traffic.requests, CHUNK):
        for record, time_us, completion in _chunk(traffic, made, chunk):
            while running and running[0][0] <= time_us:
                yield running.popleft()[1]
            if traffic.completions != "only":
                yield record
            if completion is not None:
                running.append((time_us + COMPLETION_AFTER_US, completion))
    yield from (completion for _, completion in running)


def _chunk(traffic: Traffic, made: Pools, first: int) -> Iterator[tuple[Record, int, Record | None]]:
    """Each request with its time, and the completion that belongs to it."""
    count = min(CHUNK, traffic.requests - first)
    drawn = zip(*(column.tolist() for column in columns(traffic, first, count)), strict=True)
    for number, (organisation, model, tokens, salt) in enumerate(drawn, first):
        time_us = traffic.base_us + number * SECOND_US // traffic.per_s
        partition, key = made.places[organisation], made.keys[organisation]
        rest = made.rest(organisation, model, tokens)
        if traffic.prompts:
            rest += made.prompt(number, salt)
        record = Record(partition, key, request_value(number, time_us, rest), time_us // 1000)
        if traffic.completions == "none":
            yield record, time_us, None
            continue
        done_us = time_us + COMPLETION_AFTER_US
        value = COMPLETION % (number, done_us, key, model, tokens, salt % 500, salt % 97, salt)
        yield record, time_us, Record(partition, key, value, done_us // 1000)


COMPLETION = (
    b'{"type":"completion","id":"r%09d","time_us":%d,"organisation":"%b","gen_ai.response.model":"tide-%05d",'
    b'"gen_ai.usage.input_tokens":%d,"gen_ai.usage.output_tokens":%d,"gen_ai.response.time_to_first_chunk":0.%02d,'
    b'"gen_ai.client.operation.duration":2.%04d,"error.type":""}'
)


def columns(traffic: Traffic, first: int, count: int) -> tuple[Ints, Ints, Ints, Ints]:
    """For `count` requests: organisation, model, input tokens, and a number below 4,000 for whatever needs one."""
    rng = np.random.default_rng((traffic.seed, first))
    organisation = (
        np.arange(first, first + count, dtype=np.int64) % traffic.organisations
        if traffic.each_once
        else _drawn(rng, traffic.organisations, ORGANISATION_EXPONENT, count)
    )
    model = _drawn(rng, traffic.models, MODEL_EXPONENT, count)
    return organisation, model, rng.integers(20, 500, count), rng.integers(0, 4_000, count)


def _drawn(rng: np.random.Generator, choices: int, exponent: float, count: int) -> Ints:
    """Numbers below `choices` by a power law, by inverting its running sum."""
    return np.searchsorted(_running_sum(choices, exponent), rng.random(count)).astype(np.int64)


@cache
def _running_sum(choices: int, exponent: float) -> npt.NDArray[np.float64]:
    sums: Any = np.cumsum(np.arange(1, choices + 1, dtype=np.float64) ** -exponent)
    return np.asarray(sums / sums[-1])


def _tier(share: float) -> str:
    return next(tier for up_to, tier in TIERS if share < up_to)
