"""The sketch against the sorted list of what was added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sketch import (
    _HIGHEST,
    BUCKETS_MAX,
    FEW,
    Counts,
    SketchError,
    add,
    add_many,
    add_seconds,
    bucket_of,
    buckets_of,
    from_record,
    merge,
    merge_record,
    quantile,
    to_record,
)
from topics.fields import TIME_US_MAX
from topics.records import Sketch

VALUES_US = st.one_of(st.integers(0, 300), st.integers(0, 10**8), st.integers(0, TIME_US_MAX))
LISTS = st.lists(VALUES_US, max_size=80)


def sketch_of(values_us: list[int]) -> Counts:
    counts: Counts = {}
    add_many(counts, values_us)
    return counts


@given(st.lists(VALUES_US, min_size=1, max_size=80), st.integers(0, 100))
def test_a_quantile_is_within_one_percent_of_the_value_at_its_rank(values_us: list[int], percent: int) -> None:
    rank = max(1, -(-len(values_us) * percent // 100))
    true = sorted(values_us)[rank - 1]
    answer = quantile(sketch_of(values_us), percent, 100)
    assert answer is not None
    assert abs(answer - true) * 100 <= true


@given(LISTS, LISTS)
def test_merging_is_the_sketch_of_the_union(one: list[int], two: list[int]) -> None:
    merged = sketch_of(one)
    merge(merged, sketch_of(two))
    assert merged == sketch_of(one + two)
    recorded: Counts = {}
    merge_record(recorded, to_record(sketch_of(one)))
    merge_record(recorded, to_record(sketch_of(two)))
    assert recorded == merged


@given(LISTS.flatmap(lambda values_us: st.tuples(st.just(values_us), st.permutations(values_us))))
def test_order_does_not_matter(both: tuple[list[int], list[int]]) -> None:
    assert sketch_of(both[0]) == sketch_of(both[1])


VALUES_S = st.one_of(
    st.floats(0, 86_400),
    st.integers(0, 2 * 10**9).map(lambda halves: halves / 2_000_000),  # halves of a microsecond: to even
)


@given(st.lists(st.lists(VALUES_S, max_size=30), max_size=4))
def test_seconds_are_rounded_and_counted_into_their_own_sketches(groups: list[list[float]]) -> None:
    measured: list[tuple[Counts, list[float]]] = [({}, values_s) for values_s in groups]
    add_seconds(measured)
    expected = [sketch_of([round(value_s * 1_000_000) for value_s in values_s]) for values_s in groups]
    assert [counts for counts, _ in measured] == expected


@pytest.mark.parametrize("others", [0, FEW])
@pytest.mark.parametrize("value_s", [-1.0, TIME_US_MAX / 1e6 * 2])
def test_seconds_out_of_range_are_refused_among_few_and_many(others: int, value_s: float) -> None:
    with pytest.raises(SketchError, match="outside"):
        add_seconds([({}, [1.0] * others + [value_s])])


@given(LISTS)
def test_a_record_reads_back(values_us: list[int]) -> None:
    counts = sketch_of(values_us)
    record = to_record(counts)
    assert record.buckets == sorted(record.buckets)
    assert from_record(record) == counts


def test_every_bucket_is_accurate_at_both_its_ends() -> None:
    lowest = 0
    for bucket in range(1, BUCKETS_MAX):
        low = lowest + 1
        answer = quantile({bucket: 1}, 1, 2)
        assert answer is not None
        assert bucket_of(low) == bucket_of(answer) == bucket
        assert (answer - low) * 100 <= low
        lowest = answer * 100 // 99
        assert bucket_of(min(lowest, TIME_US_MAX)) == bucket
    assert lowest >= TIME_US_MAX


def test_nothing_measured_has_no_quantile() -> None:
    assert quantile({}, 1, 2) is None


@pytest.mark.parametrize("value_us", [-1, TIME_US_MAX + 1])
def test_values_out_of_range_are_refused(value_us: int) -> None:
    with pytest.raises(SketchError, match="outside"):
        add({}, value_us)


@pytest.mark.parametrize(
    "record",
    [Sketch([1, 2], [1]), Sketch([BUCKETS_MAX], [1]), Sketch([-1], [1]), Sketch([3], [0]), Sketch([3, 3], [1, 1])],
)
def test_records_that_nobody_can_have_written_are_refused(record: Sketch) -> None:
    with pytest.raises(SketchError):
        from_record(record)


def test_a_quantile_beyond_one_is_refused() -> None:
    with pytest.raises(SketchError, match="not between 0 and 1"):
        quantile({1: 1}, 3, 2)


def test_many_values_at_once_find_the_bucket_that_each_finds_alone() -> None:
    """On both sides of every bucket's end."""
    values_us = [value for end in _HIGHEST for value in (end - 1, end, end + 1) if 0 <= value <= TIME_US_MAX]
    assert buckets_of(np.array(values_us)).tolist() == [bucket_of(value) for value in values_us]
    assert len(buckets_of(np.array([], np.int64))) == 0
