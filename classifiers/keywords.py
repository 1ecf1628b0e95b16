"""Tier 1 of moderation: keywords and patterns on normalised text, with context. Microseconds a text, no model.

Most texts hold no evidence, which the `sieve` tells of a whole batch; only the others are looked at closely.

For each category c the evidence is
    E_c = sum(intent rules) + max(0, sum(mention rules) + sum(mitigating rules))
over the distinct rules that hold in any view of the text, and the score is
    s_c = 1 / (1 + exp(-(E_c - EVIDENCE_NEEDED))),   and exactly 0 without positive evidence.
Weights and `EVIDENCE_NEEDED` are log-odds (dimensionless). A rule counts once however often it holds, so length alone
adds nothing. Harm found inside a segment encoded on purpose (base64, say) is evidence of a jailbreak
as well.

Trade-off: a lexicon is fast and explains itself by its spans, but sees words, not meaning. It is tuned for precision;
what it misses is for later tiers (see `tiers`). Spans carry offsets and rule names, never text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from classifiers.lexicon import Lexicon, Rule, default_lexicon
from classifiers.matching import Place, matching_rules
from classifiers.normalise import characters_skipped, normalise, windows
from classifiers.sieve import texts_to_look_at
from classifiers.verdict import CATEGORIES, NOTHING_FOUND, Span, Thresholds, Verdict
from classifiers.views import View

EVIDENCE_NEEDED: Final = 3.0
SPANS_MAX: Final = 32
DECODED_HARM: Final = Rule("decoded-harm", ("jailbreak",), ("encoded",), 3.0, intent=True)
PLAIN_ENCODINGS: Final = frozenset({"html", "percent"})
"""Encodings that text picks up on its way through the web, so that finding one says nothing of intent."""
DEFAULT_THRESHOLDS: Final = Thresholds()
_NO_EVIDENCE: Final = dict.fromkeys(CATEGORIES, 0.0)

Evidence = dict[str, tuple[Rule, Place]]
"""Rules that hold, by name, each with the span of the original text where it was first seen."""


def _collect(evidence: Evidence, lexicon: Lexicon, view: View, offset: int) -> None:
    words = view.words()
    hits = lexicon.hits(words)
    if hits.keys().isdisjoint(lexicon.positive):
        return
    before = len(evidence)
    for table in (lexicon.positive, lexicon.mitigating):
        for rule, (start, end) in matching_rules(words, hits, table, evidence):
            first, last = view.original_span(start, end)
            evidence[rule.name] = (rule, (first + offset, last + offset))
    if view.kind not in PLAIN_ENCODINGS and view.segment is not None and len(evidence) > before:
        evidence.setdefault(DECODED_HARM.name, (DECODED_HARM, (view.segment[0] + offset, view.segment[1] + offset)))


def _evidence(text: str, lexicon: Lexicon) -> Evidence:
    evidence: Evidence = {}
    for window in windows(text):
        for view in normalise(window.text).views:
            _collect(evidence, lexicon, view, window.start)
    return evidence


def _strengths(evidence: Evidence) -> dict[str, float]:
    """E_c of the module's formula for each category; 0.0 when nothing speaks for it."""
    intent, mention, mitigation = _NO_EVIDENCE.copy(), _NO_EVIDENCE.copy(), _NO_EVIDENCE.copy()
    for rule, _ in evidence.values():
        sums = intent if rule.intent else mention if rule.weight > 0 else mitigation
        for category in rule.categories:
            sums[category] += rule.weight
    return {category: intent[category] + max(0.0, mention[category] + mitigation[category]) for category in CATEGORIES}


def _score(strength: float) -> float:
    return 0.0 if strength <= 0.0 else 1.0 / (1.0 + math.exp(EVIDENCE_NEEDED - strength))


def _spans(evidence: Evidence, category_scores: dict[str, float]) -> list[Span]:
    found = [
        Span(category, start, end, name)
        for name, (rule, (start, end)) in evidence.items()
        if rule.weight > 0
        for category in rule.categories
        if category_scores[category] > 0.0
    ]
    return sorted(found, key=lambda span: (span.start, span.end, span.category, span.rule))[:SPANS_MAX]


def _verdict(evidence: Evidence, thresholds: Thresholds, skipped: int) -> Verdict:
    scores = {category: _score(strength) for category, strength in _strengths(evidence).items()}
    flags = {category: score >= thresholds.of(category) for category, score in scores.items()}
    return Verdict(any(flags.values()), flags, scores, _spans(evidence, scores), characters_skipped=skipped)


def look_closely(text: str, thresholds: Thresholds, lexicon: Lexicon) -> Verdict:
    """The verdict on one text, whatever the sieve would say of it."""
    evidence = _evidence(text, lexicon)
    skipped = characters_skipped(text)
    if skipped or any(rule.weight > 0 for rule, _ in evidence.values()):
        return _verdict(evidence, thresholds, skipped)
    return NOTHING_FOUND


def score_batch(
    texts: Sequence[str], thresholds: Thresholds = DEFAULT_THRESHOLDS, lexicon: Lexicon | None = None
) -> list[Verdict]:
    """Verdicts in the order of `texts`; the same as `score` of each, however the texts are batched."""
    lexicon = lexicon or default_lexicon()
    verdicts = [NOTHING_FOUND] * len(texts)
    for place in texts_to_look_at(texts, lexicon):
        verdicts[place] = look_closely(texts[place], thresholds, lexicon)
    return verdicts


def score(text: str, thresholds: Thresholds = DEFAULT_THRESHOLDS, lexicon: Lexicon | None = None) -> Verdict:
    """The verdict on one text of any length and content; it never raises."""
    return score_batch((text,), thresholds, lexicon)[0]
