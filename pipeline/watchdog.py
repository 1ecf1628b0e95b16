"""Tells when a partition is dead although the process lives: Faust and its client are known to stop fetching a
partition (faust#175, #640) or to stop committing (#596) without an error, for good.

Two rules, each over a partition that this process holds:

    not fetched     the log has grown, and nothing of it was processed, while no batch was in hand
    not committed   checkpoints went on, and the group's committed offset did not

for longer than `stuck_after_s`. Growth is asked for, not mere distance: behind the last record there may lie markers of
transactions, which nobody ever processes. And one over the process:

    rebalance       it waits for its partitions, although the broker answers, for REBALANCE_LIMITS times as long
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

Place = Hashable

REBALANCE_LIMITS = 3
"""A rebalance may wait a minute (Kafka's default) for a member that is slow to come."""


@dataclass(frozen=True)
class Progress:
    """Offsets of one partition: each is that of the next record. `busy`: a batch is being processed now."""

    end: int
    processed: int
    written: int
    committed: int
    busy: bool = False


@dataclass
class _Stand:
    """How things were when the partition last moved."""

    moved_at: float
    mark: int
    ahead: int


class Watchdog:
    """Fed with the progress of all partitions held, every few seconds."""

    def __init__(self, stuck_after_s: float) -> None:
        self._stuck_after_s = stuck_after_s
        self._stands: dict[tuple[str, Place], _Stand] = {}
        self._rebalancing_since: float | None = None

    def observe(self, now_s: float, held: Mapping[Place, Progress]) -> str:
        """A sentence on the first partition that is stuck, or nothing. Partitions no longer held are forgotten."""
        rules = {
            (rule, place): pair
            for place, progress in held.items()
            for rule, pair in (
                ("not fetched", (progress.processed, progress.end, progress.busy)),
                ("not committed", (progress.committed, progress.written, False)),
            )
        }
        self._stands = {key: stand for key, stand in self._stands.items() if key in rules}
        for (rule, place), (mark, ahead, busy) in rules.items():
            stand = self._stands.get((rule, place))
            if stand is None or busy or mark != stand.mark or mark >= ahead:
                self._stands[rule, place] = _Stand(now_s, mark, ahead)
            elif ahead > stand.ahead and now_s - stand.moved_at > self._stuck_after_s:
                waited_s = now_s - stand.moved_at
                return f"{place}: {rule} beyond offset {mark} for {waited_s:.0f} s, while it grew to {ahead}"
        return ""

    def rebalancing(self, now_s: float, in_progress: bool) -> str:
        """A sentence when a rebalance does not end, or nothing."""
        if not in_progress:
            self._rebalancing_since = None
            return ""
        self._rebalancing_since = now_s if self._rebalancing_since is None else self._rebalancing_since
        waited_s = now_s - self._rebalancing_since
        is_stuck = waited_s > REBALANCE_LIMITS * self._stuck_after_s
        return f"a rebalance has not ended for {waited_s:.0f} s" if is_stuck else ""

    def forget(self) -> None:
        """Begin to watch anew: the broker could not be asked."""
        self.forget_partitions()
        self._rebalancing_since = None

    def forget_partitions(self) -> None:
        """The same, but for a rebalance: it moves them."""
        self._stands.clear()
