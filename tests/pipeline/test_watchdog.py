"""The watchdog barks at a partition that grows and stands still, and at nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.watchdog import Progress, Watchdog

LIMIT_S = 30.0


def watched(*seen: tuple[float, Progress]) -> list[str]:
    watchdog = Watchdog(LIMIT_S)
    return [watchdog.observe(now_s, {"traffic/0": progress}) for now_s, progress in seen]


def test_a_partition_that_is_never_fetched_again() -> None:
    seen = [
        (second, Progress(end=100 + second, processed=100, written=100, committed=100)) for second in range(0, 40, 5)
    ]
    *before, last = watched(*seen)
    assert not any(before[: int(LIMIT_S) // 5])
    assert last == "traffic/0: not fetched beyond offset 100 for 35 s, while it grew to 135"


def test_commits_that_stand_still() -> None:
    seen = [
        (second, Progress(end=500, processed=500, written=100 + second, committed=90)) for second in range(0, 40, 5)
    ]
    assert watched(*seen)[-1] == "traffic/0: not committed beyond offset 90 for 35 s, while it grew to 135"


def test_a_long_batch_is_no_reason() -> None:
    """10 ms an event, 5,000 events: busy is not dead."""
    seen = [(second, Progress(100 + second, 100, 100, 100, busy=True)) for second in range(0, 300, 5)]
    assert not any(watched(*seen))


def test_markers_behind_the_last_record_are_no_reason() -> None:
    assert not any(watched(*[(second, Progress(102, 100, 100, 100)) for second in range(0, 300, 5)]))


def test_a_partition_that_comes_back_begins_anew() -> None:
    watchdog = Watchdog(LIMIT_S)
    watchdog.observe(0.0, {"traffic/0": Progress(100, 50, 50, 50)})
    watchdog.observe(20.0, {})
    assert not watchdog.observe(40.0, {"traffic/0": Progress(200, 50, 50, 50)})
    watchdog.forget()
    assert not watchdog.observe(100.0, {"traffic/0": Progress(300, 50, 50, 50)})
    assert watchdog.observe(131.0, {"traffic/0": Progress(301, 50, 50, 50)})


def test_a_rebalance_that_does_not_end() -> None:
    watchdog = Watchdog(LIMIT_S)
    said = [watchdog.rebalancing(float(second), in_progress=True) for second in range(0, 100, 5)]
    assert not any(said[: 1 + 3 * int(LIMIT_S) // 5])
    assert said[-1] == "a rebalance has not ended for 95 s"


def test_a_rebalance_is_over_when_partitions_are_given_or_the_broker_was_away() -> None:
    watchdog = Watchdog(LIMIT_S)
    watchdog.rebalancing(0.0, in_progress=True)
    watchdog.rebalancing(80.0, in_progress=False)
    assert not watchdog.rebalancing(100.0, in_progress=True)
    watchdog.forget_partitions()
    assert watchdog.rebalancing(191.0, in_progress=True)
    watchdog.forget()
    assert not watchdog.rebalancing(200.0, in_progress=True)


@given(st.lists(st.tuples(st.integers(1, 1_000), st.booleans()), min_size=1, max_size=40))
def test_whoever_moves_within_the_limit_is_left_alone(steps: list[tuple[int, bool]]) -> None:
    """However far behind: each observation either moves or lets less than the limit pass since the last move."""
    watchdog, now_s, end, processed, idle_s = Watchdog(LIMIT_S), 0.0, 10_000, 0, 0.0
    for grown, moves in steps:
        now_s, end, idle_s = now_s + 10.0, end + grown, idle_s + 10.0
        if moves or idle_s >= LIMIT_S:
            processed, idle_s = processed + 1, 0.0
        progress = Progress(end, processed, processed, processed)
        assert not watchdog.observe(now_s, {"traffic/0": progress})
