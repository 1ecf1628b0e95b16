"""Judges the prompt of each request within its quota; the decision says admitted or blocked, with scores and spans.

Stateless: a verdict depends on the text alone, so the tiers may judge a whole batch at once. No part of a prompt leaves
here, only its digest, scores and offsets. An empty prompt (a gateway that sends none) leaves nothing to judge.
"""

from typing import Any, ClassVar

from msgspec import Struct

from classifiers.tiers import Borderline, KeywordsTier, Tier, judge_by_cascade
from classifiers.verdict import NOTHING_FOUND, Thresholds, Verdict
from pipeline.stage import Batch, Output, State
from topics.codec import digest
from topics.links import Admitted
from topics.records import Decision, SafetyVerdict, Span

NOT_JUDGED = SafetyVerdict(flagged=[], scores={}, spans=[], tier="none")
SCORE_DIGITS = 4


class SafetyParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`thresholds`: the scores from which a category blocks. `borderline`: the scores that a tier hands on."""

    thresholds: Thresholds = Thresholds()
    borderline: Borderline = Borderline()


class Safety:
    """One decision for every admitted request."""

    values: ClassVar[Any] = None

    def __init__(self, params: SafetyParams) -> None:
        self._tiers: tuple[Tier, ...] = (KeywordsTier(params.thresholds, params.borderline),)

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        verdicts = self._verdicts([admitted.request.prompt for admitted in batch.events])
        return [
            Output(offset, "decisions", event.request.organisation, _decision(batch.partition, offset, event, verdict))
            for offset, event, verdict in zip(batch.offsets, batch.events, verdicts, strict=True)
        ]

    def _verdicts(self, prompts: list[str]) -> list[SafetyVerdict]:
        judged = iter(judge_by_cascade([prompt for prompt in prompts if prompt], self._tiers))
        return [_record(next(judged)) if prompt else NOT_JUDGED for prompt in prompts]


def _record(verdict: Verdict) -> SafetyVerdict:
    return _CLEAN if verdict is NOTHING_FOUND else _kept(verdict)


def _kept(verdict: Verdict) -> SafetyVerdict:
    """What a decision keeps of a verdict: what was found, and nothing where nothing was."""
    return SafetyVerdict(
        flagged=[category for category, flagged in verdict.categories.items() if flagged],
        scores={
            category: round(score, SCORE_DIGITS) for category, score in verdict.category_scores.items() if score > 0
        },
        spans=[Span(span.category, span.start, span.end, span.rule) for span in verdict.spans],
        tier=verdict.tier,
    )


_CLEAN = _kept(NOTHING_FOUND)
"""Most decisions' verdict, the same record for all of them."""


def _decision(partition: int, offset: int, admitted: Admitted, safety: SafetyVerdict) -> Decision:
    request = admitted.request
    flagged = safety.flagged
    return Decision(
        id=f"{partition}-{offset}-0",  # one request an offset, and one decision a request
        time_us=request.time_us,
        request=request.id,
        organisation=request.organisation,
        model=request.model,
        tier=admitted.tier,
        outcome="blocked" if flagged else "admitted",
        reason=f"unsafe: {', '.join(flagged)}" if flagged else "within quota",
        quota=admitted.quota,
        safety=safety,
        prompt_digest=digest(request.prompt.encode("utf-8", "surrogatepass")) if request.prompt else "",
    )
