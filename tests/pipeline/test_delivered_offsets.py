"""What may be committed: never past a batch in flight, whatever the order of acknowledgement."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.transport import DeliveredOffsets

PLACE = ("traffic", 0)


def test_commits_the_end_of_the_last_batch_in_order() -> None:
    offsets, acked = DeliveredOffsets(), {9, 19}
    for last in (9, 19, 29):
        offsets.delivered(PLACE, last)
    assert offsets.committable(PLACE, acked) == 20
    assert acked == set()
    assert offsets.outstanding(PLACE) == 1


def test_one_batch_in_flight_holds_back_all_behind_it() -> None:
    """faust#606: with exactly one message in flight Faust's own rule commits past it."""
    offsets, acked = DeliveredOffsets(), {19}
    offsets.delivered(PLACE, 9)
    offsets.delivered(PLACE, 19)
    assert offsets.committable(PLACE, acked) is None
    acked.add(9)
    assert offsets.committable(PLACE, acked) == 20


def test_a_batch_that_was_committed_before_holds_nothing_back() -> None:
    """Fetched again at a rebalance: Faust ignores the acknowledgement of what lies before the committed offset."""
    offsets = DeliveredOffsets()
    offsets.delivered(PLACE, 1227)
    offsets.delivered(PLACE, 1253)
    assert offsets.committable(PLACE, {1253}, committed=1228) == 1254


def test_forgets_what_was_delivered_before_a_seek() -> None:
    offsets = DeliveredOffsets()
    offsets.delivered(PLACE, 9)
    offsets.forget([PLACE])
    assert offsets.committable(PLACE, {9}) is None
    offsets.delivered(PLACE, 4)
    assert offsets.committable(PLACE, {4, 9}) == 5


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.data())
def test_any_order_of_acknowledgement(sizes: list[int], data: st.DataObject) -> None:
    """After each acknowledgement the commit is the end of the longest acknowledged prefix of batches."""
    ends = [sum(sizes[: index + 1]) - 1 for index in range(len(sizes))]
    offsets, acked, committed, done = DeliveredOffsets(), set(), 0, set()
    for end in ends:
        offsets.delivered(PLACE, end)
    for end in data.draw(st.permutations(ends)):
        acked.add(end)
        done.add(end)
        committed = offsets.committable(PLACE, acked) or committed
        prefix = next((index for index, each in enumerate(ends) if each not in done), len(ends))
        assert committed == (ends[prefix - 1] + 1 if prefix else 0)
    assert offsets.outstanding(PLACE) == 0
    assert not acked
