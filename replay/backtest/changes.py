"""Two configurations side by side: which settings differ, and which events and false alarms change with them."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.settings import Settings
from replay.backtest.model import Detection, Judgement
from topics.fields import MINUTE_US

SAME_WITHIN_US = 10 * MINUTE_US
SAME_WITHIN_ROWS = 10
"""Two false alarms on one strip are the same when they overlap, or lie no further apart than the longer of these."""


class SettingChange(Struct, frozen=True):
    """A setting by its dotted name, and its value in A and B."""

    setting: str
    a: Any
    b: Any


class Changed(Struct, frozen=True):
    """An event or a false alarm by its ids: `a` and `b` are None where that configuration has none."""

    what: str
    strip: str
    kind: str
    start_us: int
    end_us: int
    a: str | None
    b: str | None


class Changes(Struct, frozen=True):
    """What is different, and how much is not."""

    settings: list[SettingChange]
    found_by_both: int
    found_by_neither: list[Changed]
    found_only_by_a: list[Changed]
    found_only_by_b: list[Changed]
    false_in_both: int
    false_only_in_a: list[Changed]
    false_only_in_b: list[Changed]


def settings_changed(a: Settings, b: Settings) -> list[SettingChange]:
    """Every setting that differs, a leaf a row."""
    flat_a, flat_b = (dict(_leaves("", msgspec.to_builtins(each))) for each in (a, b))
    names = [*flat_a, *(name for name in flat_b if name not in flat_a)]
    return [
        SettingChange(name, flat_a.get(name), flat_b.get(name))
        for name in names
        if flat_a.get(name) != flat_b.get(name)
    ]


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), inner)
    else:
        yield name, value


def compare(a: Judgement, b: Judgement, settings_a: Settings, settings_b: Settings) -> Changes:
    """Events are the labels', so both judgements have the same in the same order; false alarms are paired by place."""
    events = list(zip(a.events, b.events, strict=True))
    both = sum(one.delay_us is not None and other.delay_us is not None for one, other in events)

    def events_where(in_a: bool, in_b: bool) -> list[Changed]:
        return [
            Changed(
                "event", (one.strips or [""])[0], one.kind, one.start_us, one.end_us,
                one.id if in_a else None, one.id if in_b else None,
            )
            for one, other in events
            if (one.delay_us is not None) is in_a and (other.delay_us is not None) is in_b
        ]  # fmt: skip

    only_a, only_b, common = _false(a, b)
    return Changes(
        settings=settings_changed(settings_a, settings_b),
        found_by_both=both,
        found_by_neither=events_where(in_a=False, in_b=False),
        found_only_by_a=events_where(in_a=True, in_b=False),
        found_only_by_b=events_where(in_a=False, in_b=True),
        false_in_both=common,
        false_only_in_a=[_changed(one, one.id, None) for one in only_a],
        false_only_in_b=[_changed(one, None, one.id) for one in only_b],
    )


def _changed(one: Detection, a: str | None, b: str | None) -> Changed:
    return Changed("false alarm", one.strip, one.kind, one.start_us, _end(one), a, b)


def _false(a: Judgement, b: Judgement) -> tuple[list[Detection], list[Detection], int]:
    """What is called wolf at only by A, only by B, and how many of A's by both. Without labels: every detection."""
    wrong = "false" if any(strip.labelled for strip in a.strips) else "unjudged"
    near_us = {strip.name: max(SAME_WITHIN_US, SAME_WITHIN_ROWS * strip.step_us) for strip in a.strips}
    mine, theirs = ([one for one in each.detections if one.outcome == wrong] for each in (a, b))
    in_a, in_b = _Spans(mine), _Spans(theirs)
    only_a = [one for one in mine if not in_b.near(one, near_us[one.strip])]
    only_b = [one for one in theirs if not in_a.near(one, near_us[one.strip])]
    return only_a, only_b, len(mine) - len(only_a)


class _Spans:
    """Detections by strip: their starts in order, and with each the latest end so far."""

    def __init__(self, detections: Iterable[Detection]) -> None:
        self._starts: dict[str, list[int]] = {}
        self._ends: dict[str, list[int]] = {}
        for one in sorted(detections, key=lambda one: one.start_us):
            self._starts.setdefault(one.strip, []).append(one.start_us)
            ends = self._ends.setdefault(one.strip, [])
            ends.append(max(_end(one), ends[-1] if ends else 0))

    def near(self, one: Detection, near_us: int) -> bool:
        """Whether any on its strip overlaps it, or lies at most `near_us` away."""
        begun = bisect_right(self._starts.get(one.strip, []), _end(one) + near_us)
        return begun > 0 and self._ends[one.strip][begun - 1] + near_us >= one.start_us


def _end(one: Detection) -> int:
    return one.start_us if one.end_us is None else one.end_us
