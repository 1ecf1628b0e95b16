"""From a day's requests to the slices that the `slices` stage of one traffic partition would publish.

A request counts in the slice in which it arrives, all else in the one in which it ends, as in pipeline.stages.slices.
Everything is counted by one bincount a column; only the records are made one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from pipeline.sketch import BUCKETS_MAX, buckets_of
from replay.arrivals import Booleans, Integers
from replay.scenarios.course import CLIENTS, REGIONS, Customers
from replay.scenarios.requests import Requests
from topics.records import OrganisationTokens, Part, Sketch

NAMED_MAX = 8
TIERS = ("enterprise", "pro", "free")
SUMS = ("requests", "completions", "errors", "tokens", "duration_us")


class Packed(NamedTuple):
    """What goes into one Slice beside its coordinates; `at` is the slice's number. When in it the last request came,
    and the last completion (microseconds since its start; -1: none)."""

    at: int
    last_request: int
    last_completion: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Carried:
    """Requests that end after the day on which they arrived: their ends are still to be counted."""

    columns: Requests | None = None


def pack(
    requests: Requests, carried: Carried, customers: Customers, first: int, count: int
) -> tuple[list[Packed], Carried]:
    """The slices [first, first + count), and what ends later. `requests` arrive in them, `carried` came before."""
    whole = requests if carried.columns is None else _joined(carried.columns, requests)
    later = whole.ended >= first + count
    ends, starts = _part(whole, ~later), requests
    sums = _sums(starts, ends, customers, first, count)
    rows = list(_rows(starts, ends, sums, customers, first, count))
    return rows, Carried(_part(whole, later))


def _joined(a: Requests, b: Requests) -> Requests:
    return Requests(**{f.name: np.concatenate([getattr(a, f.name), getattr(b, f.name)]) for f in fields(Requests)})


def _part(whole: Requests, kept: Booleans) -> Requests:
    return Requests(**{f.name: getattr(whole, f.name)[kept] for f in fields(Requests)})


def share(requests: Requests, first: int, count: int, partition: int, partitions: int) -> Requests:
    """Those that arrive in slices [first, first + count) and that this traffic partition holds."""
    begin, end = np.searchsorted(requests.arrived, (first, first + count)).tolist()
    here = Requests(**{f.name: getattr(requests, f.name)[begin:end] for f in fields(Requests)})
    return _part(here, here.organisation % partitions == partition)


def _count(slices: Integers, values: Integers, size: int, count: int, weights: Any = None) -> Integers:
    """A table (slice, value) of counts, or of the sums of `weights`, which are exact below 2**53."""
    found = np.bincount(slices * size + values, weights=weights, minlength=count * size)
    return found.reshape(count, size).astype(np.int64)


def _sums(
    starts: Requests, ends: Requests, customers: Customers, first: int, count: int
) -> dict[str, tuple[tuple[str, ...], Integers]]:
    """For each dimension its values and a table (slice, value, SUMS)."""
    tier_of = np.array([TIERS.index(tier) for tier in customers.tiers])
    keys = {
        "organisation": (customers.names, starts.organisation, ends.organisation),
        "region": (REGIONS, starts.region, ends.region),
        "client": (CLIENTS, starts.client, ends.client),
        "tier": (TIERS, tier_of[starts.organisation], tier_of[ends.organisation]),
    }
    arrived, ended = starts.arrived - first, ends.ended - first
    tokens = (ends.input_tokens + ends.output_tokens).astype(np.float64)
    durations = np.where(ends.failed, 0, ends.duration_us).astype(np.float64)
    return {
        dimension: (
            names,
            np.stack(
                [
                    _count(arrived, of_start, len(names), count),
                    _count(ended, of_end, len(names), count),
                    _count(ended, of_end, len(names), count, ends.failed.astype(np.float64)),
                    _count(ended, of_end, len(names), count, tokens),
                    _count(ended, of_end, len(names), count, durations),
                ],
                axis=2,
            ),
        )
        for dimension, (names, of_start, of_end) in keys.items()
    }


def _rows(
    starts: Requests,
    ends: Requests,
    sums: dict[str, tuple[tuple[str, ...], Integers]],
    customers: Customers,
    first: int,
    count: int,
) -> Iterator[Packed]:
    ended = ends.ended - first
    answered = ~ends.failed
    first_token = _sketches(ended[answered], ends.first_us[answered], count)
    duration = _sketches(ended[answered], ends.duration_us[answered], count)
    totals = sums["region"][1].sum(axis=1).tolist()
    in_, out, cost = (
        np.bincount(ended, weights=column.astype(np.float64), minlength=count).astype(np.int64).tolist()
        for column in (ends.input_tokens, ends.output_tokens, ends.cost_microusd)
    )
    last_request = _last(starts.arrived - first, starts.arrived_us, count)
    last_completion = _last(ended, ends.ended_us, count)
    tops = _tops(starts, ends, customers, first, count)
    parts = _parts(sums, count)
    for at, (requests, completions, errors, _, _) in enumerate(totals):
        if requests or completions:
            yield Packed(
                first + at,
                last_request[at],
                last_completion[at],
                {
                    "requests": requests,
                    "completions": completions,
                    "errors": errors,
                    "input_tokens": in_[at],
                    "output_tokens": out[at],
                    "cost_microusd": cost[at],
                    "first_token_us": first_token[at],
                    "duration_us": duration[at],
                    "top_organisations": tops[at],
                    "parts": parts[at],
                },
            )


def _last(slices: Integers, within_us: Integers, count: int) -> list[int]:
    last = np.full(count, -1, dtype=np.int64)
    np.maximum.at(last, slices, within_us)
    found: list[int] = last.tolist()
    return found


def _sketches(slices: Integers, values_us: Integers, count: int) -> list[Sketch]:
    """One sketch a slice, of the values in it."""
    keys, numbers = np.unique(slices * BUCKETS_MAX + buckets_of(values_us), return_counts=True)
    borders = np.searchsorted(keys, np.arange(count + 1) * BUCKETS_MAX).tolist()
    buckets, counts = (keys % BUCKETS_MAX).tolist(), numbers.tolist()
    return [Sketch(buckets[a:b], counts[a:b]) for a, b in pairwise(borders)]


def _tops(
    starts: Requests, ends: Requests, customers: Customers, first: int, count: int
) -> list[list[OrganisationTokens]]:
    """Input tokens of what arrived and output tokens of what ended, as the stage counts them."""
    size = len(customers.names)
    tokens = _count(starts.arrived - first, starts.organisation, size, count, starts.input_tokens.astype(np.float64))
    tokens += _count(ends.ended - first, ends.organisation, size, count, ends.output_tokens.astype(np.float64))
    order = np.argsort(-tokens, axis=1, kind="stable")[:, :NAMED_MAX]
    best = np.take_along_axis(tokens, order, axis=1).ravel().tolist()
    named = [OrganisationTokens(customers.names[who], n) for who, n in zip(order.ravel().tolist(), best, strict=True)]
    return [[one for one in named[at * NAMED_MAX : (at + 1) * NAMED_MAX] if one.tokens] for at in range(count)]


def _parts(sums: dict[str, tuple[tuple[str, ...], Integers]], count: int) -> list[list[Part]]:
    found: list[list[Part]] = [[] for _ in range(count)]
    for dimension, (names, table) in sums.items():
        order, columns = _heaviest(table)
        parts = [
            Part(dimension, names[value], requests, completions, errors, tokens, duration_us)
            if requests or completions
            else None
            for value, requests, completions, errors, tokens, duration_us in zip(order, *columns, strict=True)
        ]
        named = len(parts) // count
        for at, here in enumerate(found):
            here += [part for part in parts[at * named : (at + 1) * named] if part is not None]
    return found


def _heaviest(table: Integers) -> tuple[list[int], list[list[int]]]:
    """The values with the most requests and completions, at most NAMED_MAX a slice, and their SUMS, column by column.

    Flat lists: as many small ones would keep the garbage collector busy.
    """
    weight = table[:, :, 0] + table[:, :, 1]
    order = np.argsort(-weight, axis=1, kind="stable")[:, :NAMED_MAX]
    rows = np.take_along_axis(table, order[:, :, None], axis=1)
    return order.ravel().tolist(), [rows[:, :, column].ravel().tolist() for column in range(len(SUMS))]
