"""Two configurations side by side: which settings differ, and which events and false alarms change with them."""

from collections.abc import Iterator
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
    steps = {strip.name: strip.step_us for strip in a.strips}
    mine, theirs = (_by_strip(each, wrong) for each in (a, b))
    only_a = [one for one in _all(mine) if not _echoed(one, theirs, steps)]
    only_b = [one for one in _all(theirs) if not _echoed(one, mine, steps)]
    return only_a, only_b, len(list(_all(mine))) - len(only_a)


def _by_strip(found: Judgement, outcome: str) -> dict[str, list[Detection]]:
    grouped: dict[str, list[Detection]] = {}
    for detection in found.detections:
        if detection.outcome == outcome:
            grouped.setdefault(detection.strip, []).append(detection)
    return grouped


def _all(grouped: dict[str, list[Detection]]) -> Iterator[Detection]:
    for own in grouped.values():
        yield from own


def _echoed(one: Detection, others: dict[str, list[Detection]], steps: dict[str, int]) -> bool:
    near_us = max(SAME_WITHIN_US, SAME_WITHIN_ROWS * steps.get(one.strip, 0))
    return any(
        one.start_us <= _end(other) + near_us and other.start_us <= _end(one) + near_us
        for other in others.get(one.strip, [])
    )


def _end(one: Detection) -> int:
    return one.start_us if one.end_us is None else one.end_us
