"""Quota: tables of small cases, and an oracle that keeps the same book in another way."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.accounts import LOOKED_AT_MAX, PARTITION, Partition
from pipeline.quiet import Quiet
from pipeline.quotas import UNCLAIMED_MAX, Account, QuotaParams, Rules, TierQuota
from pipeline.stage import Batch, Output, State
from pipeline.stages.quota import Quota
from tests import laws
from tests.laws import Store, Stream
from tests.streams.quota import streams
from topics.codec import digest
from topics.control import Command, Plan, Relayed
from topics.fields import HOUR_US, MINUTE_US, SECOND_US, TIME_US_MAX
from topics.traffic import Completion, Request, Tick

START_US = 1_790_000_000 * SECOND_US
SMALL = QuotaParams(  # one token a second, and a bucket of ten
    free=TierQuota(tokens_per_month=60, capacity_tokens=10),
    pro=TierQuota(tokens_per_month=600, capacity_tokens=100),
    enterprise=TierQuota(tokens_per_month=6_000, capacity_tokens=1_000),
    month_us=MINUTE_US,
    default_output_tokens=4,
    lease_us=5 * SECOND_US,
    leases_max=3,
    throttled_burst_us=8 * SECOND_US,
)


class Desk:
    """A quota stage that is spoken to in seconds."""

    def __init__(self, params: QuotaParams = SMALL) -> None:
        self.stage, self.state, self.offset = Quota(params), State[Any](), 0

    def feed(self, event: Any) -> list[Output]:
        self.offset += 1
        return self.stage.step(self.state, Batch(0, 1, [self.offset], [event]))

    def ask(self, at_s: float, tokens: int, name: str = "r", **fields: Any) -> Any:
        """Request `tokens` in all; the Admitted or the Decision that answers."""
        fields = {"organisation": "acme", "max_tokens": 0} | fields
        request = Request(id=name, time_us=at(at_s), model="owl", input_tokens=tokens, **fields)
        (output,) = self.feed(request)
        assert output.to == ("decisions" if hasattr(output.value, "outcome") else "admitted")
        return output.value

    def end(self, at_s: float, tokens: int, name: str = "r", organisation: str = "acme") -> None:
        completion = Completion(
            id=name, time_us=at(at_s), organisation=organisation, model="owl", input_tokens=tokens, output_tokens=0
        )
        assert self.feed(completion) == []

    def throttle(self, percent: int, until_s: float, target: str = "acme", state: Any = "issued") -> None:
        command = Command(
            id="e",
            time_us=START_US,
            command="c0-1-0",
            alert="a",
            model="owl",
            action="throttle",
            target=target,
            state=state,
            severity="info",
            expires_us=at(until_s),
            reason="a surge",
            parameters={"percent": percent},
        )
        assert self.feed(Relayed(offset=self.offset, event=command)) == []

    def plan(self, tier: Any, organisation: str = "acme") -> None:
        plan = Plan(id="p", time_us=START_US, organisation=organisation, tier=tier)
        assert self.feed(Relayed(offset=self.offset, event=plan)) == []

    def tokens(self, organisation: str = "acme") -> int:
        account: Account = self.state.values[organisation]
        return account.tokens


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


def admitted(answer: Any) -> bool:
    return not hasattr(answer, "outcome")


def test_a_request_reserves_and_its_completion_settles() -> None:
    desk = Desk()
    verdict = desk.ask(0, 6, max_tokens=2).quota
    assert (verdict.limit_tokens, verdict.reserved_tokens, verdict.remaining_tokens) == (10, 8, 2)
    assert (verdict.reset_us, verdict.retry_after_us) == (8 * SECOND_US, 0)
    desk.end(1, 7)
    assert desk.tokens() == 2 + 1 + (8 - 7)


def test_without_max_tokens_an_estimate_is_reserved() -> None:
    assert Desk().ask(0, 6, max_tokens=None).quota.reserved_tokens == 6 + 4


def test_a_refusal_says_how_long_to_wait_and_keeps_the_tokens() -> None:
    desk = Desk()
    desk.ask(0, 8, "first")
    refused = desk.ask(0.5, 5, "second", prompt="sort this list", user="u")
    assert (refused.outcome, refused.tier, refused.id) == ("throttled", "free", "0-2-0")
    assert refused.quota.retry_after_us == 3 * SECOND_US - SECOND_US // 2
    assert (refused.quota.remaining_tokens, refused.quota.reserved_tokens) == (2, 0)
    assert refused.safety is None
    assert refused.prompt_digest == digest(b"sort this list")
    assert refused.reason == "over quota: needs 5 tokens, has 2"
    assert not admitted(desk.ask(2.999999, 5, "third"))
    assert admitted(desk.ask(3, 5, "fourth"))


def test_what_no_bucket_can_hold_is_never_admitted() -> None:
    refused = Desk().ask(0, 11)
    assert refused.reason.startswith("never: 11 tokens are more than the quota can hold (10)")


def test_using_more_than_was_reserved_makes_debt_that_must_be_paid_first() -> None:
    desk = Desk()
    desk.ask(0, 10)
    desk.end(0, 25)
    assert desk.tokens() == -15
    assert desk.ask(0, 1, "next").quota.retry_after_us == 16 * SECOND_US


def test_what_ran_without_a_reservation_is_charged() -> None:
    desk = Desk()
    desk.end(0, 4, "never asked for")
    assert desk.tokens() == 6
    assert not admitted(desk.ask(0, 7, "refused"))
    desk.end(0, 7, "refused")
    assert desk.tokens() == -1


def test_a_lease_that_ends_returns_its_reservation_once() -> None:
    desk = Desk()
    desk.ask(0, 8, "lost")
    assert not admitted(desk.ask(4.9, 10, "early"))
    assert admitted(desk.ask(5, 10, "late"))
    desk.end(5, 8, "lost")
    assert desk.tokens() == -8


def test_a_request_repeated_under_one_id_is_settled_once_for_both() -> None:
    desk = Desk()
    desk.ask(0, 3, "twice")
    desk.ask(0, 3, "twice")
    desk.end(0, 3, "twice")
    assert desk.tokens() == 7


def test_events_out_of_order_never_refill_twice() -> None:
    desk = Desk()
    desk.ask(0, 10, "all")
    for seconds in (3, 1, 3, 2, 3):
        assert not admitted(desk.ask(seconds, 4, f"at {seconds}"))
    assert desk.tokens() == 3


def test_running_requests_are_bounded() -> None:
    desk = Desk()
    for number in range(3):
        assert admitted(desk.ask(number, 1, f"r{number}"))
    refused = desk.ask(3, 1, "one more")
    assert refused.reason == "3 requests are running, as many as an organisation may have"
    assert refused.quota.retry_after_us == 2 * SECOND_US
    assert admitted(desk.ask(5, 1, "after the first lease"))


def test_a_fraction_from_other_settings_is_worth_nothing() -> None:
    desk = Desk()
    for number in range(3):
        desk.ask(number / 10, 3, f"r{number}")
        desk.state.values["acme"].fraction = 10 * SECOND_US
    desk.end(0.5, 3, "r0")
    assert (desk.tokens(), desk.state.values["acme"].fraction) == (1, 300_000)


def test_a_plan_outranks_what_requests_claim() -> None:
    desk = Desk()
    assert desk.ask(0, 1, tier="enterprise").tier == "enterprise"
    desk.plan("pro")
    answer = desk.ask(0, 1, "second", tier="enterprise")
    assert (answer.tier, answer.quota.limit_tokens) == ("pro", 100)


def test_a_plan_is_known_before_the_first_request() -> None:
    desk = Desk()
    desk.plan("enterprise")
    assert desk.ask(0, 500).tier == "enterprise"


@given(st.lists(st.sampled_from(["free", "pro", "enterprise"]), min_size=1, max_size=12), st.integers(0, 1_500))
def test_changing_the_tier_makes_no_tokens(tiers: list[Any], spent: int) -> None:
    desk = Desk()
    desk.ask(0, 0, "opens", tier="enterprise")
    desk.end(0, spent, "unasked")
    before = desk.tokens()
    for tier in [*tiers, "enterprise"]:
        desk.plan(tier)
    assert desk.tokens() <= before


def test_what_completions_used_before_the_tier_was_known_is_booked_under_it() -> None:
    desk = Desk()
    desk.end(0, 4, "from before the start")
    desk.ask(0, 0, "first", tier="enterprise")
    assert desk.tokens() == 1_000 - 4
    desk.end(10, 500, "unasked", organisation="other")
    desk.end(12, 300, "unasked too", organisation="other")
    answer = desk.ask(14, 0, organisation="other", tier="enterprise")  # 200 back until then, and 200 more
    assert answer.quota.remaining_tokens == 1_000 - 500 + 200 - 300 + 200


@pytest.mark.parametrize("throttled", [False, True])
def test_forgetting_does_not_show_when_a_completion_comes_first(throttled: bool) -> None:
    """Its late request comes after it (the oracle's seed 7): the tier was forgotten, and is not until then known."""
    answers = []
    for idle_s in (SMALL.evict_after_us // SECOND_US - 60, SMALL.evict_after_us // SECOND_US + 600):
        desk = Desk()
        desk.ask(0, 5, tier="enterprise")
        desk.end(1, 5)
        desk.ask(idle_s - 2, 0, organisation="a neighbour, so that time goes on")
        desk.ask(idle_s - 1, 0, organisation="a neighbour, so that time goes on")
        if throttled:
            desk.throttle(50, until_s=idle_s + 60, target="tier:enterprise")
        assert ("acme" in desk.state.values) == (idle_s < SMALL.evict_after_us // SECOND_US)
        desk.end(idle_s, 390, "late")
        desk.end(idle_s + 0.5, 30, "late too")
        answers.append(desk.ask(idle_s + 0.75, 6, "late", tier="enterprise").quota)
    assert answers[0] == answers[1]
    assert answers[0].remaining_tokens == (
        400 - 390 + 25 - 30 + 12 - 6 if throttled else 1_000 - 390 + 50 - 30 + 25 - 6
    )


def test_of_very_many_completions_before_a_tier_the_oldest_count_together() -> None:
    desk = Desk()
    for second in range(UNCLAIMED_MAX + 10):
        desk.end(second, 1, f"r{second}")
    account = desk.state.values["acme"]
    assert len(account.unclaimed) == UNCLAIMED_MAX
    assert account.unclaimed[0] == (at(10), 11)


def test_a_throttle_holds_back_savings_and_gives_them_back() -> None:
    desk = Desk()
    desk.ask(0, 0, "opens", tier="enterprise")  # a full bucket of 1,000 at 100 tokens/s
    desk.throttle(50, until_s=60)  # 50 tokens/s, and a gate of 8 s worth
    answer = desk.ask(0, 390, "within the gate", tier="enterprise")
    assert (answer.quota.limit_tokens, answer.quota.remaining_tokens) == (400, 10)
    refused = desk.ask(0, 100, "beyond", tier="enterprise")
    assert refused.quota.retry_after_us == SECOND_US * 90 // 50
    assert refused.reason == "limited to 50 % of the plan's rate by command c0-1-0"
    assert admitted(desk.ask(1.8, 100, "patient", tier="enterprise"))
    assert admitted(desk.ask(60, 1_000, "afterwards", tier="enterprise"))


@pytest.mark.parametrize("target", ["acme", "tier:free"])
def test_a_throttle_slows_even_a_free_account_without_shutting_it_out(target: str) -> None:
    desk = Desk()
    desk.throttle(25, until_s=600, target=target)  # a gate of 2 tokens that gains one in four seconds
    assert admitted(desk.ask(0, 10, "larger than the gate"))
    desk.end(0, 10, "larger than the gate")
    refused = desk.ask(10, 3, "next")
    assert refused.quota.retry_after_us == (4 * 10 - 10) * SECOND_US
    assert not admitted(desk.ask(39.999999, 3, "just early"))
    assert admitted(desk.ask(40, 3, "due"))


def test_a_throttle_of_nothing_lasts_until_it_ends() -> None:
    desk = Desk()
    desk.throttle(0, until_s=30)
    assert desk.ask(10, 1).quota.retry_after_us == 20 * SECOND_US
    assert admitted(desk.ask(30, 1))


def test_a_reversed_throttle_is_over_and_others_are_untouched() -> None:
    desk = Desk()
    desk.throttle(0, until_s=600)
    assert admitted(desk.ask(0, 1, organisation="zenith"))
    assert not admitted(desk.ask(0, 1))
    desk.throttle(0, until_s=600, state="reversed")
    assert admitted(desk.ask(0, 1))


def test_a_gate_closes_with_its_throttle_and_opens_full_with_the_next() -> None:
    desk = Desk()
    desk.throttle(50, until_s=600)
    assert desk.ask(0, 380, tier="enterprise").quota.remaining_tokens == 20
    desk.throttle(50, until_s=600, state="reversed")
    assert desk.ask(0, 10, "between", tier="enterprise").quota.remaining_tokens == 1_000 - 380 - 10
    desk.throttle(50, until_s=600)
    assert desk.ask(0, 390, "again", tier="enterprise").quota.remaining_tokens == 10


def test_what_began_before_a_throttle_is_not_settled_at_its_gate() -> None:
    desk = Desk()
    desk.ask(0, 500, "early", tier="enterprise", max_tokens=400)
    desk.throttle(50, until_s=60)
    desk.ask(1, 0, "opens the gate", tier="enterprise")
    desk.end(1, 100, "early")
    assert desk.ask(1, 0, "look", tier="enterprise").quota.remaining_tokens == 400


def test_idle_organisations_are_forgotten_and_nothing_is_lost() -> None:
    desk = Desk()
    desk.ask(0, 9, "all but one")
    desk.ask(0, 9, "running", organisation="zenith")
    desk.feed(Tick(time_us=at(3_500)))
    assert desk.state.values[PARTITION].accounts == 2
    desk.feed(Tick(time_us=at(3_600 + 600 + 11)))
    assert desk.state.values.keys() == {PARTITION}
    assert desk.state.values[PARTITION].accounts == 0
    assert desk.ask(4_300, 10).quota.remaining_tokens == 0


def test_an_organisation_in_debt_is_not_forgotten() -> None:
    desk = Desk()
    desk.end(0, 30_010, "huge")
    for hour in range(1, 8):
        desk.feed(Tick(time_us=at(hour * 3_600)))
    assert desk.tokens() == -30_000


def test_a_plan_outlives_its_account() -> None:
    desk = Desk()
    desk.plan("pro", organisation="zenith")
    desk.ask(0, 1, organisation="zenith")
    desk.feed(Tick(time_us=at(8_000)))
    assert desk.state.values[PARTITION].accounts == 0
    assert desk.ask(8_001, 1, organisation="zenith").quota.limit_tokens == 100


@pytest.mark.parametrize("organisation", ["clock", "partition", "tier:free", "plan acme", " "])
def test_an_organisation_may_be_called_anything(organisation: str) -> None:
    desk = Desk()
    desk.plan("pro")
    assert desk.ask(0, 10, organisation=organisation).quota.remaining_tokens == 0
    assert desk.ask(0, 10).quota.remaining_tokens == 90


def ring_of(state: State[Any]) -> list[str]:
    """The organisations in the order in which forgetting looks at them."""
    partition: Partition = state.values[PARTITION]
    found, organisation = [], partition.hand
    for _ in range(partition.accounts):
        organisation = state.values[organisation].following
        found.append(organisation)
    return found


def test_forgetting_is_spread_over_events_and_reaches_everybody() -> None:
    desk = Desk()
    everybody = [f"user {number}" for number in range(3 * LOOKED_AT_MAX)]
    for organisation in everybody:
        desk.ask(0, 1, organisation=organisation)
    assert ring_of(desk.state) == everybody
    for after_s, left in ((9_000, 2 * LOOKED_AT_MAX), (9_000.3, 2 * LOOKED_AT_MAX - 2), (9_600, LOOKED_AT_MAX - 2)):
        desk.feed(Tick(time_us=at(after_s)))
        assert desk.state.values[PARTITION].accounts == len(ring_of(desk.state)) == left
    desk.feed(Tick(time_us=at(10_300)))
    assert desk.state.values.keys() == {PARTITION}


def test_a_checkpoint_holds_where_somebody_was_taken_out() -> None:
    desk = Desk()
    desk.ask(0, 1, organisation="zenith")
    desk.ask(3_000, 1)
    desk.state.dirty.clear()
    desk.feed(Tick(time_us=at(4_000)))
    assert ring_of(desk.state) == ["acme"]
    assert desk.state.dirty == {PARTITION, "zenith", "acme"}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=80), st.lists(st.integers(0, 80), max_size=6)
)
def test_who_is_forgotten_follows_from_the_log_alone(visits: list[tuple[int, int]], wanted: list[int]) -> None:
    """However the log is cut, and from whatever checkpoint, whose keys come back in whatever order."""
    params = msgspec.structs.replace(SMALL, sweep_us=20 * SECOND_US, evict_after_us=15 * SECOND_US)
    time_s, events = 0, []
    for who, pause_s in visits:
        time_s += pause_s
        name = f"user {who}"
        events.append(
            Request(id="r", time_us=at(time_s), organisation=name, model="owl", input_tokens=who, max_tokens=0)
        )
    stream = Stream(range(len(events)), events)
    laws.check_batch_cuts(lambda: Quota(params), stream, wanted)
    laws.check_checkpoints(lambda: Quota(params), stream, range(len(events)))
    whole, restored = State[Any](), State[Any]()
    expected = laws.run(Quota(params), stream, [0, len(events)], whole)
    outputs: list[Output] = []
    store = Store()
    for start, end in pairwise(stream.places_to_cut(wanted)):
        outputs += Quota(params).step(restored, stream.batch(start, end))
        store.write(restored)
        restored = State(dict(reversed(store.read(Quota(params)).values.items())))
    assert outputs == expected
    assert laws.as_bytes(restored) == laws.as_bytes(whole)
    if events:
        accounts = {key for key, value in whole.values.items() if isinstance(value, Account)}
        assert sorted(ring_of(whole)) == sorted(accounts)


class ByTheRules(Quiet):
    """Leaves every request and completion to the rules."""

    def admit(self, account: Account, offset: int, request: Request) -> Output | None:
        return None

    def settle(self, account: Account, completion: Completion) -> bool:
        return False


def by_the_rules(params: QuotaParams) -> Quota:
    stage = Quota(params)
    stage.quiet = ByTheRules(Rules(params))
    stage._quietened = lambda account, event: False  # type: ignore[method-assign]
    return stage


@pytest.mark.parametrize("params", [QuotaParams(), SMALL], ids=["usual", "small"])
def test_what_is_quick_for_quiet_accounts_is_what_the_rules_say(params: QuotaParams) -> None:
    @settings(max_examples=150, deadline=None)
    @given(streams(steps_us=(0, 0, 137, 200_000, SECOND_US, 4 * SECOND_US, 11 * SECOND_US, MINUTE_US)))
    def check(events: list[Any]) -> None:
        quick, ruled = State[Any](), State[Any]()
        batch = Batch(0, 1, range(len(events)), events)
        assert Quota(params).step(quick, batch) == by_the_rules(params).step(ruled, batch)
        for state in (quick, ruled):
            for value in state.values.values():
                if isinstance(value, Account):
                    value.quiet_until_us = 0  # a hint: the rules renew it more often
        assert quick.values == ruled.values
        assert quick.dirty == ruled.dirty

    check()


def test_most_events_are_dealt_with_the_quick_way() -> None:
    """All but the first, which opens the account; also those that come after leases have ended."""
    admitted: list[Output | None] = []

    class Counting(Quiet):
        def admit(self, account: Account, offset: int, request: Request) -> Output | None:
            admitted.append(super().admit(account, offset, request))
            return admitted[-1]

    desk = Desk()
    desk.stage.quiet = Counting(Rules(SMALL))
    for number in range(100):
        desk.ask(number, 1, f"r{number}")
        desk.end(number, 1, f"r{number}")
    assert len([output for output in admitted if output is not None]) == 100 - 1


def test_the_number_of_organisations_is_bounded() -> None:
    desk = Desk(QuotaParams(accounts_max=1))
    assert admitted(desk.ask(0, 1))
    refused = desk.ask(0, 1, organisation="zenith")
    assert refused.reason == "1 organisations are being metered, as many as a partition can"
    assert refused.quota.retry_after_us > 0
    desk.end(0, 5, organisation="zenith")


def test_a_full_month_pays_out_the_month() -> None:
    """The seed's 1, 33 and 666 tokens/s would pay out 86 %."""
    params = QuotaParams()
    for tier in ("free", "pro", "enterprise"):
        desk = Desk(params)
        quota = params.tier(tier)  # type: ignore[arg-type]
        desk.ask(0, 0, "opens", tier=tier)
        day_us = 24 * HOUR_US
        for day in range(31):
            desk.end(day * day_us / SECOND_US, quota.tokens_per_month // 30 + 1, f"day {day}")
        assert abs(desk.tokens() - (quota.capacity_tokens - quota.tokens_per_month // 30 - 31)) <= 31


@pytest.mark.parametrize("field", ["month_us", "lease_us", "leases_max"])
def test_parameters_that_make_no_sense_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        QuotaParams(**{field: 0})


@settings(deadline=None)
@given(streams())
def test_no_more_is_granted_than_the_allowance(events: list[Any]) -> None:
    """While its tier stands still, what an organisation holds and was charged is at most a full bucket and the pay."""
    events = [e for e in events if isinstance(e, Request | Completion | Tick)]
    stage, state = Quota(QuotaParams(evict_after_us=TIME_US_MAX)), State[Any]()
    outputs = stage.step(state, Batch(0, 1, range(len(events)), events))
    assert len(outputs) == sum(isinstance(e, Request) for e in events)
    for organisation in {e.organisation for e in events if not isinstance(e, Tick)}:
        own = [e for e in events if not isinstance(e, Tick) and e.organisation == organisation]
        tiers = {e.tier for e in own if isinstance(e, Request)}
        if len(tiers) != 1:
            continue
        quota = QuotaParams().tier(tiers.pop())
        account: Account = state.values[organisation]
        charged = sum(e.input_tokens + e.output_tokens for e in own if isinstance(e, Completion))
        reserved = sum(lease.tokens for lease in account.leases.values())
        times = [e.time_us for e in own]
        paid = Fraction((max(times) - min(times)) * quota.tokens_per_month, QuotaParams().month_us)
        assert account.tokens <= quota.capacity_tokens
        assert account.tokens + charged + reserved <= quota.capacity_tokens + paid
