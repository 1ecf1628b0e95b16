"""Meters each organisation by tokens: reserve at admission, settle at completion; a refusal says how long to wait.

Tokens are reserved when a request arrives (input + max_tokens), and settled with the actual count when it completes. A
request that never completes gives its reservation back after `lease_us`. Time is the organisation's own event time: the
latest of its events so far, so that events out of order never refill twice. `retry_after_us` is exact if nothing else
happens to the organisation; completions and ending leases can only shorten it.

An organisation is forgotten when its bucket has been full, without leases, for `evict_after_us` of the partition's
time: a new account is the same (`pipeline.accounts` says how). One whose clock lags by more than that behind its
neighbours' may gain a day's allowance at most. Plans are kept: there are as many as customers, and only operators write
them.

Nearly all events are dealt with by `pipeline.quiet`, the others by the rules in `pipeline.quotas`, to the same effect.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.accounts import LOOK_EVERY_US, PARTITION, Bought, Partition, Value, forget_idle, insert
from pipeline.bucket import Level, Limit, wait_us
from pipeline.quiet import Quiet
from pipeline.quotas import Account, QuotaParams, Refusal, Rules
from pipeline.stage import Batch, Output, State
from pipeline.throttles import Narrowed, Narrowing, apply_command, by_target, drop_expired, is_narrowed, narrowing
from topics.codec import digest
from topics.control import Command, Plan, Relayed
from topics.fields import Tier
from topics.links import Admitted
from topics.records import Decision, QuotaVerdict
from topics.traffic import Completion, Request, Tick

__all__ = ["Quota", "QuotaParams"]


@dataclass(slots=True)
class Turn:
    """What a step works on: the state, the partition and its number in the log, and whom throttles aim at."""

    state: State[Any]
    partition: Partition
    narrowed: Narrowed
    number: int


class Quota:
    """State: an `Account` or a `Bought` plan an organisation, and the `Partition`."""

    values: ClassVar[Any] = Value

    def __init__(self, params: QuotaParams) -> None:
        self._params = params
        self._rules = Rules(params)
        self.quiet = Quiet(self._rules)

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        partition: Partition = state.get(PARTITION) or Partition()
        turn = Turn(state, partition, by_target(partition.throttles), batch.partition)
        outputs: list[Output] = []
        emit, account_of, touch = outputs.append, state.values.get, state.dirty.add
        admit, settle = self.quiet.admit, self.quiet.settle
        now_us, look_us = partition.time_us, partition.looked_us + LOOK_EVERY_US
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            kind = type(event)
            if kind is Relayed:
                self._obey(turn, event.event)
                continue
            time_us = event.time_us
            if time_us > now_us:
                partition.time_us = now_us = time_us
                if now_us >= look_us:
                    self._tidy(turn)
                    look_us = now_us + LOOK_EVERY_US
            if kind is Tick:
                continue
            organisation = event.organisation
            account = account_of(organisation)
            if (
                type(account) is Account
                and (time_us < account.quiet_until_us or self._quietened(account, event))
                and not (turn.narrowed and is_narrowed(turn.narrowed, organisation, account.tier, time_us))
            ):
                if kind is Completion:
                    if settle(account, event):
                        touch(organisation)
                        continue
                elif (admitted := admit(account, offset, event)) is not None:
                    emit(admitted)
                    touch(organisation)
                    continue
            if kind is Request:
                emit(self._admit(turn, offset, event))
            else:
                self._settle(turn, event)
        if batch.events:
            state.put(PARTITION, partition)
        return outputs

    def _quietened(self, account: Account, event: Request | Completion) -> bool:
        """Take back what ended leases held, where that is all that the account still has to undergo."""
        if account.gate is not None or account.tier is None:
            return False
        if type(event) is Request and not account.planned and event.tier != account.tier:
            return False
        self._rules.advance(account, event.time_us, None)
        return True

    def _admit(self, turn: Turn, offset: int, request: Request) -> Output:
        organisation = request.organisation
        account = self._account(turn, organisation, request.time_us, request.tier)
        if account is None:
            return self._crowded_out(turn, offset, request)
        throttled = self._advance(turn, account, organisation, request.time_us)
        output = request.max_tokens if request.max_tokens is not None else self._params.default_output_tokens
        tokens = request.input_tokens + output
        refusal = self._rules.refusal(account, tokens, throttled)
        tier = account.tier or "free"
        turn.state.put(organisation, account)
        if refusal is not None:
            return _refused(turn, offset, request, tier, refusal)
        self._rules.reserve(account, request.id, tokens)
        verdict = _verdict(*self._scarcer(account, throttled), reserved_tokens=tokens)
        return Output(offset, "admitted", organisation, Admitted(request=request, tier=tier, quota=verdict))

    def _settle(self, turn: Turn, completion: Completion) -> None:
        account = self._account(turn, completion.organisation, completion.time_us, None)
        if account is None:
            return
        throttled = self._advance(turn, account, completion.organisation, completion.time_us)
        used = completion.input_tokens + completion.output_tokens
        self._rules.settle(account, completion.id, used, throttled)
        turn.state.put(completion.organisation, account)

    def _account(self, turn: Turn, organisation: str, time_us: int, claimed: Tier | None) -> Account | None:
        """The organisation's account, opened if new and moved to the claimed tier unless a plan is known."""
        known: Value | None = turn.state.get(organisation)
        if isinstance(known, Account):
            if claimed is not None and not known.planned and known.tier != claimed:
                self._move(turn, organisation, known, claimed, time_us)
            return known
        if turn.partition.accounts >= self._params.accounts_max:
            return None
        planned = isinstance(known, Bought)
        account = self._rules.opened(known.tier if isinstance(known, Bought) else claimed, planned, time_us)
        insert(turn.state, turn.partition, organisation, account)
        return account

    def _advance(self, turn: Turn, account: Account, organisation: str, time_us: int) -> Narrowing | None:
        """Bring the account to the event's time, or leave it where it is when that is older; what narrows it there."""
        now_us = max(time_us, account.time_us)
        throttled = narrowing(turn.narrowed, organisation, account.tier, now_us) if turn.narrowed else None
        self._rules.advance(account, time_us, throttled)
        return throttled

    def _scarcer(self, account: Account, throttled: Narrowing | None) -> tuple[Level, Limit]:
        """The bucket that holds less: the one a client must look at."""
        limit = self._rules.limits[account.tier]
        if account.gate is None or throttled is None or account.gate.tokens >= account.tokens:
            return account, limit
        return account.gate, self._rules.gates[account.tier, throttled.percent]

    def _obey(self, turn: Turn, event: Any) -> None:
        """A control event that was relayed into this log: plans and throttles concern quotas, the rest does not."""
        if isinstance(event, Plan):
            self._sell(turn, event)
        elif isinstance(event, Command) and event.action == "throttle":
            apply_command(turn.partition.throttles, event)
            turn.narrowed = by_target(turn.partition.throttles)

    def _sell(self, turn: Turn, plan: Plan) -> None:
        known: Value | None = turn.state.get(plan.organisation)
        if not isinstance(known, Account):
            turn.state.put(plan.organisation, Bought(plan.tier))
            return
        known.planned = True
        if known.tier != plan.tier:
            self._move(turn, plan.organisation, known, plan.tier, known.time_us)
        turn.state.put(plan.organisation, known)

    def _move(self, turn: Turn, organisation: str, account: Account, tier: Tier, time_us: int) -> None:
        """To the tier's bucket; one whose tier was not known until now is told what it has been."""
        if account.tier is None:
            self._rules.claim(account, tier, lambda at_us: narrowing(turn.narrowed, organisation, tier, at_us))
        else:
            self._rules.set_tier(account, tier, time_us)

    def _tidy(self, turn: Turn) -> None:
        """Forget ended throttles and idle accounts. Which ones, and when, follows from the log alone."""
        throttles = turn.partition.throttles
        if drop_expired(throttles, turn.partition.time_us - self._params.evict_after_us):
            turn.narrowed = by_target(throttles)
        forget_idle(turn.state, turn.partition, self._rules, turn.narrowed)

    def _crowded_out(self, turn: Turn, offset: int, request: Request) -> Output:
        reason = f"{self._params.accounts_max} organisations are being metered, as many as a partition can"
        limit = self._rules.limits[request.tier]
        refusal = Refusal(reason, self._params.sweep_us, Level(0, 0, request.time_us), limit)
        return _refused(turn, offset, request, request.tier, refusal)


def _verdict(level: Level, limit: Limit, reserved_tokens: int = 0, retry_after_us: int = 0) -> QuotaVerdict:
    return QuotaVerdict(
        limit_tokens=limit.capacity_tokens,
        remaining_tokens=max(0, level.tokens),
        reserved_tokens=reserved_tokens,
        reset_us=wait_us(level, limit, limit.capacity_tokens),
        retry_after_us=retry_after_us,
    )


def _refused(turn: Turn, offset: int, request: Request, tier: Tier, refusal: Refusal) -> Output:
    decision = Decision(
        id=f"{turn.number}-{offset}-0",  # one request an offset, and one decision a request
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
