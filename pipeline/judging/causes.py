"""The probable cause of an alert: which region, client, tier or organisation has changed, against what is usual of it.

Usual are fading means of what each part contributes to a window (half-life `half_life` windows). A window with findings
is not learnt, or an incident would soon be the usual, until `accept_after` of them came in a row: that is a new level.
Anomalous windows are summed up as *evidence*, fading by `evidence_fade` from one to the next,
so that a cause rests on more than the one window that opened the alert.

What is compared hangs on the family of the alert:

    family      amount             expected of a part                             exposure
    errors      errors             its usual rate × its completions               completions (of organisations: tokens)
    latency     seconds answering  its usual mean × its answers                   answers
    traffic     requests           its usual requests                             the same (of organisations: tokens)
    tokens      tokens             its usual tokens                               the same

A part's usual rate leans towards the model's as if `prior_trials` more of its events had been like all others: five
completions are no reason to expect none to fail. A part that is not named in a window in which PARTS_MAX others are was
at most as heavy as the least of them; in one with fewer it was nothing.

Where no part stands out (detectors.attribution), the cause is the version that was deployed while it is observed, for
what a version can cause, or else the model itself.
"""

from collections.abc import Callable, Iterator

from msgspec import Struct, field

from detectors.attribution import Attribution, AttributionParams, Dimension, Value, attribute
from pipeline.judging.context import Deployed
from pipeline.judging.families import Family
from pipeline.tallies import PARTS_MAX, weight_of
from topics.fields import SECOND_US, TEXT_CHARACTERS_MAX
from topics.records import Cause, MetricWindow, Part

ORGANISATION = "organisation"
DIMENSIONS = (ORGANISATION, "region", "client", "tier")
CAUSES_MAX = 3
EVIDENCE_MIN = 0.05  # of a window: what has faded below it says nothing any more
COST_ALONE = "cost_anomaly"
"""The kind of alert in which tokens are as usual, and only their price is not; parts carry no cost."""

MODEL, DEPLOYMENT = "model", "deployment"


class CauseParams(Struct, frozen=True, forbid_unknown_fields=True):
    """See the top of this file; half-life in windows, weights and fades as factors."""

    attribution: AttributionParams = AttributionParams()
    half_life: float = 30.0
    ready_after: int = 10
    accept_after: int = 180
    evidence_fade: float = 0.8
    prior_trials: float = 50.0
    values_max: int = 16


class Sums(Struct):
    """What a part, or the whole, contributes to a window; `answers` are completions that did not fail."""

    requests: float = 0.0
    completions: float = 0.0
    errors: float = 0.0
    tokens: float = 0.0
    duration_us: float = 0.0

    @property
    def answers(self) -> float:
        return max(self.completions - self.errors, 0.0)

    def blend(self, keep: float, other: "Sums | Part", weight: float) -> None:
        """Become keep · self + weight · other."""
        self.requests = keep * self.requests + weight * other.requests
        self.completions = keep * self.completions + weight * other.completions
        self.errors = keep * self.errors + weight * other.errors
        self.tokens = keep * self.tokens + weight * other.tokens
        self.duration_us = keep * self.duration_us + weight * other.duration_us


NOTHING = Sums()
Table = dict[str, dict[str, Sums]]
"""Dimension -> value -> sums."""


class Shares(Struct, tag="shares"):
    """Of one model: the usual window, part by part and whole, after `windows`; and the evidence of `weight` windows.

    `run`: windows with findings, in a row.
    """

    usual: Table = {}
    usual_whole: Sums = field(default_factory=Sums)
    windows: int = 0
    run: int = 0
    evidence: Table = {}
    evidence_whole: Sums = field(default_factory=Sums)
    weight: float = 0.0


def take_in(shares: Shares, window: MetricWindow, anomalous: bool, params: CauseParams) -> None:
    """One window more: learnt if it is usual, evidence if not."""
    _gather(shares, window, anomalous, params)
    shares.run = shares.run + 1 if anomalous else 0
    if 0 < shares.run <= params.accept_after:
        return
    step = max(1.0 - 0.5 ** (1.0 / params.half_life), 1.0 / (shares.windows + 1))
    _blend(shares.usual, window, 1.0 - step, step, params)
    shares.usual_whole.blend(1.0 - step, _whole(window), step)
    shares.windows = min(shares.windows + 1, round(4 * params.half_life))


def _gather(shares: Shares, window: MetricWindow, anomalous: bool, params: CauseParams) -> None:
    keep = params.evidence_fade
    shares.weight = keep * shares.weight + anomalous
    if shares.weight < EVIDENCE_MIN:
        shares.weight, shares.evidence, shares.evidence_whole = 0.0, {}, Sums()
        return
    _blend(shares.evidence, window, keep, float(anomalous), params)
    shares.evidence_whole.blend(keep, _whole(window), float(anomalous))


