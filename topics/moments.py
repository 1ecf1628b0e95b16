"""How people and files write moments: ISO 8601, or a number of seconds, milliseconds or microseconds since 1970."""

import math
from datetime import UTC, datetime

EPOCH_UNITS: tuple[tuple[float, int], ...] = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))
"""(numbers below this in size, µs in one): seconds until the year 5138, then milliseconds, then microseconds."""
OTHER_FORMATS = ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d")


def time_us(text: str) -> int | None:
    """A timestamp as µs since 1970 UTC; None when it cannot be read. Without a zone it is UTC.

    >>> time_us("1970-01-01 00:00:01"), time_us("1970-01-01T01:00:01+01:00"), time_us("1"), time_us("1000000000000")
    (1000000, 1000000, 1000000, 1000000000000000)
    """
    text = text.strip()
    if (since := number(text)) is not None:
        unit = next((unit for below, unit in EPOCH_UNITS if abs(since) < below), None)
        return None if unit is None else round(since * unit)
    moment = _iso(text) or next(filter(None, (_formatted(text, form) for form in OTHER_FORMATS)), None)
    if moment is None:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000)


def number(text: str) -> float | None:
    """A finite number, or None for any other text.

    >>> number("2.5"), number("nan"), number("")
    (2.5, None, None)
    """
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _formatted(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return None
