"""An account of the oracle's: a bucket of exact fractions of tokens, its leases, and the gate of a throttle.

Second of two files that write the quota rules down again; the rules in words are in `quota_model.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

MINUTE_US = 60_000_000
MONTH_US = 30 * 24 * 60 * MINUTE_US
LEASE_US = 10 * MINUTE_US
GATE_US = 15 * MINUTE_US
FOREVER_US = 2**53
MONTHLY_TOKENS = {"free": 3_000_000, "pro": 100_000_000, "enterprise": 2_000_000_000}
SAVED_TOKENS = {"free": 100_000, "pro": 3_333_333, "enterprise": 66_666_666}


class Narrowed(NamedTuple):
    percent: int
    until_us: int


@dataclass
class Bucket:
    """`tokens` (negative: debt) at `time_us`; gains `rate` tokens a month and holds `capacity`."""

    tokens: Fraction
    time_us: int

    def advance(self, time_us: int, rate: int, capacity: int) -> None:
        if time_us > self.time_us:
            self.tokens += Fraction((time_us - self.time_us) * rate, MONTH_US)
            self.time_us = time_us
        self.tokens = min(self.tokens, Fraction(capacity))

    def wait_us(self, wanted: int, rate: int, capacity: int) -> int:
        """Until that many tokens are there."""
        if floor(self.tokens) >= wanted:
            return 0
        if wanted > capacity or rate == 0:
            return FOREVER_US
        return min(FOREVER_US, ceil((wanted - self.tokens) * MONTH_US / rate))


class Lease(NamedTuple):
    tokens: int
    made_us: int


@dataclass
class Account:
    bucket: Bucket
    tier: str = ""
    planned: bool = False
    leases: dict[str, Lease] = field(default_factory=dict)  # in the order of their making
    gate: Bucket | None = None
    gate_since_us: int = 0
    unclaimed: list[tuple[int, int]] = field(default_factory=list)  # what was used before the tier was known, and when

    @property
    def counts_as(self) -> str:
        return self.tier or "free"

    @property
    def rate(self) -> int:
        return MONTHLY_TOKENS[self.counts_as]

    @property
    def capacity(self) -> int:
        return SAVED_TOKENS[self.counts_as]

    def change(self, tokens: int, narrowed: Narrowed | None, since_us: int) -> None:
        """Add (or take) tokens; in the gate too, unless they were reserved before it stood."""
        self.bucket.tokens = min(self.bucket.tokens + tokens, Fraction(self.capacity))
        if self.gate is not None and narrowed is not None and since_us >= self.gate_since_us:
            _, capacity = gate_of(self.counts_as, narrowed.percent)
            self.gate.tokens = min(self.gate.tokens + tokens, Fraction(capacity))

    def advance(self, narrowed: Narrowed | None, now_us: int) -> None:
        """Refill, open or close the gate, and take back what reservations that have ended held."""
        self.bucket.advance(now_us, self.rate, self.capacity)
        self._advance_gate(narrowed, now_us)
        for request in [name for name, lease in self.leases.items() if lease.made_us + LEASE_US <= now_us]:
            lease = self.leases.pop(request)
            self.change(lease.tokens, narrowed, lease.made_us)

    def _advance_gate(self, narrowed: Narrowed | None, now_us: int) -> None:
        if narrowed is None:
            self.gate = None
            return
        rate, capacity = gate_of(self.counts_as, narrowed.percent)
        if self.gate is None:
            self.gate, self.gate_since_us = Bucket(Fraction(capacity), now_us), now_us
        self.gate.advance(now_us, rate, capacity)

    def move(self, tier: str, time_us: int) -> None:
        """To another tier, equally full in whole tokens."""
        self.bucket.advance(time_us, self.rate, self.capacity)
        before, after, whole = self.capacity, SAVED_TOKENS[tier], floor(self.bucket.tokens)
        moved = whole if before == after else floor(Fraction(whole * after, before))
        self.bucket.tokens = Fraction(moved)
        self.tier, self.gate = tier, None

    def turns_out_to_be(self, tier: str, narrowed_at: Callable[[int], Narrowed | None]) -> None:
        """The tier of what only completions were known of: as if it had been known at each of them."""
        self.tier, self.gate, self.bucket = tier, None, Bucket(Fraction(SAVED_TOKENS[tier]), self.unclaimed[0][0])
        for time_us, used in self.unclaimed:
            narrowed = narrowed_at(time_us)
            self.advance(narrowed, time_us)
            self.change(-used, narrowed, time_us)


def gate_of(tier: str, percent: int) -> tuple[int, int]:
    """The gate's rate (tokens a month) and how many tokens it holds."""
    rate = MONTHLY_TOKENS[tier] * percent // 100
    return rate, rate * GATE_US // MONTH_US
