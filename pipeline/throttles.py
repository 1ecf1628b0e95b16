"""Which throttles of mitigation stand, and how far they narrow an organisation."""

from typing import ClassVar

from msgspec import Struct

from topics.control import Command
from topics.fields import Tier

PERCENT_MAX = 100


class Throttle(Struct, frozen=True):
    """A throttle in force until `expires_us`: the target lives on `percent` of its rate."""

    command: str
    target: str
    percent: int
    expires_us: int


class Throttles(Struct, tag="throttles"):
    """All that stand, few at a time. A command's later word replaces its earlier one."""

    STANDING_MAX: ClassVar[int] = 1_000  # beyond, the one that ends first makes room

    standing: list[Throttle] = []


class Narrowing(Struct, frozen=True):
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


def narrowing(throttles: Throttles, organisation: str, tier: Tier, time_us: int) -> Narrowing | None:
    """What narrows an organisation at `time_us`; targets are organisations, or tiers as "tier:free"."""
    targets = (organisation, f"tier:{tier}")
    concerned = [t for t in throttles.standing if t.target in targets and time_us < t.expires_us]
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