def _whole(window: MetricWindow) -> Sums:
    """Without latency, of which a window knows quantiles only."""
    tokens = window.input_tokens + window.output_tokens
    return Sums(window.requests, window.completions, window.errors, tokens)


def _blend(table: Table, window: MetricWindow, keep: float, weight: float, params: CauseParams) -> None:
    for dimension in DIMENSIONS:
        known = table.setdefault(dimension, {})
        parts = {part.value: part for part in window.parts if part.dimension == dimension} if window.parts else {}
        unnamed = _least(list(parts.values()))
        tokens = {top.organisation: top.tokens for top in window.top_organisations if dimension == ORGANISATION}
        for value in (*parts, *tokens):
            if value not in known:
                known[value] = Sums()
        for value, sums in known.items():
            now = parts.get(value) or (NOTHING if unnamed is None else _at_most(unnamed, sums))
            if (used := tokens.get(value, 0)) > now.tokens:
                now = Sums(now.requests, now.completions, now.errors, used, now.duration_us)
            sums.blend(keep, now, weight)
        if len(known) > params.values_max:
            heaviest = sorted(known, key=lambda value: (-_weight(known[value]), value))
            table[dimension] = {value: known[value] for value in heaviest[: params.values_max]}


def _least(parts: list[Part]) -> Part | None:
    """The most that a part can have contributed which is not named; None: nothing."""
    return min(parts, key=weight_of) if len(parts) >= PARTS_MAX else None


def _at_most(limit: Part, usual: Sums) -> Sums:
    return Sums(
        min(limit.requests, usual.requests),
        min(limit.completions, usual.completions),
        min(limit.errors, usual.errors),
        min(limit.tokens, usual.tokens),
        min(limit.duration_us, usual.duration_us),
    )


def _weight(sums: Sums) -> float:
    return sums.requests + sums.completions + sums.errors + sums.tokens / 1e6


def explain(
    shares: Shares,
    family: Family,
    kind: str,
    model: str,
    deployed: Deployed | None,
    organisation: str,
    params: CauseParams,
) -> list[Cause]:
    """The probable causes of what the evidence shows, at most CAUSES_MAX, the first the most probable.

    `kind`: of the alert. `deployed`: a version that is being observed and that the alert began after. `organisation`:
    found to explain a surge (pipeline.judging.organisations); it comes first, whatever else stands out.
    """
    comparison = COMPARISONS.get(family.name) if kind != COST_ALONE else None
    causes: list[Cause] = []
    if comparison is not None and shares.windows >= params.ready_after and shares.weight > 0:
        dimensions = dict(_dimensions(shares, comparison, params))
        for found in attribute(dimensions, params.attribution):
            causes += _causes(found, dimensions[found.dimension], comparison)
    if organisation:
        causes = _first(causes, organisation)
    return causes[:CAUSES_MAX] or [_itself(family, model, deployed)]


def is_part(causes: list[Cause]) -> bool:
    """Whether a part of the traffic stands out."""
    return bool(causes) and causes[0].dimension in DIMENSIONS


class Comparison(Struct, frozen=True):
    """What a family compares. `amount`; `exposure` where the amount is a rate of it; `unit` to count events."""

    amount: Callable[[Sums], float]
    exposure: Callable[[Sums], float] | None
    of_organisations: Callable[[Sums], float]
    change: str
    show: Callable[[Value], str]


def _dimensions(shares: Shares, comparison: Comparison, params: CauseParams) -> Iterator[tuple[str, Dimension]]:
    for dimension in DIMENSIONS:
        usual, evidence = shares.usual.get(dimension, {}), shares.evidence.get(dimension, {})
        names = sorted({*usual, *evidence})
        if comparison.exposure is None:
            found = _additive(shares, comparison, names, usual, evidence)
        else:
            found = _ratio(shares, comparison, names, usual, evidence, params)
        if found is not None:
            yield dimension, found


def _additive(
    shares: Shares, comparison: Comparison, names: list[str], usual: dict[str, Sums], evidence: dict[str, Sums]
) -> Dimension | None:
    amount = _counted(comparison.amount, comparison.of_organisations, usual, evidence)
    if amount is None:
        return None
    values = []
    for name in names:
        expected = shares.weight * amount(usual.get(name, Sums()))
        values.append(Value(name, expected, amount(evidence.get(name, Sums())), expected))
    whole_expected, whole_actual = shares.weight * amount(shares.usual_whole), amount(shares.evidence_whole)
    events = max(shares.evidence_whole.requests, 1.0)
    return Dimension(values, events, Value("", whole_expected, whole_actual, whole_expected))


