"""The quota rules written down a second time, slowly, with exact fractions: what the oracle says every request got.

Written from the documentation of the quota stage; imports nothing of it. Of one traffic partition:

- An organisation's time is the latest of its events. Its account gains its tier's monthly tokens over 30 days,
  continuously, up to a day's worth. Requests reserve input + max_tokens (600 where none is given) if that many whole
  tokens are there; completions settle: the reservation comes back and what was used is charged, into debt if need be.
- A reservation ends by itself 10 minutes after it was made. A repeated request id adds to its reservation.
- The tier is the one a plan gave, else the one claimed by the latest request; an account moved to another tier is
  equally full, in whole tokens. Of an organisation known by completions only it is unknown; when a request or a plan
  tells it, all is as if it had been known at those completions.
- A throttle gives the organisation a second bucket, the gate: 15 minutes' worth of the narrowed rate, full when the
  throttle is first felt; a request larger than the gate needs a full gate. Reservations made before it return nothing.

The stage forgets accounts that have long been full, and ended throttles, to bound its state. That must not show, so the
model forgets nothing.
"""

from collections.abc import Mapping
from fractions import Fraction
from math import floor
from typing import Any, NamedTuple

from tests.oracle.account_model import FOREVER_US, SAVED_TOKENS, Account, Bucket, Lease, Narrowed, gate_of

OUTPUT_TOKENS_DEFAULT = 600


class Verdict(NamedTuple):
    """What the decision on a request must say. Tokens and microseconds."""

    request: str
    organisation: str
    throttled: bool
    tier: str
    limit_tokens: int
    remaining_tokens: int
    reserved_tokens: int
    reset_us: int
    retry_after_us: int


class Throttle(NamedTuple):
    target: str
    percent: int
    expires_us: int


