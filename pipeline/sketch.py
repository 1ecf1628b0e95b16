"""A mergeable quantile sketch of whole microseconds: counts in buckets whose width grows with the value.

DDSketch (Masson, Rim and Lee, *DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees*,
VLDB 2019) with a relative accuracy α of 1 %, built on integers instead of logarithms, so that every machine puts every
value into the same bucket. A bucket covers [low, high] and answers v, where

    v = low + ⌊α · low⌋        high = ⌊v / (1 - α)⌋

so |v - x| <= α · x for every x in it; up to 98 µs each value has its own bucket. Adding is order-free and merging is
the union: a sketch is a table bucket -> count, and both only add counts.

Trade-off: about 1,700 buckets reach the year 2255 in microseconds, a minute of latencies fills 200 to 400 of them. The
accuracy is of the value, not of the rank: P99 is within 1 % of a value that really occurred at that rank.

>>> counts: Counts = {}
>>> for value_us in range(1, 1001): add(counts, value_us)
>>> quantile(counts, 1, 2), quantile(counts, 99, 100)
(495, 981)
"""

from bisect import bisect_left
from collections import _count_elements  # type: ignore[attr-defined] # what Counter counts with, into any dictionary
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice

import numpy as np
from numpy.typing import NDArray

from topics.fields import SECOND_US, TIME_US_MAX
from topics.records import Sketch

ACCURACY_PERCENT = 1
FEW = 16  # values for which NumPy's calls cost more than they save

Counts = dict[int, int]
"""Bucket number -> how many values lie in it (at least one)."""


