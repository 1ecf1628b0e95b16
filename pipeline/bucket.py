"""The token bucket alone: one pure step over three integers.

A bucket holds up to `capacity_tokens` and gains `rate_tokens` every `period_us`, continuously. Between whole tokens
the remainder is carried exactly, in 1/`period_us` of a token:

    units = elapsed_us · rate_tokens + fraction
    tokens += units div period_us        fraction = units mod period_us

so refilling in one step or in many comes to the same, and no rounding ever adds a token. Tokens may fall below zero:
that is debt, which refilling pays before anything is granted. Time never runs backwards: an older time refills nothing.
A fraction is worth what it is only under the limit it was earned under; one that no refill under the present limit can
have left (the settings were changed) counts as none.

The same algorithm as a meter is GCRA (ITU-T I.371); a bucket is used here since debt and refunds are plain additions.

>>> limit = Limit(capacity_tokens=10, rate_tokens=1, period_us=1_000_000)
>>> level = full(limit, 0); take(level, 8)
>>> wait_us(level, limit, 5)
3000000
>>> refill(level, limit, 2_500_000); level.tokens, wait_us(level, limit, 5)
(4, 500000)
"""

from math import gcd

import msgspec

from topics.fields import TIME_US_MAX

FOREVER_US = TIME_US_MAX
"""The wait for what never comes."""


class Limit(msgspec.Struct, frozen=True, gc=False):
    """What a bucket is: `rate_tokens` are granted per `period_us`, and at most `capacity_tokens` are saved up."""

    capacity_tokens: int
    rate_tokens: int
    period_us: int

    def in_lowest_terms(self) -> "Limit":
        """The same limit in smaller numbers, which are quicker to reckon with: 1 token in 1,296 µs, not 2 G a month."""
        divisor = gcd(self.rate_tokens, self.period_us)
        return Limit(self.capacity_tokens, self.rate_tokens // divisor, self.period_us // divisor)


class Level(msgspec.Struct, array_like=True, gc=False):
    """How full a bucket is at `time_us`: `tokens` (negative: debt) and `fraction` in 1/period_us of a token."""

    tokens: int
    fraction: int
    time_us: int


def full(limit: Limit, time_us: int) -> Level:
    """A bucket filled to the brim."""
    return Level(limit.capacity_tokens, 0, time_us)


def refill(level: Level, limit: Limit, time_us: int) -> None:
    """Bring the bucket to `time_us`; a time that is not later grants nothing."""
    elapsed_us = time_us - level.time_us
    if level.fraction >= limit.period_us:
        level.fraction = 0
    if elapsed_us > 0:
        granted, level.fraction = divmod(elapsed_us * limit.rate_tokens + level.fraction, limit.period_us)
        level.tokens += granted
        level.time_us = time_us
    if level.tokens >= limit.capacity_tokens:
        level.tokens = limit.capacity_tokens
        level.fraction = 0


def give(level: Level, limit: Limit, tokens: int) -> None:
    """Put back what was taken too much (or, when negative, take what was taken too little)."""
    level.tokens += tokens
    if level.tokens >= limit.capacity_tokens:
        level.tokens = limit.capacity_tokens
        level.fraction = 0


def take(level: Level, tokens: int) -> None:
    """Take tokens, whether or not they are there."""
    level.tokens -= tokens


def wait_us(level: Level, limit: Limit, tokens: int) -> int:
    """How long until the bucket holds `tokens`, if nothing but refilling happens; FOREVER_US when it never will."""
    missing = tokens - level.tokens
    if missing <= 0:
        return 0
    if tokens > limit.capacity_tokens or limit.rate_tokens <= 0:
        return FOREVER_US
    return min(FOREVER_US, -(-(missing * limit.period_us - level.fraction) // limit.rate_tokens))
