"""The usual range at this time of day: quantiles over the same and neighbouring slots of the last days.

    band(t) = 10 % and 90 % quantile of { x[t - k days + j slots] : k = 1..4, j in (-10, -5, -2, 0, 2, 5, 10) }

A slot is one row of the series' own cadence, but at least a minute, so that four days are a bounded ring. The cadence
is the median of the first 16 distances in time; before it is known, and for series with fewer than four rows a day,
there is no band. Several days and neighbours make the band robust (one bad day, a quarter of the values, moves one edge
of it, not both), and rows need not keep their slot exactly.

Trade-off: four days see no week. A service that sleeps on Sundays is surprising on Monday mornings until the faster
references have caught up; in exchange the band exists after one day and follows a change of habit within four.

>>> season = Season(SeasonParams(), SeasonState())
>>> for hour in range(24 * 5): season.learn(hour * 3_600_000_000, float(hour % 24))
>>> season.band(24 * 5 * 3_600_000_000 + 12 * 3_600_000_000)
(2.0, 22.0)
"""

import math
from collections.abc import Sequence
from statistics import median

import msgspec

DAY_US = 86_400_000_000
SLOT_US_MIN = 60_000_000


class SeasonParams(msgspec.Struct, frozen=True):
    """`days` looked back, `neighbours` in slots, quantile `q` on either side."""

    days: int = 4
    neighbours: tuple[int, ...] = (-10, -5, -2, 0, 2, 5, 10)
    q: float = 0.1
    cadence_from: int = 16
    slots_per_day_min: int = 4


class SeasonState(msgspec.Struct):
    """`ring[slot % len(ring)]` is the value of that slot; `distances_us` only until the cadence is known."""

    time_us: int | None = None
    distances_us: list[int] = []
    slot_us: int = 0
    slot: int = 0
    ring: list[float | None] = []


class Season:
    """Remembers some days of one series in a ring of slots."""

    def __init__(self, params: SeasonParams, state: SeasonState) -> None:
        self.params = params
        self.state = state
        self._offsets: list[int] = []
        self._set_offsets()

    @property
    def per_day(self) -> int:
        """Slots of a day; 0 while the cadence is unknown, and for series too slow to have a time of day."""
        return round(DAY_US / self.state.slot_us) if self.state.ring else 0

    def band(self, time_us: int) -> tuple[float, float] | None:
        """Low and high quantile for a row at `time_us`; None without any past value to look at."""
        values = sorted(self.recall(time_us, self._offsets))
        if not values:
            return None
        last = len(values) - 1
        return values[math.floor(self.params.q * last)], values[math.ceil((1.0 - self.params.q) * last)]

    def recall(self, time_us: int, offsets: Sequence[int]) -> list[float]:
        """What is remembered of the slots that lie `offsets` before the slot of `time_us`."""
        ring = self.state.ring
        if not ring:
            return []
        size, slot = len(ring), max(time_us // self.state.slot_us, self.state.slot)
        reach = slot - self.state.slot  # slots that were skipped since the last row hold older days still
        found = [ring[(slot - o) % size] for o in offsets if o > reach and o - reach < size]
        return [v for v in found if v is not None]

    def learn(self, time_us: int, value: float | None) -> None:
        """Take the row in; rows of the same slot replace each other, one that steps back counts as the newest slot."""
        state = self.state
        if state.slot_us == 0:
            self._learn_cadence(time_us)
        if state.ring:
            self._advance(max(time_us // state.slot_us, state.slot))
            if value is not None:
                state.ring[state.slot % len(state.ring)] = value
        state.time_us = time_us if state.time_us is None else max(time_us, state.time_us)

    def _advance(self, slot: int) -> None:
        ring, last = self.state.ring, self.state.slot
        for skipped in range(max(last + 1, slot - len(ring) + 1), slot + 1):
            ring[skipped % len(ring)] = None
        self.state.slot = slot

    def _learn_cadence(self, time_us: int) -> None:
        state = self.state
        if state.time_us is None or time_us <= state.time_us:
            return
        state.distances_us.append(time_us - state.time_us)
        if len(state.distances_us) < self.params.cadence_from:
            return
        state.slot_us = max(round(median(state.distances_us)), SLOT_US_MIN)
        state.distances_us = []
        state.slot = time_us // state.slot_us
        if round(DAY_US / state.slot_us) >= self.params.slots_per_day_min:
            self._set_offsets()
            state.ring = [None] * (max(self._offsets) + 1)

    def _set_offsets(self) -> None:
        if self.state.slot_us == 0:
            return
        per_day = round(DAY_US / self.state.slot_us)
        neighbours = [(day * per_day - j) for day in range(1, self.params.days + 1) for j in self.params.neighbours]
        self._offsets = [o for o in neighbours if o > 0]
