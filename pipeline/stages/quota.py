"""Meters each organisation by tokens: reserve at admission, settle at completion; a refusal says how long to wait.

Tokens are reserved when a request arrives (input + max_tokens), and settled with the actual count when it completes. A
request that never completes gives its reservation back after `lease_us`. Time is the organisation's own event time: the
latest of its events so far, so that events out of order never refill twice. `retry_after_us` is exact if nothing else
happens to the organisation; completions and ending leases can only shorten it.

An organisation is forgotten when its bucket has been full, without leases, for `evict_after_us` of the partition's
time: a new account is the same. (One whose clock lags by more than that behind its neighbours' may gain a day's
allowance at most.) Plans are kept: there are as many as customers, and only operators write them.
"""

from typing import Any, ClassVar

from msgspec import Struct

from pipeline.bucket import Level, Limit, wait_us
from pipeline.quotas import Account, QuotaParams, Refusal, Rules
from pipeline.stage import Batch, Output, State
from pipeline.throttles import Narrowing, Throttles, apply_command, drop_expired, narrowing
from topics.codec import digest
from topics.control import Command, Plan, Relayed
from topics.fields import Tier
from topics.links import Admitted
from topics.records import Decision, QuotaVerdict
from topics.traffic import Completion, Request

__all__ = ["Quota", "QuotaParams"]

CLOCK, THROTTLES, ACCOUNT, PLAN = "clock", "throttles", "account ", "plan "


class Clock(Struct, tag="clock"):
    """The partition's event time, when it was last swept, and how many accounts it has."""

    time_us: int = 0
    swept_us: int = 0
    accounts: int = 0


class Bought(Struct, tag="bought", frozen=True):
    """The tier that a plan event gave to an organisation."""

    tier: Tier


Value = Clock | Throttles | Account | Bought