def _table() -> tuple[list[int], list[int]]:
    """The highest value of each bucket and the value that answers for it. Bucket 0 holds zero alone."""
    highest, answers = [0], [0]
    while highest[-1] < TIME_US_MAX:
        low = highest[-1] + 1
        answer = low + low * ACCURACY_PERCENT // 100
        answers.append(answer)
        highest.append(answer * 100 // (100 - ACCURACY_PERCENT))
    return highest, answers


_HIGHEST, _ANSWERS = _table()
_HIGHEST_FLOAT = np.array(_HIGHEST, dtype=np.float64)  # exact: whole numbers up to 2**53, but for the last
BUCKETS_MAX = len(_HIGHEST)
"""No sketch can grow beyond this many buckets."""

_SPAN_SHIFT = 45
"""Floating-point numbers that agree in all but so many bits lie within 1/128 of each other: in one bucket or in two."""
_SPAN_FIRST = int(np.float64(1).view(np.int64)) >> _SPAN_SHIFT
_SPANS = np.arange(_SPAN_FIRST, (int(_HIGHEST_FLOAT[-1].view(np.int64)) >> _SPAN_SHIFT) + 1) << _SPAN_SHIFT
_SPAN_BUCKETS = _HIGHEST_FLOAT.searchsorted(np.ceil(_SPANS.view(np.float64)) - 1)
_SPAN_HIGHEST = _HIGHEST_FLOAT[_SPAN_BUCKETS]
"""The lower bucket of each span of values plus one (there is no span of zero), and where it ends."""


class SketchError(ValueError):
    """A value or a record that no sketch holds."""


def bucket_of(value_us: int) -> int:
    """The bucket of a value in [0, TIME_US_MAX] microseconds."""
    if not 0 <= value_us <= TIME_US_MAX:
        raise SketchError(f"{value_us} µs is outside 0 to {TIME_US_MAX}: check the clock that measured it")
    return bisect_left(_HIGHEST, value_us)


def buckets_of(values_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bucket of each of many values."""
    return _buckets_of(values_us.astype(np.float64)) if len(values_us) else values_us


def _buckets_of(values_us: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of whole numbers, at least one. Looked up, not searched for."""
    for extreme_us in (values_us.min(), values_us.max()):
        bucket_of(int(extreme_us))  # or an error: between the two all is well
    spans = ((values_us + 1).view(np.int64) >> _SPAN_SHIFT) - _SPAN_FIRST
    buckets: NDArray[np.int64] = _SPAN_BUCKETS[spans] + (values_us > _SPAN_HIGHEST[spans])
    return buckets


def add(counts: Counts, value_us: int) -> None:
    """Count one value."""
    bucket = bucket_of(value_us)
    counts[bucket] = counts.get(bucket, 0) + 1


def add_many(counts: Counts, values_us: Iterable[int]) -> None:
    """Count many values; the same as adding them one by one in any order."""
    for value_us in values_us:
        add(counts, value_us)


def add_seconds(measured: Sequence[tuple[Counts, list[float]]]) -> None:
    """Count values in seconds, rounded to whole microseconds (halves to even), into their sketches."""
    flat: list[float] = []
    for _, values_s in measured:
        flat += values_s
    if len(flat) >= FEW:
        _add_at_once(measured, flat)
    else:
        for counts, values_s in measured:
            for value_s in values_s:
                add(counts, round(value_s * SECOND_US))


def _add_at_once(measured: Sequence[tuple[Counts, list[float]]], flat: list[float]) -> None:
    """The buckets of all values, which lie in `flat` as well, in one go; NumPy rounds as Python does."""
    values_us = np.rint(np.fromiter(flat, np.float64, len(flat)) * SECOND_US)
    buckets = iter(_buckets_of(values_us).tolist())
    for counts, values_s in measured:
        _count_elements(counts, islice(buckets, len(values_s)))


def merge(counts: Counts, other: Mapping[int, int]) -> None:
    """Add what `other` has counted: the sketch of both multisets together."""
    for bucket, count in other.items():
        counts[bucket] = counts.get(bucket, 0) + count


def merge_record(counts: Counts, sketch: Sketch) -> None:
    """The same with a record that has been checked."""
    if not counts:
        counts.update(zip(sketch.buckets, sketch.counts, strict=True))
        return
    count_before = counts.get
    for bucket, count in zip(sketch.buckets, sketch.counts, strict=True):
        counts[bucket] = count_before(bucket, 0) + count


def quantile(counts: Mapping[int, int], numerator: int, denominator: int) -> int | None:
    """The value of rank ⌈q · n⌉ (at least 1) for q = numerator / denominator, within 1 %; None without values."""
    return quantiles(counts, (numerator,), denominator)[0]


def quantiles(counts: Mapping[int, int], numerators: Sequence[int], denominator: int) -> list[int | None]:
    """Several quantiles of one sketch."""
    if denominator < 1 or not all(0 <= numerator <= denominator for numerator in numerators):
        raise SketchError(f"a quantile of {numerators}, over {denominator}, is not between 0 and 1")
    if not counts:
        return [None] * len(numerators)
    buckets = sorted(counts)
    ranks = list(accumulate([counts[bucket] for bucket in buckets]))  # of the highest value in each bucket
    wanted = [max(1, -(-ranks[-1] * numerator // denominator)) for numerator in numerators]
    return [_ANSWERS[buckets[bisect_left(ranks, rank)]] for rank in wanted]


def to_record(counts: Mapping[int, int]) -> Sketch:
    """The sketch as it travels: buckets ascending."""
    buckets = sorted(counts)
    return Sketch(buckets, [counts[bucket] for bucket in buckets])


def check_record(sketch: Sketch) -> None:
    """SketchError when the record is not one that `to_record` can have written."""
    buckets, numbers = sketch.buckets, sketch.counts
    if len(buckets) != len(numbers):
        raise SketchError(f"{len(buckets)} buckets but {len(numbers)} counts")
    if buckets and (min(buckets) < 0 or max(buckets) >= BUCKETS_MAX or min(numbers) < 1):
        raise SketchError(f"a bucket outside 0 to {BUCKETS_MAX - 1} or a count below 1")
    if len(set(buckets)) != len(buckets):
        raise SketchError("a bucket named twice")


def from_record(sketch: Sketch) -> Counts:
    """The table in a record; SketchError when it is none."""
    check_record(sketch)
    return dict(zip(sketch.buckets, sketch.counts, strict=True))
