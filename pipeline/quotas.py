"""The quota rules of one organisation: its account, and what reserving, settling and expiring do to it. Pure.

An account is a token bucket (`pipeline.bucket`) and the leases of requests still running. While mitigation throttles
the organisation it has a second bucket, the *gate*, that holds `throttled_burst_us` worth of the narrowed rate: savings
from before the throttle are kept but cannot be spent, which is what makes an organisation with a full bucket feel a
throttle at once. A request larger than the gate passes when the gate is full and leaves it in debt, so a throttle slows
even a free account down instead of shutting it out.
"""

from collections.abc import Callable

from msgspec import Struct, field

from pipeline.bucket import FOREVER_US, Level, Limit, full, give, refill, take, wait_us
from pipeline.throttles import PERCENT_MAX, Narrowing
from topics.fields import HOUR_US, MINUTE_US, SECOND_US, Tier

DAY_US = 24 * HOUR_US
UNCLAIMED_MAX = 64
"""Completions of an organisation without a known tier that are booked one by one when the tier is known."""


class TierQuota(Struct, frozen=True, forbid_unknown_fields=True):
    """What a tier buys: tokens a month, and how many tokens of unused allowance can be saved up."""

    tokens_per_month: int
    capacity_tokens: int


FREE = TierQuota(3_000_000, 100_000)
PRO = TierQuota(100_000_000, 3_333_333)
ENTERPRISE = TierQuota(2_000_000_000, 66_666_666)


class QuotaParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens and microseconds.

    The mission gives each tier twice, per month and per second, and the two disagree: 3 M, 100 M and 2 G tokens in 30
    days are 1.157, 38.58 and 771.6 tokens/s, not 1, 33 and 666 (which pay out 86 % of what was sold). The month is the
    promise, so buckets refill by the month's tokens over `month_us`, exactly.

    Capacities are one day of the allowance: real prompts have 1,000 to 14,000 tokens (Azure LLM inference trace 2023),
    so the bucket of the free tier holds a day's use in one burst, and no real prompt is larger than a bucket.
    `default_output_tokens` stands in for a missing max_tokens: 600 covers 99 % of that trace's answers.

    `leases_max` bounds the outstanding requests of one organisation: 16,384 leases with the longest ids are 4.5 MB in a
    checkpoint, within a record. `accounts_max` bounds the organisations a partition knows at once. Measured: an account
    is 750 bytes of memory and 60 of a checkpoint, every request that runs 230 and 35 more.
    """

    free: TierQuota = FREE
    pro: TierQuota = PRO
    enterprise: TierQuota = ENTERPRISE
    month_us: int = 30 * DAY_US
    default_output_tokens: int = 600
    lease_us: int = 10 * MINUTE_US
    leases_max: int = 16_384
    throttled_burst_us: int = 15 * MINUTE_US
    accounts_max: int = 1_000_000
    sweep_us: int = 10 * MINUTE_US
    evict_after_us: int = HOUR_US

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            smallest = min(value.tokens_per_month, value.capacity_tokens) if isinstance(value, TierQuota) else value
            if smallest < (0 if name == "default_output_tokens" else 1):
                raise ValueError(f"quota.{name} is {value}: give positive whole numbers")

    def tier(self, tier: Tier) -> TierQuota:
        quota: TierQuota = getattr(self, tier)
        return quota


class Lease(Struct, frozen=True, array_like=True, gc=False):
    """What a request that still runs has reserved, and until when."""

    tokens: int
    ends_us: int


class Account(Level, tag="account", array_like=True, gc=False):
    """One organisation: the level of its bucket, and `leases` by request id in the order of their ends.

    `tier` None is an organisation known only by completions; it counts as free until a request or a plan says more.
    `unclaimed`: what those completions used, as (time, tokens), to be booked under the tier that it turns out to have.
    `planned`: a plan event set the tier, so requests' claims are not heard. `gate_since_us`: leases begun earlier never
    passed the gate. Before `quiet_until_us` no lease ends and no gate is open, and the tier is known: nothing but
    refilling happens by itself.
    `following` is the organisation that forgetting looks at after this one (see pipeline.accounts).
    """

    tier: Tier | None = None
    planned: bool = False
    quiet_until_us: int = 0
    leases: dict[str, Lease] = field(default_factory=dict)
    gate: Level | None = None
    gate_since_us: int = 0
    following: str = ""
    unclaimed: list[tuple[int, int]] | None = None


class Refusal(Struct, frozen=True, gc=False):
    """Why a request is not admitted, which bucket says so and how long that will last."""

    reason: str
    retry_after_us: int
    level: Level
    limit: Limit


class Rules:
    """The parameters as tables, and every change an account can undergo."""

    def __init__(self, params: QuotaParams) -> None:
        self.params = params
        tiers: tuple[Tier, ...] = ("free", "pro", "enterprise")
        quotas: dict[Tier | None, TierQuota] = {None: params.free} | {tier: params.tier(tier) for tier in tiers}
        self.limits = {
            tier: Limit(quota.capacity_tokens, quota.tokens_per_month, params.month_us).in_lowest_terms()
            for tier, quota in quotas.items()
        }
        self.gates = {
            (tier, percent): self._gate(quota, percent)
            for tier, quota in quotas.items()
            for percent in range(PERCENT_MAX + 1)
        }

    def _gate(self, quota: TierQuota, percent: int) -> Limit:
        rate = quota.tokens_per_month * percent // PERCENT_MAX
        return Limit(rate * self.params.throttled_burst_us // self.params.month_us, rate, self.params.month_us)

    def opened(self, tier: Tier | None, planned: bool, time_us: int) -> Account:
        """A new account: full."""
        return Account(self.limits[tier].capacity_tokens, 0, time_us, tier, planned)

    def set_tier(self, account: Account, tier: Tier, time_us: int) -> None:
        """Move at `time_us` to another tier's bucket, equally full: changing to and fro never makes a token."""
        before, after = self.limits[account.tier], self.limits[tier]
        refill(account, before, time_us)
        if before.capacity_tokens != after.capacity_tokens:
            account.tokens = account.tokens * after.capacity_tokens // before.capacity_tokens
        account.fraction = 0
        account.tier = tier
        account.gate = None  # the next event under a throttle opens the new tier's gate

    def claim(self, account: Account, tier: Tier, narrowed_at: Callable[[int], Narrowing | None]) -> None:
        """The tier of an account that completions opened: all is as if it had been known from the first of them on.

        So an organisation that was forgotten in the meantime, and with it the tier, is not told from one that was not.
        A checkpoint of an earlier version has no `unclaimed`: then what is missing counts as spent at its last event.
        """
        charges = account.unclaimed or [(account.time_us, self.limits[None].capacity_tokens - account.tokens)]
        account.tier, account.gate, account.unclaimed = tier, None, None
        account.tokens, account.fraction, account.time_us = self.limits[tier].capacity_tokens, 0, charges[0][0]
        for time_us, tokens in charges:
            narrowed = narrowed_at(time_us)
            self.advance(account, time_us, narrowed)
            _charge(account, tokens)

    def advance(self, account: Account, time_us: int, narrowed: Narrowing | None) -> None:
        """Refill to `time_us`, open or close the gate, and take back what leases that ended held."""
        refill(account, self.limits[account.tier], time_us)
        if narrowed is None:
            account.gate = None
        elif account.gate is None:
            account.gate = full(self.gates[account.tier, narrowed.percent], account.time_us)
            account.gate_since_us = account.time_us
        else:
            refill(account.gate, self.gates[account.tier, narrowed.percent], time_us)
        first_end_us = self._take_back_ended(account, narrowed)
        account.quiet_until_us = 0 if account.tier is None or account.gate is not None else first_end_us

    def _take_back_ended(self, account: Account, narrowed: Narrowing | None) -> int:
        """When the next lease ends at the earliest; where there is none, one that begins now would be the next."""
        leases = account.leases
        while leases:
            request, lease = next(iter(leases.items()))
            if lease.ends_us > account.time_us:
                return lease.ends_us
            self._return(account, leases.pop(request), 0, narrowed)
        return account.time_us + self.params.lease_us

    def refusal(self, account: Account, tokens: int, narrowed: Narrowing | None) -> Refusal | None:
        """Why `tokens` cannot be reserved now: of all reasons the one that lasts longest. None: they can."""
        limit = self.limits[account.tier]
        if account.tokens >= tokens and narrowed is None and len(account.leases) < self.params.leases_max:
            return None
        reasons = []
        if account.tokens < tokens:
            reasons.append(_over_quota(account, limit, tokens))
        if len(account.leases) >= self.params.leases_max:
            ends_us = next(iter(account.leases.values())).ends_us
            reason = f"{len(account.leases)} requests are running, as many as an organisation may have"
            reasons.append(Refusal(reason, ends_us - account.time_us, account, limit))
        if narrowed is not None and account.gate is not None:
            gate = self.gates[account.tier, narrowed.percent]
            needed = max(1, min(tokens, gate.capacity_tokens))
            if account.gate.tokens < needed:
                wait = min(wait_us(account.gate, gate, needed), narrowed.until_us - account.time_us)
                reason = f"limited to {narrowed.percent} % of the plan's rate by command {narrowed.command}"
                reasons.append(Refusal(reason, wait, account.gate, gate))
        return max(reasons, key=lambda refusal: refusal.retry_after_us, default=None)

    def reserve(self, account: Account, request: str, tokens: int) -> None:
        """Take the tokens under a lease. A repeated request id adds to the lease that stands."""
        _charge(account, tokens)
        standing = account.leases.pop(request, None)
        reserved = tokens if standing is None else standing.tokens + tokens
        account.leases[request] = Lease(reserved, account.time_us + self.params.lease_us)

    def settle(self, account: Account, request: str, tokens: int, narrowed: Narrowing | None) -> None:
        """Charge what was really used: refund the rest of the reservation, or charge more, into debt if need be.

        Without a reservation (unknown, ended, or a throttled request that ran all the same) all of it is charged.
        """
        lease = account.leases.pop(request, None)
        if lease is not None:
            self._return(account, lease, tokens, narrowed)
            return
        _charge(account, tokens)
        if account.tier is None:
            _note(account, tokens)

    def _return(self, account: Account, lease: Lease, used: int, narrowed: Narrowing | None) -> None:
        give(account, self.limits[account.tier], lease.tokens - used)
        begun_us = lease.ends_us - self.params.lease_us
        if account.gate is not None and narrowed is not None and begun_us >= account.gate_since_us:
            give(account.gate, self.gates[account.tier, narrowed.percent], lease.tokens - used)

    def is_idle(self, account: Account, since_us: int) -> bool:
        """Whether the account has been as a new one, bucket full and no lease running, since then."""
        if account.time_us > since_us:
            return False
        leases = account.leases
        if leases and next(reversed(leases.values())).ends_us > since_us:
            return False
        held = sum(lease.tokens for lease in leases.values())
        limit = self.limits[account.tier]
        refunded = Level(account.tokens + held, account.fraction, account.time_us)
        return account.time_us + wait_us(refunded, limit, limit.capacity_tokens) <= since_us


def _charge(account: Account, tokens: int) -> None:
    take(account, tokens)
    if account.gate is not None:
        take(account.gate, tokens)


def _note(account: Account, tokens: int) -> None:
    """Of too many charges the two oldest become one at the later's time: never to the organisation's advantage."""
    unclaimed = account.unclaimed = account.unclaimed or []
    unclaimed.append((account.time_us, tokens))
    if len(unclaimed) > UNCLAIMED_MAX:
        (_, first), (time_us, second) = unclaimed[:2]
        unclaimed[:2] = [(time_us, first + second)]


def _over_quota(level: Level, limit: Limit, tokens: int) -> Refusal:
    wait = wait_us(level, limit, tokens)
    if wait < FOREVER_US:
        return Refusal(f"over quota: needs {tokens} tokens, has {level.tokens}", wait, level, limit)
    reason = f"never: {tokens} tokens are more than the quota can hold ({limit.capacity_tokens}); send or ask for less"
    return Refusal(reason, max(SECOND_US, wait_us(level, limit, limit.capacity_tokens)), level, limit)
