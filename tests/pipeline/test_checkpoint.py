"""A checkpoint is in the changelog whole or not at all, wherever the process dies between its batches."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.checkpoint import Item, batches, restored, unfinished

KEYS = st.sampled_from([f"quota|account org-{number}" for number in range(8)])
CHANGES = st.dictionaries(KEYS, st.one_of(st.none(), st.binary(max_size=40)), max_size=8)
SMALL = 150  # bytes: so that most checkpoints take several batches


def write(changelog: dict[str, bytes], batch: list[Item]) -> None:
    """What compaction keeps: the latest value of each key."""
    for key, raw in batch:
        if raw is None:
            changelog.pop(key, None)
        else:
            changelog[key] = raw


def applied(state: dict[str, bytes], changes: dict[str, bytes | None]) -> dict[str, bytes]:
    after = dict(state)
    write(after, list(changes.items()))
    return after


def restart(changelog: dict[str, bytes], crash_after: int) -> int:
    """A new process finishes what is unfinished, and may die doing so; how many batches it had to write."""
    writes = list(unfinished(changelog))
    for batch in writes[:crash_after]:
        write(changelog, batch)
    return len(writes)


@given(st.lists(CHANGES, min_size=1, max_size=5), st.data())
def test_any_crash_leaves_one_of_the_checkpoints(history: list[dict[str, bytes | None]], data: st.DataObject) -> None:
    changelog: dict[str, bytes] = {}
    state: dict[str, bytes] = {}
    at = -1
    for number, changes in enumerate(history):
        position = 10 * (number + 1)
        writes = list(batches(list(changes.items()), position, SMALL))
        survived = data.draw(st.integers(0, len(writes)))
        for batch in writes[:survived]:
            write(changelog, batch)
        for _ in range(data.draw(st.integers(0, 2))):
            restart(changelog, data.draw(st.integers(0, 3)))
            assert restored(changelog) in [(applied(state, changes), position), (state, at)]
        restart(changelog, 99)
        found, found_at = restored(changelog)
        assert (found, found_at) in [(applied(state, changes), position), (state, at)]
        if survived == len(writes):
            assert found_at == position
        state, at = found, found_at
        assert restart(changelog, 99) == 0


def test_a_small_checkpoint_is_one_batch() -> None:
    (batch,) = batches([("quota|clock", b"1"), ("slices|clock", None)], 7)
    assert [key for key, _ in batch] == ["quota|clock", "slices|clock", "position"]


def test_nothing_pending_stays_behind() -> None:
    changelog: dict[str, bytes] = {}
    for batch in batches([(f"key-{number}", b"x" * 50) for number in range(9)], 7, SMALL):
        write(changelog, batch)
    assert not [key for key in changelog if key.startswith("pending")]


def test_an_unfinished_fold_is_outlived_by_the_next_checkpoint() -> None:
    """Dies after announcing and half the state; the next process goes on from there with small checkpoints."""
    changelog: dict[str, bytes] = {}
    large = [(f"key-{number}", b"new") for number in range(9)]
    for batch in list(batches(large, 7, SMALL))[:-2]:
        write(changelog, batch)
    assert restored(changelog) == (dict(large), 7)
    restart(changelog, 99)
    for batch in batches([("key-0", b"newer")], 8):
        write(changelog, batch)
    assert restored(changelog) == ({**dict(large), "key-0": b"newer"}, 8)
