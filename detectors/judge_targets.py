"""Rules by which a watched system is compared with its labelled faults: found, found in time, named.

**A stream with faults.** A fault is hit when a row within it is anomalous. It is named right *at once* when its target
comes first at that row, and *by its end* when it does at the last row of the fault. Rows that are anomalous in the
quiet hours, more than 10 rows after the last fault of a day, are false; their episodes are counted as in
`detectors/judge.py`. The threshold is the most sensitive that keeps within 0.1 false episodes an hour on one day; it is
scored on the other.

**Issues.** One short stream each. The suspects are ranked at the first row where the evidence of the noticed symptom is
within 10 % of its greatest in that issue: once starting at the symptom, once from everywhere. No threshold takes part.

>>> rows = [Judged(MINUTE_US * i, float(i == 7), lambda e, r: 0.0, lambda at: ["a", "b"]) for i in range(60)]
>>> fault = Fault("f", 5 * MINUTE_US, 8 * MINUTE_US, "cpu", "a")
>>> outcomes(rows, Split([(fault, [5, 6, 7, 8])], []), 0.5, {"f": True})[0].delay_us // MINUTE_US
2
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import msgspec

from detectors.judge import AFTER_EVENT_ROWS, episodes
from detectors.systems import MINUTE_US, Fault, Services

DAY_US = 86_400_000_000
SYMPTOM_WITHIN = 0.9
UNRANKED = 1_000_000
FALSE_PER_HOUR_MAX = 0.1

Ranking = Callable[[str | None], list[str]]


class Judged(NamedTuple):
    """One row: how anomalous the system is, the strength of a symptom (entity, role), and the ranking of entities."""

    time_us: int
    system: float
    symptom: Callable[[str, str], float]
    ranking: Ranking


class Outcome(msgspec.Struct, frozen=True):
    """One fault of `services`: `delay_us` None when it was missed."""

    fault: Fault
    shown: bool
    delay_us: int | None
    named_at_once: bool
    named_by_end: bool


class Split(NamedTuple):
    """Rows of one day: its faults with theirs, and its quiet rows."""

    faults: list[tuple[Fault, list[int]]]
    quiet: list[int]


def split_days(data: Services) -> list[Split]:
    """One `Split` for each day that has faults."""
    times = [time_us for time_us, _ in data.stream.rows]
    quiet = quiet_rows(data)
    return [
        Split(
            [
                (f, [i for i, t in enumerate(times) if f.start_us <= t <= f.end_us])
                for f in data.faults
                if f.start_us // DAY_US == day
            ],
            [i for i in quiet if times[i] // DAY_US == day],
        )
        for day in sorted({f.start_us // DAY_US for f in data.faults})
    ]


def quiet_rows(data: Services) -> list[int]:
    """Rows of a day with faults that are more than `AFTER_EVENT_ROWS` minutes after the last of them."""
    last: dict[int, int] = {}
    for fault in data.faults:
        last[fault.start_us // DAY_US] = max(last.get(fault.start_us // DAY_US, 0), fault.end_us)
    after_us = AFTER_EVENT_ROWS * MINUTE_US
    times = (time_us for time_us, _ in data.stream.rows)
    return [i for i, t in enumerate(times) if t // DAY_US in last and t > last[t // DAY_US] + after_us]


def false_episodes(rows: Sequence[Judged], day: Split, threshold: float) -> int:
    """Episodes among the quiet rows of one day."""
    return episodes([i for i in day.quiet if rows[i].system > threshold])


def chosen(rows: Sequence[Judged], day: Split, grid: Sequence[float]) -> float:
    """The most sensitive threshold within the noise budget on one day; the greatest of all if none is."""
    budget = FALSE_PER_HOUR_MAX * len(day.quiet) / 60.0
    return next((t for t in sorted(grid) if false_episodes(rows, day, t) <= budget), max(grid))


def outcomes(rows: Sequence[Judged], day: Split, threshold: float, shown: dict[str, bool]) -> list[Outcome]:
    """What became of each fault of one day."""
    found = []
    for fault, inside in day.faults:
        first = next((i for i in inside if rows[i].system > threshold), None)
        at_once = first is not None and rows[first].ranking(None)[:1] == [fault.target]
        by_end = first is not None and rows[inside[-1]].ranking(None)[:1] == [fault.target]
        delay = None if first is None else rows[first].time_us - fault.start_us
        found.append(Outcome(fault, shown[fault.name], delay, at_once, by_end))
    return found


def judge_services(
    rows: Sequence[Judged], data: Services, grid: Sequence[float], shown: dict[str, bool]
) -> dict[str, Any]:
    """Two-fold over the days; everything that is printed, and each fault, as plain data."""
    days = split_days(data)
    found: list[Outcome] = []
    false = quiet = 0
    thresholds = []
    for own, other in ((days[0], days[1]), (days[1], days[0])):
        threshold = chosen(rows, other, grid)
        thresholds.append(threshold)
        found += outcomes(rows, own, threshold, shown)
        false += false_episodes(rows, own, threshold)
        quiet += len(own.quiet)
    hits = [o for o in found if o.delay_us is not None]
    kinds = sorted({o.fault.kind for o in found})
    delays = sorted(o.delay_us / MINUTE_US for o in found if o.delay_us is not None)
    return {
        "thresholds": thresholds,
        "faults": len(found),
        "hit": len(hits),
        "shown": sum(o.shown for o in found),
        "shown_hit": sum(o.shown for o in hits),
        "by_kind": {k: [sum(o.fault.kind == k for o in hits), sum(o.fault.kind == k for o in found)] for k in kinds},
        "quiet_hours": quiet / 60.0,
        "false_episodes": false,
        "delay_min_median": median(delays) if delays else None,
        "delay_min_max": delays[-1] if delays else None,
        "named_at_once": sum(o.named_at_once for o in hits),
        "named_by_end": sum(o.named_by_end for o in hits),
        "outcomes": msgspec.to_builtins(found),
    }


class Rank(msgspec.Struct, frozen=True):
    """Rank of an issue's target at row `row`, from its symptom and from everywhere; `UNRANKED` when not suspected."""

    issue: Fault
    row: int
    symptom: int
    everywhere: int


def judge_shop(issues: Sequence[tuple[Fault, list[Judged]]]) -> dict[str, Any]:
    """Ranks of the targets: first and in the first three, from the symptom and from everywhere."""
    ranks = []
    for fault, rows in issues:
        entity, role = fault.symptom or ("", "")
        strengths = [row.symptom(entity, role) for row in rows]
        at = next(i for i, s in enumerate(strengths) if s >= SYMPTOM_WITHIN * max(strengths))
        ranks.append(Rank(fault, at, _rank(fault, rows[at].ranking(entity)), _rank(fault, rows[at].ranking(None))))
    return {
        "issues": len(ranks),
        "first_symptom": sum(r.symptom == 1 for r in ranks),
        "first3_symptom": sum(r.symptom <= 3 for r in ranks),
        "first_everywhere": sum(r.everywhere == 1 for r in ranks),
        "first3_everywhere": sum(r.everywhere <= 3 for r in ranks),
        "ranks": msgspec.to_builtins(ranks),
    }


def _rank(fault: Fault, names: Sequence[str]) -> int:
    return names.index(fault.target) + 1 if fault.target in names else UNRANKED
