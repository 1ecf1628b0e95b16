"""Figures as people read them; the terminal and the page say them alike."""

from collections.abc import Iterable

from replay.backtest.tally import KindTally


def by_difficulty(kinds: Iterable[KindTally]) -> dict[str, str]:
    """Of each kind how many of each difficulty were found: `easy 3/3, hard 1/2`; empty where labels do not say."""
    parts: dict[str, list[str]] = {}
    for row in kinds:
        found = parts.setdefault(row.kind, [])
        if row.difficulty:
            found.append(f"{row.difficulty} {row.found}/{row.events}")
    return {kind: ", ".join(found) for kind, found in parts.items()}


def percent(share: float | None) -> str:
    """A share in percent, a dash without any.

    >>> percent(0.8649), percent(None)
    ('86.5 %', '–')
    """
    return "–" if share is None else f"{100 * share:.1f} %"


def rate(value: float | None) -> str:
    """A number of something a day.

    >>> rate(0.0512), rate(12.3), rate(None)
    ('0.05', '12.3', '–')
    """
    return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:,.1f}"


def delay(seconds: float | None) -> str:
    """A delay in the unit that suits it.

    >>> delay(15.0), delay(150.0), delay(7200.0), delay(0.0), delay(None)
    ('15 s', '2.5 min', '2.0 h', '0 s', '–')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3_600 else f"{seconds / 3_600:.1f} h"
