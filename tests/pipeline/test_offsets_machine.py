"""Whatever is delivered, acknowledged, revoked, sought or crashed, in any order: a commit never passes a record that is
not processed, and what is not committed comes again."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.transport import DeliveredOffsets

PLACE = ("traffic", 0)
GAPS = st.lists(st.integers(1, 3), min_size=1, max_size=6)  # compaction and markers leave holes between offsets


class Consuming(RuleBasedStateMachine):
    """One partition, one group. `processed` is what was really done with the records; the log holds them all."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []  # offsets that hold a record
        self.end = 0
        self.position = 0
        self.committed = 0
        self.processed: set[int] = set()
        self._begin()

    def _begin(self) -> None:
        """A consumer that has just been given the partition."""
        self.offsets = DeliveredOffsets()
        self.acked: set[int] = set()
        self.in_flight: list[list[int]] = []
        self.position = self.committed

    @rule(gaps=GAPS)
    def produce(self, gaps: list[int]) -> None:
        for gap in gaps:
            self.log.append(self.end + gap - 1)
            self.end += gap

    @rule(size=st.integers(1, 5))
    def deliver(self, size: int) -> None:
        batch = [offset for offset in self.log if offset >= self.position][:size]
        if batch:
            self.position = batch[-1] + 1
            self.offsets.delivered(PLACE, batch[-1])
            self.in_flight.append(batch)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        batch = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        self.processed.update(batch)
        if batch[-1] >= self.committed:  # Faust ignores the rest
            self.acked.add(batch[-1])

    @rule(reaches_the_broker=st.booleans())
    def commit(self, reaches_the_broker: bool) -> None:
        """A commit that never arrives is followed by what a lost connection brings: a new assignment."""
        offset = self.offsets.committable(PLACE, self.acked, self.committed)
        if offset is not None and reaches_the_broker:
            self.committed = max(self.committed, offset)
        elif offset is not None:
            self._begin()

    @rule()
    def crash_or_lose_the_partition(self) -> None:
        self._begin()

    @rule()
    def seek_back(self) -> None:
        self.offsets.forget([PLACE])
        self.acked.clear()
        self.in_flight.clear()
        self.position = self.committed

    @invariant()
    def nothing_is_committed_unprocessed(self) -> None:
        assert {offset for offset in self.log if offset < self.committed} <= self.processed

    @invariant()
    def nothing_is_held_for_ever(self) -> None:
        assert self.offsets.outstanding(PLACE) <= len(self.log)

    def teardown(self) -> None:
        """In the end all is processed and all is committed."""
        while self.position < self.end and any(offset >= self.position for offset in self.log):
            self.deliver(5)
        for batch in self.in_flight:
            self.processed.update(batch)
            if batch[-1] >= self.committed:
                self.acked.add(batch[-1])
        self.in_flight.clear()
        self.committed = self.offsets.committable(PLACE, self.acked, self.committed) or self.committed
        assert set(self.log) <= self.processed
        assert not [offset for offset in self.log if offset >= self.committed]


TestConsuming = Consuming.TestCase
TestConsuming.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
