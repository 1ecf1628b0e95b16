"""The input of the windows job, from one seed, and its exact answers by NumPy: independent of all that is measured.

Completions arrive at a steady rate of event time, with up to two seconds of disorder. Organisations and models follow
a power law, so that one model has about a third of the traffic. Chunks are drawn one by one: a shorter work with the
same seed and base is a prefix of a longer one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
CHUNK_EVENTS = 20_000
DISORDER_US = 2 * SECOND_US
GRACE_US = 30 * MINUTE_US
CLOSING_US = GRACE_US + 2 * MINUTE_US
"""How far after the last window's end the closing events lie: past the grace that every peer is given."""

Ints = npt.NDArray[np.int64]
KeyedBy = Literal["organisation", "model"]


@dataclass(frozen=True)
class Work:
    """One input. `base_us`: where event time begins, a whole minute; `events_per_s` is per second of event time.

    `keyed_by` "organisation" is how a gateway writes: counting by model needs a repartition. "model" is the easiest
    case for the peers: no repartition at all.
    """

    events: int
    base_us: int
    seed: int = 1
    partitions: int = 8
    models: int = 10
    organisations: int = 2_000
    events_per_s: int = 2_000
    keyed_by: KeyedBy = "organisation"
    topic: str = "tidegate.traffic.v1"

    @property
    def end_us(self) -> int:
        """The end of the last window."""
        last_us = self.base_us + self.events * SECOND_US // self.events_per_s
        return last_us - last_us % MINUTE_US + MINUTE_US

    @property
    def closing_us(self) -> int:
        return self.end_us + CLOSING_US


class Columns(NamedTuple):
    """Some events. `time_us`, `duration_us`: microseconds; `organisation`, `model`: numbers; `failed`: 0 or 1."""

    first: int
    time_us: Ints
    organisation: Ints
    model: Ints
    input_tokens: Ints
    output_tokens: Ints
    duration_us: Ints
    failed: Ints


class Answer(NamedTuple):
    """One window of one model. Quantiles are those of the answers that did not fail, microseconds."""

    completions: int
    errors: int
    input_tokens: int
    output_tokens: int
    duration_us_p50: float | None
    duration_us_p99: float | None
    error_rate: float


Key = tuple[str, int]
"""A model and the start of its minute in microseconds."""


def model_name(number: int) -> str:
    return f"tide-{number:03d}b"


def organisation_name(number: int) -> str:
    return f"organisation-{number:05d}"


def base_for(events: int, now_us: int, events_per_s: int = 2_000) -> int:
    """A base such that the closing events, too, lie before `now_us`: no record comes from the future."""
    span_us = events * SECOND_US // events_per_s
    base_us = now_us - span_us - CLOSING_US - 3 * MINUTE_US
    return base_us - base_us % MINUTE_US


def chunks(work: Work) -> Iterator[Columns]:
    """The events in the order in which they are sent."""
    for first in range(0, work.events, CHUNK_EVENTS):
        yield _chunk(work, first, min(CHUNK_EVENTS, work.events - first))


def _chunk(work: Work, first: int, count: int) -> Columns:
    random = np.random.default_rng((work.seed, first))
    sent_us = work.base_us + np.arange(first, first + CHUNK_EVENTS, dtype=np.int64) * SECOND_US // work.events_per_s
    model = random.choice(work.models, CHUNK_EVENTS, p=_power_law(work.models, 1.0))
    usual_us = 1_500_000 * (1.0 + model / work.models)
    drawn = Columns(
        first,
        np.maximum(sent_us - random.integers(0, DISORDER_US, CHUNK_EVENTS), work.base_us),
        random.choice(work.organisations, CHUNK_EVENTS, p=_power_law(work.organisations, 0.6)),
        model,
        random.geometric(1 / 600, CHUNK_EVENTS),
        random.geometric(1 / 250, CHUNK_EVENTS),
        (usual_us * random.lognormal(0.0, 0.7, CHUNK_EVENTS)).astype(np.int64),
        (random.random(CHUNK_EVENTS) < 0.01).astype(np.int64),
    )
    return Columns(first, *(column[:count] for column in drawn[1:]))


def _power_law(count: int, exponent: float) -> npt.NDArray[np.float64]:
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


@cache
def exact(work: Work) -> dict[Key, Answer]:
    """All windows, computed at once from the columns by sorting."""
    drawn = list(chunks(work))
    columns = {name: np.concatenate([getattr(chunk, name) for chunk in drawn]) for name in Columns._fields[1:]}
    minute = columns["time_us"] // MINUTE_US
    order = np.lexsort((minute, columns["model"]))
    groups = np.stack([columns["model"][order], minute[order]])
    cuts = np.flatnonzero(np.any(np.diff(groups), axis=0)) + 1
    return {
        (model_name(int(columns["model"][rows[0]])), int(minute[rows[0]]) * MINUTE_US): _answer(columns, rows)
        for rows in np.split(order, cuts)
    }


def _answer(columns: dict[str, Any], rows: Ints) -> Answer:
    failed = columns["failed"][rows]
    durations = np.sort(columns["duration_us"][rows][failed == 0])
    errors = int(failed.sum())
    return Answer(
        completions=len(rows),
        errors=errors,
        input_tokens=int(columns["input_tokens"][rows].sum()),
        output_tokens=int(columns["output_tokens"][rows].sum()),
        duration_us_p50=_ranked(durations, 50),
        duration_us_p99=_ranked(durations, 99),
        error_rate=errors / len(rows),
    )


def _ranked(ascending: Ints, percent: int) -> float | None:
    """The value of rank ⌈q · n⌉."""
    return float(ascending[-(-len(ascending) * percent // 100) - 1]) if len(ascending) else None