class QuotaModel:
    """One traffic partition. `settled`: organisation -> tokens that its completions charged."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.settled: dict[str, int] = {}
        self._plans: dict[str, str] = {}
        self._throttles: dict[str, Throttle] = {}
        self._relayed_up_to = -1

    def take(self, event: Mapping[str, Any]) -> Verdict | None:
        """One event of the log; the verdict if it is a request."""
        if event["type"] == "relayed":
            self._steer(event)
            return None
        if event["type"] == "completion":
            self._settle(event)
        return self._decide(event) if event["type"] == "request" else None

    # -- requests and completions ---------------------------------------------------------------------------------

    def _decide(self, request: Mapping[str, Any]) -> Verdict:
        account, narrowed = self._account_at(request, request.get("tier", "free"))
        wanted = request["gen_ai.usage.input_tokens"] + request.get("gen_ai.request.max_tokens", OUTPUT_TOKENS_DEFAULT)
        refused = self._refusal(account, wanted, narrowed)
        if refused is None:
            account.change(-wanted, narrowed, account.bucket.time_us)
            standing = account.leases.pop(request["id"], None)
            account.leases[request["id"]] = Lease(wanted + (standing.tokens if standing else 0), account.bucket.time_us)
        bucket, rate, capacity = refused[1:] if refused else self._scarcer(account, narrowed)
        return Verdict(
            request=request["id"],
            organisation=request["organisation"],
            throttled=refused is not None,
            tier=account.counts_as,
            limit_tokens=capacity,
            remaining_tokens=max(0, floor(bucket.tokens)),
            reserved_tokens=0 if refused else wanted,
            reset_us=bucket.wait_us(capacity, rate, capacity),
            retry_after_us=refused[0] if refused else 0,
        )

    def _refusal(self, account: Account, wanted: int, narrowed: Narrowed | None) -> tuple[int, Bucket, int, int] | None:
        """Of the buckets that refuse, the one that does so longest: how long, and the bucket with its rate and size."""
        refusals = []
        bucket, rate, capacity = account.bucket, account.rate, account.capacity
        if floor(bucket.tokens) < wanted:
            wait_us = bucket.wait_us(wanted, rate, capacity)
            if wait_us >= FOREVER_US:  # never: what is told is when all there can be will be there
                wait_us = max(1_000_000, bucket.wait_us(capacity, rate, capacity))
            refusals.append((wait_us, bucket, rate, capacity))
        if narrowed is not None and account.gate is not None:
            gate_rate, gate_capacity = gate_of(account.counts_as, narrowed.percent)
            needed = max(1, min(wanted, gate_capacity))
            if floor(account.gate.tokens) < needed:
                ends_us = narrowed.until_us - bucket.time_us
                wait_us = min(account.gate.wait_us(needed, gate_rate, gate_capacity), ends_us)
                refusals.append((wait_us, account.gate, gate_rate, gate_capacity))
        return max(refusals, key=lambda refusal: refusal[0], default=None)

    def _scarcer(self, account: Account, narrowed: Narrowed | None) -> tuple[Bucket, int, int]:
        if account.gate is None or narrowed is None or floor(account.gate.tokens) >= floor(account.bucket.tokens):
            return account.bucket, account.rate, account.capacity
        return account.gate, *gate_of(account.counts_as, narrowed.percent)

    def _settle(self, completion: Mapping[str, Any]) -> None:
        account, narrowed = self._account_at(completion, "")
        used = completion["gen_ai.usage.input_tokens"] + completion["gen_ai.usage.output_tokens"]
        lease = account.leases.pop(completion["id"], None)
        if account.tier == "":
            account.unclaimed.append((account.bucket.time_us, used))
        if lease is None:
            account.change(-used, narrowed, account.bucket.time_us)
        else:
            account.change(lease.tokens - used, narrowed, lease.made_us)
        organisation = completion["organisation"]
        self.settled[organisation] = self.settled.get(organisation, 0) + used

    # -- accounts and time ----------------------------------------------------------------------------------------

    def _account_at(self, event: Mapping[str, Any], claimed: str) -> tuple[Account, Narrowed | None]:
        """The organisation's account as it is when the event comes, and what narrows it."""
        organisation, time_us = event["organisation"], event["time_us"]
        account = self.accounts.get(organisation)
        if account is None:
            tier = self._plans.get(organisation, claimed)
            account = Account(
                Bucket(Fraction(SAVED_TOKENS[tier or "free"]), time_us), tier, organisation in self._plans
            )
            self.accounts[organisation] = account
        elif claimed and not account.planned and account.tier != claimed:
            self._move(account, organisation, claimed, time_us)
        now_us = max(time_us, account.bucket.time_us)
        narrowed = self._narrowed(organisation, account.counts_as, now_us)
        account.advance(narrowed, now_us)
        return account, narrowed

    # -- what steers ----------------------------------------------------------------------------------------------

    def _steer(self, relayed: Mapping[str, Any]) -> None:
        """A plan or a throttle at its place in this log; copies of one heard before say nothing."""
        if relayed["offset"] <= self._relayed_up_to:
            return
        self._relayed_up_to = relayed["offset"]
        event = relayed["event"]
        if event["type"] == "plan":
            self._plan(event["organisation"], event["tier"])
        elif event["type"] == "command" and event["action"] == "throttle":
            self._throttles.pop(event["command"], None)
            if event["state"] == "issued":
                percent = event.get("parameters", {}).get("percent", 100)
                percent = min(max(percent, 0), 100) if isinstance(percent, int) else 100
                self._throttles[event["command"]] = Throttle(event["target"], percent, event["expires_us"])

    def _plan(self, organisation: str, tier: str) -> None:
        self._plans[organisation] = tier
        account = self.accounts.get(organisation)
        if account is not None:
            account.planned = True
            if account.tier != tier:
                self._move(account, organisation, tier, account.bucket.time_us)

    def _move(self, account: Account, organisation: str, tier: str, time_us: int) -> None:
        if account.tier == "":
            account.turns_out_to_be(tier, lambda at_us: self._narrowed(organisation, tier, at_us))
        else:
            account.move(tier, time_us)

    def _narrowed(self, organisation: str, tier: str, now_us: int) -> Narrowed | None:
        targets = (organisation, f"tier:{tier}")
        felt = [each for each in self._throttles.values() if each.target in targets and now_us < each.expires_us]
        if not felt:
            return None
        return Narrowed(min(each.percent for each in felt), max(each.expires_us for each in felt))
