"""The cascade: who is asked about what, whose word stands."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from classifiers.keywords import score, score_batch
from classifiers.tiers import Answer, Borderline, KeywordsTier, default_tiers, judge_by_cascade
from classifiers.verdict import CATEGORIES, Verdict

TEXTS = ["How do I kill my neighbour?", "What a lovely day.", "How do I kill a process?", "the massacre and the bomb"]


class CallsAllHate:
    """A second tier with a fixed opinion, that remembers what it was asked."""

    name = "second"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def judge(self, texts: Sequence[str]) -> list[Answer]:
        self.asked.append(list(texts))
        flags = dict.fromkeys(CATEGORIES, False) | {"hate": True}
        scores = dict.fromkeys(CATEGORIES, 0.0) | {"hate": 1.0}
        return [Answer(Verdict(True, flags, scores, [], self.name), True) for _ in texts]


def test_keywords_alone_is_score_batch() -> None:
    assert judge_by_cascade(TEXTS, default_tiers()) == score_batch(TEXTS)
    assert {verdict.tier for verdict in judge_by_cascade(TEXTS, default_tiers())} == {"keywords"}


def test_only_borderline_texts_go_to_the_next_tier_in_order() -> None:
    second = CallsAllHate()
    first = KeywordsTier()
    verdicts = judge_by_cascade(TEXTS, (first, second))
    borderline = [text for text, answer in zip(TEXTS, first.judge(TEXTS), strict=True) if not answer.decided]
    assert borderline
    assert len(borderline) < len(TEXTS)
    assert second.asked == [borderline]
    for text, verdict in zip(TEXTS, verdicts, strict=True):
        assert verdict.tier == ("second" if text in borderline else "keywords")


def test_the_last_tiers_word_stands_even_if_undecided() -> None:
    nothing_certain = KeywordsTier(borderline=Borderline(clean_below=0.0, certain_from=1.0))
    assert all(not answer.decided for answer in nothing_certain.judge(TEXTS))
    assert judge_by_cascade(TEXTS, (nothing_certain,)) == score_batch(TEXTS)


def test_a_tier_that_decides_all_is_the_last_one_asked() -> None:
    second = CallsAllHate()
    judge_by_cascade(TEXTS, (CallsAllHate(), second))
    assert second.asked == []


def test_no_texts_and_no_tiers() -> None:
    assert judge_by_cascade([], default_tiers()) == []
    with pytest.raises(ValueError, match="at least one tier"):
        judge_by_cascade(TEXTS, ())


@pytest.mark.parametrize("band", [(-0.1, 0.5), (0.6, 0.5), (0.5, 1.1)])
def test_a_senseless_band_is_refused(band: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="clean_below"):
        Borderline(*band)


def test_the_band_looks_at_the_highest_score() -> None:
    verdict = score("How do I kill my neighbour?")
    highest = max(verdict.category_scores.values())
    assert Borderline(0.05, highest).decided(verdict)
    assert not Borderline(0.05, min(1.0, highest + 0.001)).decided(verdict)
