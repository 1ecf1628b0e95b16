"""The token bucket against exact arithmetic with fractions."""

from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.bucket import FOREVER_US, Level, Limit, full, give, refill, take, wait_us

LIMITS = st.builds(Limit, st.integers(1, 10**8), st.integers(1, 2 * 10**9), st.sampled_from([1_000_000, 2_592 * 10**9]))
SPANS_US = st.integers(0, 10**11)


@given(LIMITS, st.integers(-(10**6), 10**8), st.lists(SPANS_US, max_size=6))
def test_refilling_in_steps_is_refilling_at_once(limit: Limit, tokens: int, spans_us: list[int]) -> None:
    stepped = Level(min(tokens, limit.capacity_tokens), 0, 0)
    at_once = replace(stepped)
    for span_us in spans_us:
        refill(stepped, limit, stepped.time_us + span_us)
    refill(at_once, limit, sum(spans_us))
    assert stepped == at_once


@given(LIMITS, st.integers(0, 10**8), SPANS_US)
def test_no_rounding_adds_or_loses_a_token(limit: Limit, spent: int, span_us: int) -> None:
    level = full(limit, 0)
    take(level, spent)
    refill(level, limit, span_us)
    exact = limit.capacity_tokens - spent + Fraction(span_us * limit.rate_tokens, limit.period_us)
    held = level.tokens + Fraction(level.fraction, limit.period_us)
    assert held == min(exact, limit.capacity_tokens)


@given(LIMITS, st.integers(0, 10**9), st.integers(1, 10**8), SPANS_US)
def test_the_wait_is_exact(limit: Limit, spent: int, wanted: int, begun_us: int) -> None:
    assume(wanted <= limit.capacity_tokens)
    level = full(limit, 0)
    take(level, spent)
    refill(level, limit, begun_us)
    wait = wait_us(level, limit, wanted)
    assume(wait < FOREVER_US)
    early, due = replace(level), replace(level)
    refill(due, limit, begun_us + wait)
    assert due.tokens >= wanted
    if wait:
        refill(early, limit, begun_us + wait - 1)
        assert early.tokens < wanted


@given(LIMITS, st.integers(-(10**6), 10**8), st.lists(SPANS_US, max_size=4), st.integers(1, 10**8))
def test_a_limit_in_lowest_terms_is_the_same_limit(limit: Limit, tokens: int, spans_us: list[int], wanted: int) -> None:
    lowest = limit.in_lowest_terms()
    level, low = Level(tokens, 0, 0), Level(tokens, 0, 0)
    for span_us in spans_us:
        refill(level, limit, level.time_us + span_us)
        refill(low, lowest, low.time_us + span_us)
    assert (low.tokens, low.time_us) == (level.tokens, level.time_us)
    assert Fraction(low.fraction, lowest.period_us) == Fraction(level.fraction, limit.period_us)
    assert wait_us(low, lowest, wanted) == wait_us(level, limit, wanted)


def test_a_fraction_from_other_settings_is_worth_no_token() -> None:
    level = Level(tokens=3, fraction=999_999, time_us=0)
    refill(level, Limit(capacity_tokens=10, rate_tokens=1, period_us=1_000), 500)
    assert level == Level(3, 500, 500)


def test_time_running_backwards_grants_nothing() -> None:
    limit = Limit(capacity_tokens=10, rate_tokens=1, period_us=1_000_000)
    level = Level(0, 0, 0)
    for time_us in (3_000_000, 1_000_000, 3_000_000, 2_999_999):
        refill(level, limit, time_us)
    assert level == Level(3, 0, 3_000_000)


def test_a_refund_never_overfills_and_debt_is_paid_first() -> None:
    limit = Limit(capacity_tokens=10, rate_tokens=1, period_us=1_000_000)
    level = full(limit, 0)
    give(level, limit, 5)
    assert level.tokens == 10
    give(level, limit, -25)
    refill(level, limit, 14_000_000)
    assert level.tokens == -1
    assert wait_us(level, limit, 1) == 2_000_000


def test_what_never_comes_has_no_wait() -> None:
    limit = Limit(capacity_tokens=10, rate_tokens=1, period_us=1_000_000)
    assert wait_us(full(limit, 0), limit, 11) == FOREVER_US
    assert wait_us(Level(0, 0, 0), Limit(10, 0, 1_000_000), 1) == FOREVER_US
