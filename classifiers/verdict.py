"""What moderation says of a text: categories, scores in [0, 1], and where in the text the evidence lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

CATEGORIES: Final = ("hate", "self-harm", "violence", "sexual", "jailbreak")


class Span(msgspec.Struct, frozen=True, gc=False):
    """Evidence for a category: half-open code point offsets of the original text and the rule's name, no text."""

    category: str
    start: int
    end: int
    rule: str


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The answer for one text. `characters_skipped` counts what an over-long text kept from being read."""

    flagged: bool
    categories: Mapping[str, bool]
    category_scores: Mapping[str, float]
    spans: Sequence[Span] = ()
    tier: str = "keywords"
    characters_skipped: int = 0


NOTHING_FOUND: Final = Verdict(False, dict.fromkeys(CATEGORIES, False), dict.fromkeys(CATEGORIES, 0.0))
"""The keywords tier's verdict on most texts, shared by all of them."""


class Thresholds(msgspec.Struct, frozen=True):
    """The score in [0, 1] from which a category is flagged. A higher threshold blocks less."""

    hate: float = 0.5
    self_harm: float = 0.5
    violence: float = 0.5
    sexual: float = 0.5
    jailbreak: float = 0.5

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"threshold {name} is {getattr(self, name)}; give a number above 0 and at most 1")

    def of(self, category: str) -> float:
        """The threshold of a category of `CATEGORIES`."""
        threshold: float = getattr(self, category.replace("-", "_"))
        return threshold


def moderation_result(verdict: Verdict) -> dict[str, Any]:
    """The verdict in the shape of one OpenAI moderation result, with the `tier` that decided."""
    return {
        "flagged": verdict.flagged,
        "categories": dict(verdict.categories),
        "category_scores": dict(verdict.category_scores),
        "tier": verdict.tier,
    }
