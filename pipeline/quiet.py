"""The quota rules for a quiet account, in one go: what nearly every event comes to, at a third of the time.

An account is quiet at an event when nothing but refilling happens to it by itself: no lease has ended, no gate is open,
no throttle aims at it. Then of the rules (`pipeline.quotas`) only the bucket's arithmetic (`pipeline.bucket`) is left,
written out here on local variables: `refill`, then `take` or `give`, then `wait_us` until full. What is not as usual
(another tier claimed, too few tokens, too many leases, a repeated id, a fraction from other settings) is left to the
rules, and the account as it was found. A test holds that this file changes nothing but the time.
"""

from pipeline.quotas import Account, Lease, Rules
from pipeline.stage import Output
from topics.links import Admitted
from topics.records import QuotaVerdict
from topics.traffic import Completion, Request


class Quiet:
    """The rules' parameters as plain numbers."""

    def __init__(self, rules: Rules) -> None:
        self._limits = {
            tier: (limit.capacity_tokens, limit.rate_tokens, limit.period_us) for tier, limit in rules.limits.items()
        }
        self._default_output_tokens = rules.params.default_output_tokens
        self._lease_us = rules.params.lease_us
        self._leases_max = rules.params.leases_max

    def admit(self, account: Account, offset: int, request: Request) -> Output | None:
        """Reserve, for what passes to safety; None: nothing was changed, ask the rules. The account must be quiet."""
        tier = account.tier
        if tier is None or (tier != request.tier and not account.planned):
            return None
        capacity, rate, period = self._limits[tier]
        output_tokens = request.max_tokens
        tokens = request.input_tokens + (self._default_output_tokens if output_tokens is None else output_tokens)
        held, fraction, time_us = account.tokens, account.fraction, request.time_us
        if fraction >= period:
            return None
        elapsed_us = time_us - account.time_us
        if elapsed_us > 0:
            fraction += elapsed_us * rate
            granted = fraction // period
            fraction -= granted * period
            held += granted
        else:
            time_us = account.time_us
        if held >= capacity:
            held = capacity
            fraction = 0
        held -= tokens
        leases = account.leases
        if held < 0 or len(leases) >= self._leases_max:
            return None
        lease = Lease(tokens, time_us + self._lease_us)
        if leases.setdefault(request.id, lease) is not lease:
            return None
        account.tokens = held
        account.fraction = fraction
        account.time_us = time_us
        full_in_us = -(((held - capacity) * period + fraction) // rate)
        verdict = QuotaVerdict(
            limit_tokens=capacity,
            remaining_tokens=held,
            reserved_tokens=tokens,
            reset_us=full_in_us,
            retry_after_us=0,
        )
        return Output(offset, "admitted", request.organisation, Admitted(request=request, tier=tier, quota=verdict))

    def settle(self, account: Account, completion: Completion) -> bool:
        """Charge what was used, less what was reserved; False: nothing was changed, ask the rules. As for `admit`."""
        capacity, rate, period = self._limits[account.tier]
        held, fraction = account.tokens, account.fraction
        if fraction >= period:
            return False
        elapsed_us = completion.time_us - account.time_us
        if elapsed_us > 0:
            fraction += elapsed_us * rate
            granted = fraction // period
            fraction -= granted * period
            held += granted
            account.time_us = completion.time_us
        if held >= capacity:
            held = capacity
            fraction = 0
        held -= completion.input_tokens + completion.output_tokens
        lease = account.leases.pop(completion.id, None)
        if lease is not None:
            held += lease.tokens
            if held >= capacity:
                held = capacity
                fraction = 0
        account.tokens = held
        account.fraction = fraction
        return True
