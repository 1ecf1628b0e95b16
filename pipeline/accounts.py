"""What quota keeps of a partition, and how idle accounts are forgotten: a few at a time, in an order that is data.

Values lie under the organisation's own name: its `Account`, or its `Bought` plan while it has no account. What belongs
to the partition as a whole lies under the empty name, which no organisation can have.

Accounts form a ring: each names the one `following` it. A hand goes round the ring with the partition's time, once in
`sweep_us` or so, and takes out the accounts that are idle; a new account is put in behind the hand. So no event makes
it look at more than LOOKED_AT_MAX accounts, and since the ring and the hand are in the checkpoint, which account is
forgotten at which event follows from the log alone.

    hand.following = a    a.following = b    ...    z.following = hand

After a gap in time the hand does not catch up: forgetting comes later, never a long step.
"""

from typing import Any

from msgspec import Struct, field

from pipeline.quotas import Account, QuotaParams, Rules
from pipeline.stage import State
from pipeline.throttles import Narrowed, Throttles, narrowing
from topics.fields import SECOND_US, Tier

PARTITION = ""
"""The key of the `Partition`."""

LOOK_EVERY_US = SECOND_US // 10
LOOKED_AT_MAX = 1_000


class Partition(Struct, tag="partition", array_like=True):
    """Event time, when the hand last moved, how many accounts there are, where the hand is, and who is throttled."""

    time_us: int = 0
    looked_us: int = 0
    accounts: int = 0
    hand: str = ""
    throttles: Throttles = field(default_factory=Throttles)


class Bought(Struct, tag="bought", frozen=True, array_like=True, gc=False):
    """The tier that a plan event gave to an organisation that has no account."""

    tier: Tier


Value = Partition | Account | Bought


def insert(state: State[Any], partition: Partition, organisation: str, account: Account) -> None:
    """Put a new account in behind the hand, which moves on to it: it is looked at last."""
    if partition.accounts:
        hand: Account = state.values[partition.hand]
        account.following, hand.following = hand.following, organisation
        state.put(partition.hand, hand)
    else:
        account.following = organisation
    partition.hand = organisation
    partition.accounts += 1
    state.put(organisation, account)


def forget_idle(state: State[Any], partition: Partition, rules: Rules, narrowed: Narrowed) -> None:
    """Move the hand as far as the partition's time has come since it last moved."""
    since_us = partition.time_us - rules.params.evict_after_us
    for _ in range(_due(partition, rules.params)):
        hand: Account = state.values[partition.hand]
        organisation = hand.following
        account: Account = state.values[organisation]
        if not _is_idle(account, organisation, rules, narrowed, since_us):
            partition.hand = organisation
            if not account.leases:
                account.leases = {}  # an emptied dict keeps the table of its busiest day
            continue
        hand.following = account.following
        state.put(partition.hand, hand)
        _forget(state, organisation, account)
        partition.accounts -= 1
    if not partition.accounts:
        partition.hand = ""
    partition.looked_us = partition.time_us


def _due(partition: Partition, params: QuotaParams) -> int:
    """How many accounts to look at: none twice, and at least one."""
    passed_us = partition.time_us - partition.looked_us
    return min(LOOKED_AT_MAX, partition.accounts, partition.accounts * passed_us // params.sweep_us + 1)


def _is_idle(account: Account, organisation: str, rules: Rules, narrowed: Narrowed, since_us: int) -> bool:
    """As a new one since then, and no throttle stood then whose gate a new account would find full."""
    if not rules.is_idle(account, since_us):
        return False
    return account.gate is None or narrowing(narrowed, organisation, account.tier, since_us) is None


def _forget(state: State[Any], organisation: str, account: Account) -> None:
    """Of an account that a plan gave its tier, the plan is kept."""
    if account.planned and account.tier is not None:
        state.put(organisation, Bought(account.tier))
    else:
        state.drop(organisation)