class Quota:
    """State: one `Account` an organisation, its `Bought` plan, the standing `Throttles` and the partition's `Clock`."""

    values: ClassVar[Any] = Value

    def __init__(self, params: QuotaParams) -> None:
        self._params = params
        self._rules = Rules(params)

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        outputs: list[Output] = []
        clock = state.get(CLOCK) or Clock()
        throttles: Throttles | None = state.get(THROTTLES)
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            kind = type(event)
            if kind is Relayed:
                self._obey(state, event.event)
                throttles = state.get(THROTTLES)
                continue
            if event.time_us > clock.time_us:
                clock.time_us = event.time_us
                if event.time_us - clock.swept_us >= self._params.sweep_us:
                    self._sweep(state, clock)
                    throttles = state.get(THROTTLES)
            if kind is Request:
                outputs.append(self._admit(state, clock, throttles, batch.partition, offset, event))
            elif kind is Completion:
                self._settle(state, clock, throttles, event)
        if batch.events:
            state.put(CLOCK, clock)
        return outputs

    def _admit(
        self,
        state: State[Any],
        clock: Clock,
        throttles: Throttles | None,
        partition: int,
        offset: int,
        request: Request,
    ) -> Output:
        account = self._account(state, clock, request.organisation, request.time_us, request.tier)
        if account is None:
            return self._crowded_out(partition, offset, request)
        narrowed = self._advance(throttles, account, request.organisation, request.time_us)
        output = request.max_tokens if request.max_tokens is not None else self._params.default_output_tokens
        tokens = request.input_tokens + output
        refusal = self._rules.refusal(account, tokens, narrowed)
        tier = account.tier or "free"
        if refusal is None:
            self._rules.reserve(account, request.id, tokens)
        state.put(ACCOUNT + request.organisation, account)
        if refusal is None:
            verdict = _verdict(*self._scarcer(account, narrowed), reserved_tokens=tokens)
            admitted = Admitted(request=request, tier=tier, quota=verdict)
            return Output(offset, "admitted", request.organisation, admitted)
        return _refused(partition, offset, request, tier, refusal)

    def _settle(self, state: State[Any], clock: Clock, throttles: Throttles | None, completion: Completion) -> None:
        account = self._account(state, clock, completion.organisation, completion.time_us, None)
        if account is None:
            return
        narrowed = self._advance(throttles, account, completion.organisation, completion.time_us)
        used = completion.input_tokens + completion.output_tokens
        self._rules.settle(account, completion.id, used, narrowed)
        state.put(ACCOUNT + completion.organisation, account)

    def _account(
        self, state: State[Any], clock: Clock, organisation: str, time_us: int, claimed: Tier | None
    ) -> Account | None:
        """The organisation's account, opened if new and moved to the claimed tier unless a plan is known."""
        account: Account | None = state.get(ACCOUNT + organisation)
        if account is not None:
            if claimed is not None and not account.planned and account.tier != claimed:
                self._rules.set_tier(account, claimed, time_us)
            return account
        if clock.accounts >= self._params.accounts_max:
            return None
        clock.accounts += 1
        bought: Bought | None = state.get(PLAN + organisation)
        tier = claimed if bought is None else bought.tier
        return self._rules.opened(tier, bought is not None, time_us)

    def _advance(
        self, throttles: Throttles | None, account: Account, organisation: str, time_us: int
    ) -> Narrowing | None:
        """Bring the account to the event's time, or leave it where it is when that is older; what narrows it there."""
        narrowed = None
        if throttles is not None:
            now_us = max(time_us, account.level.time_us)
            narrowed = narrowing(throttles, organisation, account.tier or "free", now_us)
        self._rules.advance(account, time_us, narrowed)
        return narrowed

    def _scarcer(self, account: Account, narrowed: Narrowing | None) -> tuple[Level, Limit]:
        """The bucket that holds less: the one a client must look at."""
        level, limit = account.level, self._rules.limits[account.tier]
        if account.gate is None or narrowed is None or account.gate.tokens >= level.tokens:
            return level, limit
        return account.gate, self._rules.gates[account.tier, narrowed.percent]

    def _obey(self, state: State[Any], event: Any) -> None:
        """A control event that was relayed into this log: plans and throttles concern quotas, the rest does not."""
        if isinstance(event, Plan):
            state.put(PLAN + event.organisation, Bought(event.tier))
            account: Account | None = state.get(ACCOUNT + event.organisation)
            if account is not None:
                account.planned = True
                if account.tier != event.tier:
                    self._rules.set_tier(account, event.tier, account.level.time_us)
                state.put(ACCOUNT + event.organisation, account)
        elif isinstance(event, Command) and event.action == "throttle":
            throttles = state.get(THROTTLES) or Throttles()
            apply_command(throttles, event)
            state.put(THROTTLES, throttles)

    def _sweep(self, state: State[Any], clock: Clock) -> None:
        """Forget idle accounts and ended throttles. Which ones, and when, follows from the log alone."""
        clock.swept_us = clock.time_us
        before_us = clock.time_us - self._params.evict_after_us
        throttles: Throttles | None = state.get(THROTTLES)
        if throttles is not None and drop_expired(throttles, before_us):
            state.put(THROTTLES, throttles) if throttles.standing else state.drop(THROTTLES)
        idle = [key for key, value in state.values.items() if self._is_idle(value, throttles, key, before_us)]
        for key in idle:
            state.drop(key)
        clock.accounts -= len(idle)

    def _is_idle(self, value: Value, throttles: Throttles | None, key: str, time_us: int) -> bool:
        if not isinstance(value, Account) or value.level.time_us > time_us or self._rules.idle_at_us(value) > time_us:
            return False
        organisation = key.removeprefix(ACCOUNT)
        if value.gate is None or throttles is None:
            return True
        return narrowing(throttles, organisation, value.tier or "free", time_us) is None

    def _crowded_out(self, partition: int, offset: int, request: Request) -> Output:
        reason = f"{self._params.accounts_max} organisations are being metered, as many as a partition can"
        limit = self._rules.limits[request.tier]
        level = Level(0, 0, request.time_us)
        refusal = Refusal(reason, self._params.sweep_us, level, limit)
        return _refused(partition, offset, request, request.tier, refusal)


def _verdict(level: Level, limit: Limit, reserved_tokens: int = 0, retry_after_us: int = 0) -> QuotaVerdict:
    return QuotaVerdict(
        limit_tokens=limit.capacity_tokens,
        remaining_tokens=max(0, level.tokens),
        reserved_tokens=reserved_tokens,
        reset_us=wait_us(level, limit, limit.capacity_tokens),
        retry_after_us=retry_after_us,
    )


def _refused(partition: int, offset: int, request: Request, tier: Tier, refusal: Refusal) -> Output:
    decision = Decision(
        id=f"{partition}-{offset}-0",  # one request an offset, and one decision a request
        time_us=request.time_us,
        request=request.id,
        organisation=request.organisation,
        model=request.model,
        tier=tier,
        outcome="throttled",
        reason=refusal.reason[:2000],
        quota=_verdict(refusal.level, refusal.limit, retry_after_us=refusal.retry_after_us),
        prompt_digest=digest(request.prompt.encode(errors="surrogatepass")) if request.prompt else "",
    )
    return Output(offset, "decisions", request.organisation, decision)
