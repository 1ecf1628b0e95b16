"""Which organisations have the most tokens: by tokens, of equals the first by name. Of many, without sorting all."""

from topics.records import OrganisationTokens


def heaviest(organisations: dict[str, int], count: int) -> dict[str, int]:
    """The `count` heaviest (at least 1), or all where there are no more; in an order that the input's order decides."""
    if len(organisations) <= count:
        return organisations
    least = sorted(organisations.values())[-count]
    kept = {name: tokens for name, tokens in organisations.items() if tokens > least}
    equals = sorted([name for name, tokens in organisations.items() if tokens == least])
    return kept | dict.fromkeys(equals[: count - len(kept)], least)


def ranked(organisations: dict[str, int], count: int) -> list[OrganisationTokens]:
    """The `count` heaviest as they travel, the heaviest first."""
    least = sorted(organisations.values())[-count] if 0 < count < len(organisations) else 0
    first = sorted([(-tokens, name) for name, tokens in organisations.items() if tokens >= least])[:count]
    return [OrganisationTokens(name, -negative) for negative, name in first]
