"""Which throttles of mitigation stand, and how far they narrow an organisation."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from msgspec import Struct

from topics.control import Command
from topics.fields import Tier

PERCENT_MAX = 100


class Throttle(Struct, frozen=True, array_like=True, gc=False):
    """A throttle in force until `expires_us`: the target lives on `percent` of its rate."""

    command: str
    target: str
    percent: int
    expires_us: int


Narrowed = Mapping[str, Sequence[Throttle]]
"""The standing throttles by their target."""

TARGET_OF_TIER: dict[Tier | None, str] = {
    None: "tier:free",
    "free": "tier:free",
    "pro": "tier:pro",
    "enterprise": "tier:enterprise",
}


class Throttles(Struct, array_like=True):
    """All that stand, few at a time. A command's later word replaces its earlier one."""

    STANDING_MAX: ClassVar[int] = 1_000  # beyond, the one that ends first makes room

    standing: list[Throttle] = []


class Narrowing(Struct, frozen=True, gc=False):
    """The strictest of the throttles that concern an organisation, and when the last of them ends."""

    percent: int
    until_us: int
    command: str


def apply_command(throttles: Throttles, command: Command) -> None:
    """Obey one throttle command: issued (again) or over."""
    standing = [throttle for throttle in throttles.standing if throttle.command != command.command]
    if command.state == "issued":
        standing.append(Throttle(command.command, command.target, percent_of(command), command.expires_us))
    standing.sort(key=lambda throttle: (throttle.expires_us, throttle.command))
    throttles.standing = standing[-Throttles.STANDING_MAX :]


def percent_of(command: Command) -> int:
    """The command's `percent` within 0 to 100; one without a usable number narrows nothing."""
    percent = command.parameters.get("percent", PERCENT_MAX)
    return min(max(percent, 0), PERCENT_MAX) if isinstance(percent, int) else PERCENT_MAX


def by_target(throttles: Throttles) -> Narrowed:
    """Whom the throttles aim at: organisations, or tiers as "tier:free"; each target's in the order of their ends."""
    found: dict[str, list[Throttle]] = {}
    for throttle in throttles.standing:
        found.setdefault(throttle.target, []).append(throttle)
    return found


def is_narrowed(narrowed: Narrowed, organisation: str, tier: Tier | None, time_us: int) -> bool:
    """Whether a throttle that has not ended aims at the organisation or its tier."""
    aimed = narrowed.get(organisation), narrowed.get(TARGET_OF_TIER[tier])
    return any(throttles is not None and time_us < throttles[-1].expires_us for throttles in aimed)


def narrowing(narrowed: Narrowed, organisation: str, tier: Tier | None, time_us: int) -> Narrowing | None:
    """What narrows an organisation at `time_us`. Without a known tier it counts as free."""
    aimed = *narrowed.get(organisation, ()), *narrowed.get(TARGET_OF_TIER[tier], ())
    concerned = [throttle for throttle in aimed if time_us < throttle.expires_us]
    if not concerned:
        return None
    strictest = min(concerned, key=lambda throttle: (throttle.percent, throttle.command))
    return Narrowing(strictest.percent, max(throttle.expires_us for throttle in concerned), strictest.command)


def drop_expired(throttles: Throttles, time_us: int) -> bool:
    """Forget what ended by `time_us`; whether there was any."""
    standing = [throttle for throttle in throttles.standing if throttle.expires_us > time_us]
    dropped = len(standing) < len(throttles.standing)
    throttles.standing = standing
    return dropped
