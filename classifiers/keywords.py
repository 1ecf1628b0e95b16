"""Tier 1 of moderation: keywords and patterns on normalised text, with context. Microseconds a text, no model.

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
from classifiers.normalise import WINDOW_CHARACTERS, characters_skipped, is_plain, normalise, windows
from classifiers.verdict import CATEGORIES, Span, Thresholds, Verdict
from classifiers.views import View

EVIDENCE_NEEDED: Final = 3.0
SPANS_MAX: Final = 32
DECODED_HARM: Final = Rule("decoded-harm", ("jailbreak",), ("encoded",), 3.0, intent=True)
PLAIN_ENCODINGS: Final = frozenset({"html", "percent"})
"""Encodings that text picks up on its way through the web, so that finding one says nothing of intent."""
DEFAULT_THRESHOLDS: Final = Thresholds()

Evidence = dict[str, tuple[Rule, Place]]
"""Rules that hold, by name, each with the span of the original text where it was first seen."""


def _collect(evidence: Evidence, lexicon: Lexicon, view: View, offset: int) -> None:
    words = view.words()
    if not lexicon.may_hold_evidence(words):
        return
    hits = lexicon.hits(words)
    before = len(evidence)
    for table in (lexicon.positive, lexicon.mitigating):
        for rule, (start, end) in matching_rules(words, hits, table):
            first, last = view.original_span(start, end)
            evidence.setdefault(rule.name, (rule, (first + offset, last + offset)))
    if view.kind not in PLAIN_ENCODINGS and view.segment is not None and len(evidence) > before:
        evidence.setdefault(DECODED_HARM.name, (DECODED_HARM, (view.segment[0] + offset, view.segment[1] + offset)))


def _evidence(text: str, lexicon: Lexicon) -> Evidence:
    evidence: Evidence = {}
    for window in windows(text):
        for view in normalise(window.text).views:
            _collect(evidence, lexicon, view, window.start)
    return evidence


def _strength(evidence: Evidence, category: str) -> float:
    """E_c of the module's formula; 0.0 when nothing speaks for the category."""
    intent = mention = mitigation = 0.0
    for rule, _ in evidence.values():
        if category in rule.categories:
            if rule.intent:
                intent += rule.weight
            elif rule.weight > 0:
                mention += rule.weight
            else:
                mitigation += rule.weight
    return intent + max(0.0, mention + mitigation)


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
    scores = {category: _score(_strength(evidence, category)) for category in CATEGORIES}
    flags = {category: score >= thresholds.of(category) for category, score in scores.items()}
    return Verdict(any(flags.values()), flags, scores, _spans(evidence, scores), characters_skipped=skipped)


def _nothing_found() -> Verdict:
    return Verdict(False, dict.fromkeys(CATEGORIES, False), dict.fromkeys(CATEGORIES, 0.0), [])


def score(text: str, thresholds: Thresholds = DEFAULT_THRESHOLDS, lexicon: Lexicon | None = None) -> Verdict:
    """The verdict on one text of any length and content; it never raises."""
    lexicon = lexicon or default_lexicon()
    if len(text) <= WINDOW_CHARACTERS and is_plain(text) and not lexicon.may_hold_evidence(View("plain", text).words()):
        return _nothing_found()
    evidence = _evidence(text, lexicon)
    skipped = characters_skipped(text)
    return _verdict(evidence, thresholds, skipped) if evidence or skipped else _nothing_found()


def score_batch(
    texts: Sequence[str], thresholds: Thresholds = DEFAULT_THRESHOLDS, lexicon: Lexicon | None = None
) -> list[Verdict]:
    """Verdicts in the order of `texts`; the same as `score` of each, however the texts are batched."""
    lexicon = lexicon or default_lexicon()
    return [score(text, thresholds, lexicon) for text in texts]
