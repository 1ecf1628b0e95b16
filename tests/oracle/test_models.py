"""The oracle itself on cases worked out by hand: it must be right where nothing of the pipeline is there to compare."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.oracle.account_model import LEASE_US, MINUTE_US
from tests.oracle.oracle import event_of, expect
from tests.oracle.quota_model import QuotaModel, Verdict
from tests.oracle.reading import Record
from tests.oracle.window_model import Cell, PartitionTime, cost_microusd, quantile

T = 1_700_000_040_000_000  # a whole minute
TOKEN_US = 864_000  # in which a free account gains one token: 30 days / 3,000,000


def request(
    tokens: int, at_us: int = T, name: str = "r", tier: str = "free", organisation: str = "acme"
) -> dict[str, Any]:
    return {
        "type": "request",
        "id": name,
        "time_us": at_us,
        "organisation": organisation,
        "tier": tier,
        "gen_ai.request.model": "tide",
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.request.max_tokens": 0,
    }


def completion(given: int, output: int, at_us: int = T, name: str = "r", organisation: str = "acme") -> dict[str, Any]:
    return {
        "type": "completion",
        "id": name,
        "time_us": at_us,
        "organisation": organisation,
        "gen_ai.response.model": "tide",
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.output_tokens": output,
    }


def relayed(offset: int, **event: Any) -> dict[str, Any]:
    return {"type": "relayed", "offset": offset, "event": event}


def throttle(offset: int, state: str = "issued", percent: int = 50, target: str = "acme") -> dict[str, Any]:
    fields = {"type": "command", "action": "throttle", "command": "c", "state": state, "target": target}
    return relayed(offset, **fields, expires_us=T + 60 * MINUTE_US, parameters={"percent": percent})


def decided(*events: dict[str, Any]) -> list[Verdict]:
    model = QuotaModel()
    return [verdict for event in events if (verdict := model.take(event)) is not None]


def remaining(*events: dict[str, Any]) -> list[int]:
    return [verdict.remaining_tokens for verdict in decided(*events)]


def test_a_request_reserves_and_says_when_the_bucket_is_full_again() -> None:
    assert decided(request(1_000)) == [Verdict("r", "acme", False, "free", 100_000, 99_000, 1_000, 1_000 * TOKEN_US, 0)]


def test_without_max_tokens_600_are_reserved() -> None:
    given = request(1_000)
    del given["gen_ai.request.max_tokens"]
    assert remaining(given) == [98_400]


def test_a_completion_returns_what_was_not_used_and_charges_what_was_used_too_much() -> None:
    assert remaining(request(1_000), completion(300, 100), request(1)) == [99_000, 99_599]
    assert remaining(request(1_000), completion(3_000, 0), request(1)) == [99_000, 96_999]


def test_a_completion_that_nobody_asked_for_is_charged_whole() -> None:
    assert remaining(request(10), completion(300, 100, name="another"), request(1)) == [99_990, 99_589]


def test_settled_tokens_are_what_completions_charged() -> None:
    model = QuotaModel()
    for event in (request(1_000), completion(300, 100), completion(7, 0, name="x"), completion(1, 1, organisation="o")):
        model.take(event)
    assert model.settled == {"acme": 407, "o": 2}


def test_over_quota_waits_for_the_missing_tokens() -> None:
    _, refused = decided(request(99_999), request(3, name="s"))
    assert (refused.throttled, refused.remaining_tokens, refused.reserved_tokens) == (True, 1, 0)
    assert refused.retry_after_us == 2 * TOKEN_US


@pytest.mark.parametrize(("waited_us", "throttled"), [(2 * TOKEN_US - 1, True), (2 * TOKEN_US, False)])
def test_a_token_is_there_at_its_microsecond_and_not_before(waited_us: int, throttled: bool) -> None:
    verdicts = decided(request(99_999), request(3, T + waited_us, name="s"))
    assert verdicts[1].throttled is throttled


def test_more_than_the_bucket_can_hold_is_refused_for_ever() -> None:
    (refused,) = decided(request(100_001))
    assert (refused.throttled, refused.retry_after_us) == (True, 1_000_000)


def test_a_reservation_ends_after_ten_minutes() -> None:
    just_before, at_its_end = T + LEASE_US - 1, T + LEASE_US
    held, refilled = 100_000 - 50_000, LEASE_US // TOKEN_US  # 694 tokens
    assert remaining(request(50_000), request(1, just_before, "s")) == [50_000, held + refilled - 1]
    assert remaining(request(50_000), request(1, at_its_end, "s")) == [50_000, 99_999]


def test_a_repeated_id_adds_to_its_reservation_and_renews_it() -> None:
    again_us = T + 5 * MINUTE_US
    verdicts = remaining(
        request(60_000),
        request(20_000, again_us),
        completion(0, 0, T + LEASE_US + 1),
        request(1, T + LEASE_US + 1, "s"),
    )
    assert verdicts[-1] == 99_999


def test_events_out_of_order_never_refill_twice() -> None:
    late = request(10, T - MINUTE_US, "s")
    assert remaining(request(50_000), late, request(10, T, "t")) == [50_000, 49_990, 49_980]


def test_another_tier_is_equally_full() -> None:
    assert remaining(request(50_000), request(0, tier="pro", name="s")) == [50_000, 3_333_333 // 2]


def test_a_plan_outranks_what_requests_claim() -> None:
    plan = relayed(4, type="plan", organisation="acme", tier="enterprise")
    assert [verdict.tier for verdict in decided(request(1), plan, request(1), request(1, tier="pro"))] == [
        "free",
        "enterprise",
        "enterprise",
    ]


def test_a_copy_of_an_older_relayed_event_says_nothing() -> None:
    older, newer = (relayed(n, type="plan", organisation="acme", tier=tier) for n, tier in ((1, "pro"), (2, "free")))
    assert [verdict.tier for verdict in decided(older, newer, older, request(1))] == ["free"]


def test_what_completions_used_before_the_tier_was_known_is_booked_under_it() -> None:
    assert remaining(completion(400, 0), request(0, tier="pro", name="s")) == [3_333_333 - 400]


def test_a_throttle_closes_a_gate_in_front_of_a_full_bucket() -> None:
    gate = 3_000_000 // 2 * 15 // (30 * 24 * 60)  # 520 tokens: 15 minutes at half the rate
    first, second = decided(request(100), throttle(1), request(600, name="s"), request(1, name="t"))[1:]
    assert (first.throttled, first.limit_tokens, first.remaining_tokens) == (False, gate, 0)
    assert second.throttled
    assert second.retry_after_us == (600 - gate + 1) * 2 * TOKEN_US


def test_a_reversed_throttle_opens_the_gate() -> None:
    assert remaining(throttle(1), request(600), throttle(2, "reversed"), request(1, name="s"))[-1] == 99_399


def test_what_was_reserved_before_a_throttle_returns_nothing_to_the_gate() -> None:
    events = request(1_000, T - 1), throttle(1), request(500, T, "s"), completion(0, 0, T), request(1, T, "t")
    assert remaining(*events)[-2:] == [20, 19]


#   marks at  ..40 ........... 50 ........ 11:40
#   events      |30 s|40 s|      at 0..30 s: late;  before 1:40: too late
def test_late_and_too_late() -> None:
    time = PartitionTime()
    time.pass_time(T + 45_000_000)  # marks 40 s
    assert [time.judge(T + at_s * 1_000_000) for at_s in (29, 39, 40, 44)] == ["late", "late", "timely", "timely"]
    time.pass_time(T + 705_000_000)  # marks 11:40, so that from 1:40 on there are corrections
    assert [time.judge(T + at_s * 1_000_000) for at_s in (99, 100, 699, 700)] == ["too late", "late", "late", "timely"]


def test_minutes_count_what_came_in_any_order() -> None:
    tick = {"type": "tick", "time_us": T + 200_000_000}
    slow = completion(30, 5, T + 61_000_000) | {"gen_ai.client.operation.duration": 2.5}
    failed = completion(10, 0, T + 119_999_999) | {"error.type": "timeout", "gen_ai.client.operation.duration": 9.0}
    found = expect({0: list(recorded(request(1), slow, failed, request(1, T + 70_000_000), tick, request(2, T + 1)))})
    first, second = found.cells[Cell("tide", T)], found.cells[Cell("tide", T + MINUTE_US)]
    assert (first.requests, first.late_events, first.completions) == (2, 1, 0)
    # The request of 70 s comes after an event of nearly 120 s, whose mark is 110 s.
    assert (second.requests, second.completions, second.errors, second.late_events) == (1, 2, 1, 1)
    assert (second.input_tokens, second.output_tokens, second.duration_us) == (40, 5, [2_500_000])
    assert (found.closed_us, found.uncorrected) == (T + 190_000_000, 1)


def recorded(*events: dict[str, Any]) -> Iterator[Record]:
    for offset, event in enumerate(events):
        yield Record(offset, event.get("time_us", T), msgspec.json.encode(event))


@pytest.mark.parametrize(
    ("percent", "exact"), [(50, 500), (99, 990), (100, 1_000), (0, 1)], ids=lambda value: str(value)
)
def test_quantiles_are_values_by_rank(percent: int, exact: int) -> None:
    assert quantile(list(range(1_000, 0, -1)), percent) == exact


def test_costs_are_rounded_up_and_cached_tokens_are_cheaper() -> None:
    cached = completion(1_000, 100) | {"gen_ai.usage.cache_read.input_tokens": 400}
    assert cost_microusd(cached) == 600 * 3 + 400 * 3 // 10 + 100 * 15
    assert cost_microusd(completion(0, 0) | {"gen_ai.usage.cache_read.input_tokens": 1}) == 0
    assert cost_microusd(completion(1, 0) | {"gen_ai.usage.cache_read.input_tokens": 1}) == 1


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[1]", b'{"type":"prayer"}', b'{"type":"request"}', msgspec.json.encode(request(-1))]
)
def test_what_is_no_event(value: bytes | None) -> None:
    assert event_of(Record(0, T, value)) is None


@pytest.mark.parametrize(
    ("off_us", "counts"), [(0, True), (300_000_000, True), (300_000_001, False), (-604_800_000_001, False)]
)
def test_clocks_that_are_off(off_us: int, counts: bool) -> None:
    assert (event_of(Record(0, T, msgspec.json.encode(request(1, T + off_us)))) is not None) is counts


def test_the_oracle_is_code_of_its_own() -> None:
    """It loads no stage, and nothing that stages are made of."""
    program = "import sys, tests.oracle.oracle; print(*(name for name in sys.modules if name.startswith('pipeline')))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= {"pipeline", "pipeline.kafka_admin"}
