"""Which rules of the lexicon hold in the words of a view, and where."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from classifiers.lexicon.files import Rule
from classifiers.lexicon.index import Hits, Plan, Table

Place = tuple[int, int]


def _gap(first: Place, second: Place) -> int:
    """Characters between two spans; negative when they overlap."""
    return max(first[0], second[0]) - min(first[1], second[1])


def _nearest(places: list[Place], anchor: Place, within: int, side: int) -> Place | None:
    """The closest of `places` to `anchor`; side -1 asks for one before it, 1 for one after, 0 for either."""
    best: Place | None = None
    best_gap = within + 1
    for place in places:
        gap = _gap(place, anchor)
        on_side = side == 0 or (place[0] < anchor[0]) == (side < 0)
        if on_side and 0 <= gap < best_gap:
            best, best_gap = place, gap
    return best


def _excused(rule: Rule, hits: Hits, anchor: Place) -> bool:
    return any(_gap(place, anchor) <= rule.within for concept in rule.unless for place in hits.get(concept, ()))


def _around(plan: Plan, hits: Hits, anchor: Place) -> Place | None:
    """The span of all the rule's concepts around one hit of its trigger, or None if one is missing."""
    start, end = anchor
    for concept, side in plan.partners:
        partner = _nearest(hits[concept], anchor, plan.rule.within, side)
        if partner is None:
            return None
        start, end = min(start, partner[0]), max(end, partner[1])
    return start, end


def _holds(plan: Plan, words: str, hits: Hits) -> Place | None:
    for concept, _ in plan.partners:
        if concept not in hits:
            return None
    for anchor in hits[plan.trigger]:
        span = _around(plan, hits, anchor)
        if span is not None and not _excused(plan.rule, hits, anchor):
            return span if plan.pattern is None else _matched(plan.pattern, words)
    return None


def _matched(pattern: Any, words: str) -> Place | None:
    match = pattern.search(words)
    return match.span() if match is not None and match.end() > match.start() else None


def matching_rules(words: str, hits: Hits, table: Table, known: Container[str]) -> Iterator[tuple[Rule, Place]]:
    """Each rule of `table` that holds, with the first span in `words` where it does, but for those `known` by name."""
    for concept, plans in table.items():  # the table's order, so that sums of weights are the same in every process
        if concept in hits:
            for plan in plans:
                span = None if plan.rule.name in known else _holds(plan, words, hits)
                if span is not None:
                    yield plan.rule, span
