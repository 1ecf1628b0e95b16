"""A cascade of moderation tiers: each decides what it can and hands on what it cannot.

A `Tier` takes texts and gives one `Answer` each: a verdict and whether it is decided. The cascade asks the first tier
about all texts and each next tier only about those still undecided, in one batch; the last tier's word stands. Today
there is one tier, `KeywordsTier`; a learnt tier joins by being put into the list.

Whether to hand on is the tier's own judgement, and it is easily made badly: a text whose words show nothing is not
*borderline* by its score, yet it is where a lexicon is weakest. `KeywordsTier` therefore calls clean only what it is
told to (`clean_below`): measure it on traffic (the share handed on) and on labels (the harm decided clean).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from classifiers.keywords import score_batch
from classifiers.verdict import NOTHING_FOUND, Thresholds, Verdict


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A tier's verdict on one text and whether the cascade may stop there."""

    verdict: Verdict
    decided: bool


class Tier(Protocol):
    """Judges batches of texts. Pure: the same texts give the same answers, one for each, in order."""

    @property
    def name(self) -> str:
        """What `Verdict.tier` says when this tier decides."""
        ...

    def judge(self, texts: Sequence[str]) -> list[Answer]:
        """One answer for each text, in order; it raises for no text."""
        ...


class Borderline(msgspec.Struct, frozen=True):
    """Scores in [`clean_below`, `certain_from`) are borderline. With `clean_below` 0.0 nothing is decided clean."""

    clean_below: float = 0.05
    certain_from: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 <= self.clean_below <= self.certain_from <= 1.0:
            raise ValueError(
                f"borderline band {self.clean_below} to {self.certain_from}; give 0 <= clean_below <= certain_from <= 1"
            )

    def decided(self, verdict: Verdict) -> bool:
        """Whether the highest category score is outside the band."""
        highest = max(verdict.category_scores.values(), default=0.0)
        return highest < self.clean_below or highest >= self.certain_from


class KeywordsTier(msgspec.Struct, frozen=True):
    """Tier 1: the lexicon."""

    thresholds: Thresholds = Thresholds()
    borderline: Borderline = Borderline()

    @property
    def name(self) -> str:
        """The tier's name in verdicts."""
        return "keywords"

    def judge(self, texts: Sequence[str]) -> list[Answer]:
        """Verdicts by keywords; decided unless a score lies in the borderline band."""
        nothing = self._answer(NOTHING_FOUND)
        verdicts = score_batch(texts, self.thresholds)
        return [nothing if verdict is NOTHING_FOUND else self._answer(verdict) for verdict in verdicts]

    def _answer(self, verdict: Verdict) -> Answer:
        return Answer(verdict, self.borderline.decided(verdict))


def default_tiers() -> tuple[Tier, ...]:
    """The tiers in use, cheapest first."""
    return (KeywordsTier(),)


def judge_by_cascade(texts: Sequence[str], tiers: Sequence[Tier]) -> list[Verdict]:
    """One verdict for each text, from the first tier that decided it or else the last. Raises without any tier."""
    if not tiers:
        raise ValueError("a cascade needs at least one tier; default_tiers() gives the usual ones")
    answers = tiers[0].judge(texts)
    for tier in tiers[1:]:
        pending = [place for place, answer in enumerate(answers) if not answer.decided]
        if not pending:
            break
        for place, answer in zip(pending, tier.judge([texts[place] for place in pending]), strict=True):
            answers[place] = answer
    return [answer.verdict for answer in answers]
