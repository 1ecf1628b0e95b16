"""What each region, client, tier and organisation has contributed to a slice, and the parts that a slice names.

A dimension with more than VALUES_MAX values in a slice names none of them: whoever sends random client names hides
clients, and nothing else. So what is counted is exact, the same in whatever order the events came, and bounded.

Organisations are counted in tokens and failures alone (`requests`, `completions` and `duration_us` of their parts are
0): there may be hundreds in a slice, and the hottest loop has no time for more. Tokens are the input of requests that
arrived and the output of answers that ended, as everywhere in a slice.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from pipeline.heaviest import heaviest
from topics.fields import SECOND_US
from topics.records import OrganisationTokens, Part
from topics.traffic import Request

VALUES_MAX = 256
PARTS_MAX = 8

ERROR_WEIGHT = 20
"""A failure weighs as much as this many events, so that a small region that fails is named beside large ones."""

TOKENS_AN_EVENT = 500
"""Where only tokens are counted, so many weigh as much as an event."""

Tally = list[Any]
"""Of requests: how many, input tokens. Of completions: how many, output tokens, errors, seconds that answers took."""


class Tallies(Struct, gc=False):
    """Value -> tally, by dimension. None: the dimension has too many values to tell apart."""

    region: dict[str, Tally] | None = {}
    client: dict[str, Tally] | None = {}
    tier: dict[str, Tally] | None = {}


def bound(tallies: Tallies) -> None:
    """Give up the dimensions that have too many values."""
    for dimension in tallies.__struct_fields__:
        known = getattr(tallies, dimension)
        if known is not None and len(known) > VALUES_MAX:
            setattr(tallies, dimension, None)


def count_requests(tallies: Tallies, requests: list[Request]) -> None:
    """Count them under all that they say. Most say only their tier: for that there is no call."""
    regions, clients, tiers = tallies.region, tallies.client, tallies.tier
    assert tiers is not None, "a request's tier is one of three"
    for request in requests:
        tier, tokens = request.tier, request.input_tokens
        if tier in tiers:
            tally = tiers[tier]
            tally[0] += 1
            tally[1] += tokens
        else:
            tiers[tier] = [1, tokens]
        if (region := request.region) and regions is not None:
            _asked(regions, region, tokens)
        if (client := request.client) and clients is not None:
            _asked(clients, client, tokens)


def _asked(known: dict[str, Tally], value: str, tokens: int) -> None:
    if value in known:
        tally = known[value]
        tally[0] += 1
        tally[1] += tokens
    else:
        known[value] = [1, tokens]


def answered(known: dict[str, Tally], value: str, tokens: int, failed: int, seconds: float) -> None:
    """Count one completion under a value."""
    if value in known:
        tally = known[value]
        tally[0] += 1
        tally[1] += tokens
        if failed:
            tally[2] += 1
        else:
            tally[3] += seconds
    else:
        known[value] = [1, tokens, failed, seconds]


def parts_of(
    asked: Tallies, ended: Tallies, organisations: list[OrganisationTokens], failures: dict[str, int]
) -> list[Part]:
    """The parts that a slice names. `organisations`: its heaviest; `failures`: errors of those with any."""
    parts = [
        *_heaviest(_parts("region", asked.region, ended.region)),
        *_heaviest(_parts("client", asked.client, ended.client)),
        *_heaviest(_parts("tier", asked.tier, ended.tier)),
    ]
    tokens_of = {entry.organisation: entry.tokens for entry in organisations}
    for name in heaviest(failures, PARTS_MAX):
        tokens_of.setdefault(name, 0)
    errors_of = failures.get
    named = [Part("organisation", name, 0, 0, errors_of(name, 0), tokens) for name, tokens in tokens_of.items()]
    return parts + _heaviest(named)


def _parts(dimension: str, asked: dict[str, Tally] | None, ended: dict[str, Tally] | None) -> list[Part]:
    if asked is None or ended is None:
        return []
    parts = []
    for value in {**asked, **ended} if ended else asked:
        requests, tokens = asked.get(value) or (0, 0)
        completions, output_tokens, errors, seconds = ended.get(value) or (0, 0, 0, 0.0)
        duration_us = round(seconds * SECOND_US)
        parts.append(Part(dimension, value, requests, completions, errors, tokens + output_tokens, duration_us))
    return parts


def merged_parts(slices: Iterable[Iterable[Part]]) -> list[Part]:
    """The parts of a window: those of its slices added up, and of these the heaviest again.

    A slice names its own heaviest only, so a sum may miss what a value contributed to other slices.
    """
    sums: dict[str, dict[str, Part]] = {}
    for parts in slices:
        for part in parts:
            known = sums.setdefault(part.dimension, {})
            before = known.get(part.value)
            known[part.value] = part if before is None else _sum(before, part)
    return [part for known in sums.values() for part in _heaviest(list(known.values()))]


def _sum(a: Part, b: Part) -> Part:
    return Part(
        a.dimension,
        a.value,
        a.requests + b.requests,
        a.completions + b.completions,
        a.errors + b.errors,
        a.tokens + b.tokens,
        a.duration_us + b.duration_us,
    )


def _heaviest(parts: list[Part]) -> list[Part]:
    """At most PARTS_MAX of one dimension; of more, the heaviest first, of equals the first by name."""
    if len(parts) <= PARTS_MAX:
        return parts
    return sorted(parts, key=lambda part: (-weight_of(part), part.value))[:PARTS_MAX]


def weight_of(part: Part) -> int:
    """How much a part matters, in events."""
    events = part.requests + part.completions or part.tokens // TOKENS_AN_EVENT
    return events + ERROR_WEIGHT * part.errors