def _ratio(
    shares: Shares,
    comparison: Comparison,
    names: list[str],
    usual: dict[str, Sums],
    evidence: dict[str, Sums],
    params: CauseParams,
) -> Dimension | None:
    assert comparison.exposure is not None
    amount = comparison.amount
    exposure = _counted(comparison.exposure, comparison.of_organisations, usual, evidence)
    if exposure is None or not any(amount(sums) for sums in (*usual.values(), *evidence.values())):
        return None
    all_amount, all_exposure = (sum(read(sums) for sums in usual.values()) for read in (amount, exposure))
    whole = shares.usual_whole
    if amount(whole) > 0:
        all_amount, all_exposure = amount(whole), exposure(whole)
    rate = all_amount / max(all_exposure, 1e-9)
    trials = max(comparison.exposure(whole), 1e-9)  # in events, to say how much exposure the prior stands for
    prior = params.prior_trials / max(shares.windows, 1) * all_exposure / trials
    values = []
    for name in names:
        before, now = usual.get(name, Sums()), evidence.get(name, Sums())
        own = (amount(before) + prior * rate) / (exposure(before) + prior)
        values.append(Value(name, own * exposure(now), amount(now), exposure(now)))
    now = shares.evidence_whole
    known = amount(now) > 0
    total = Value("", rate * exposure(now), amount(now), exposure(now)) if known else None
    return Dimension(values, amount(now) if known else comparison.exposure(now), total)


def _counted(
    read: Callable[[Sums], float],
    otherwise: Callable[[Sums], float],
    usual: dict[str, Sums],
    evidence: dict[str, Sums],
) -> Callable[[Sums], float] | None:
    """What this dimension counts: `read`, or `otherwise` where it counts no events."""
    parts = (*usual.values(), *evidence.values())
    return next((each for each in (read, otherwise) if any(each(sums) for sums in parts)), None)


def _causes(found: Attribution, dimension: Dimension, comparison: Comparison) -> Iterator[Cause]:
    values = {one.value: one for one in dimension.values}
    for value, share in zip(found.values, found.shares, strict=True):
        what = f"{found.dimension} {value} explains {100 * share:.0f} % of the {comparison.change}"
        sentence = f"{what} ({comparison.show(values[value])})."
        yield Cause(
            found.dimension,
            value,
            max(share, 0.0),
            round(found.surprise, 6),
            (sentence[0].upper() + sentence[1:])[:TEXT_CHARACTERS_MAX],
        )


def _first(causes: list[Cause], organisation: str) -> list[Cause]:
    """The organisation that explains a surge comes first; where attribution did not see it, without a share of its own.

    Both look at the same tokens; the surge is judged by each organisation's own spread, and earlier.
    """
    own = [cause for cause in causes if (cause.dimension, cause.value) == ("organisation", organisation)]
    if not own:
        said = f"Organisation {organisation} uses far more tokens than it usually does."
        own = [Cause("organisation", organisation, 1.0, 0.0, said)]
    return own + [cause for cause in causes if cause not in own]


def _itself(family: Family, model: str, deployed: Deployed | None) -> Cause:
    if deployed is not None and family.observed:
        said = (
            f"Version {deployed.version} of {model} went live before it began, and no part of the traffic stands out."
        )
        return Cause(DEPLOYMENT, deployed.version, 1.0, 0.0, said)
    said = f"No region, client, tier or organisation stands out: {model} itself is affected."
    return Cause(MODEL, model, 1.0, 0.0, said)


def _show_errors(one: Value) -> str:
    rate, usual = (amount / max(one.exposure, 1e-9) for amount in (one.actual, one.expected))
    if rate > 1.0 or one.exposure > 1e4 * max(one.actual, 1.0):  # counted in tokens
        return f"{one.actual:.0f} failures where {one.expected:.0f} would be usual"
    return f"{100 * rate:.1f} % error rate, usually {100 * usual:.1f} %"


def _show_seconds(one: Value) -> str:
    now, usual = (amount / max(one.exposure, 1e-9) / SECOND_US for amount in (one.actual, one.expected))
    return f"{now:.1f} s on average, usually {usual:.1f} s"


def _show_amount(one: Value) -> str:
    if one.expected < 1:
        return "new, or hardly seen before"
    return f"{one.actual / one.expected:.2g} times its usual"


COMPARISONS: dict[str, Comparison] = {
    "errors": Comparison(
        lambda sums: sums.errors,
        lambda sums: sums.completions,
        lambda sums: sums.tokens,
        "additional errors",
        _show_errors,
    ),
    "latency": Comparison(
        lambda sums: sums.duration_us,
        lambda sums: sums.answers,
        lambda sums: 0.0,
        "added latency",
        _show_seconds,
    ),
    "traffic": Comparison(lambda sums: sums.requests, None, lambda sums: sums.tokens, "missing requests", _show_amount),
    "tokens": Comparison(lambda sums: sums.tokens, None, lambda sums: sums.tokens, "additional tokens", _show_amount),
}
"""Family of alerts -> what is compared."""
