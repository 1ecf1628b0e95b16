"""Moderation of prompts: pure functions from text to verdicts. Read `keywords` first, then `lexicon` and `tiers`."""

from classifiers.keywords import score_batch
from classifiers.tiers import judge_by_cascade
from classifiers.verdict import CATEGORIES, Span, Thresholds, Verdict, moderation_result

__all__ = [
    "CATEGORIES",
    "Span",
    "Thresholds",
    "Verdict",
    "judge_by_cascade",
    "moderation_result",
    "score_batch",
]
