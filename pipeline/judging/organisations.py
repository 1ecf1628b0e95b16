"""Whose tokens are these? Compares each large organisation's tokens in a window with what it usually uses.

Two questions, each against the organisation's own fading mean m and mean absolute deviation a (half-life `half_life`
windows), x = log(tokens) and s = log(its share of the model's tokens):

    σ² = max(√(π/2) · a, `sigma_min`)² + `count_variance` / n,      n = its usual tokens / the model's tokens a request

    at once     x > m_x + `sigmas` · σ_x   and   s > m_s + `share_sigmas` · σ_s
    steadily    S ← min(max(0, S + clip(z, ±clip) - slack), 2 · limit) > limit, and both questions asked of the last
                windows' means (exponential, weight w = `recent_weight`, σ · √(w / (2 - w)))

n is how many requests a window its usual tokens make. Of two requests a minute one long prompt makes a tenfold minute:
a sum of n lengths and a count of n arrivals vary by `count_variance` / n (3.3: 1.6 for bursty arrivals, 1.7 for
log-normal lengths, as measured on ServeGen and Azure). Without it, every thin model rang daily: on a week of four
models (scenario seed 1) 125 false surges, with it none, and the six true ones found as soon.

And it must matter: at least `times_min` of its usual tokens, and an excess over `share_min` of the model's tokens
without it. Usual is also what it has been before: the highest that its fading mean was, halved every `busy_half_life`
windows. So the batch job that runs every night rings once. A small customer that triples is nobody's incident, and the
whole API growing moves every level, but no share. What that costs: abuse by who has abused days before, and was let,
must be larger than it was.

Windows name only their largest organisations, so one that is not named is known to have used less than the
least of those named, and its mean moves down to that. A newcomer is compared with the usual least. Nothing is learnt
further off than `sigmas` σ, and nothing in windows whose requests or tokens as a whole are anomalous.

Fading means: Roberts, *Control chart tests based on geometric moving averages*, Technometrics 1, 1959. CUSUM: Page,
*Continuous inspection schemes*, Biometrika 41, 1954.
"""

import math

from msgspec import Struct
from msgspec.structs import replace

from topics.records import MetricWindow, OrganisationTokens

MEAN_DEVIATION_TO_SIGMA = math.sqrt(math.pi / 2)


class SurgeParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`half_life` and `ready_after` in windows; `times_min` and `share_min` are the least effect that matters.

    `busy_half_life` in windows (4,320: three days); 0.1 in `sigma_min` is a tenth of the tokens.
    """

    half_life: float = 30.0
    ready_after: int = 20
    sigmas: float = 3.0
    share_sigmas: float = 2.0
    sigma_min: float = 0.1
    count_variance: float = 3.3
    busy_half_life: float = 4_320.0
    slack: float = 1.0
    clip: float = 3.0
    limit: float = 5.0
    recent_weight: float = 0.4
    times_min: float = 1.6
    share_min: float = 0.12
    organisations_max: int = 64


class Fading(Struct, frozen=True):
    """Fading mean and mean absolute deviation; `windows` learnt."""

    mean: float
    deviation: float = 0.5
    windows: int = 1


class Usual(Struct, frozen=True):
    """An organisation's usual log(tokens) and log(share); the CUSUM of the former, and the last windows' of both."""

    level: Fading
    share: Fading
    cusum: float = 0.0
    recent_level: float | None = None
    recent_share: float | None = None
    busiest: float = 0.0
    busiest_at: int = 0


class Organisations(Struct, tag="organisations"):
    """Of one model: the organisations last named, most recently named last, and the usual least of those named."""

    known: dict[str, Usual] = {}
    least: Usual | None = None
    learned: int = 0


class Surge(Struct, frozen=True):
    """An organisation that uses far more tokens than usual; shares are fractions of the model's tokens."""

    organisation: str
    tokens: int
    expected: float
    limit: float
    share: float
    share_expected: float
    share_limit: float


def surging(state: Organisations, window: MetricWindow, params: SurgeParams) -> list[Surge]:
    """The organisations that explain a rise of this window's tokens, largest excess first; changes nothing."""
    if state.learned < params.ready_after:
        return []
    total = window.input_tokens + window.output_tokens
    found = [surge for top in _named(window) if (surge := _surge(state, top, total, window.requests, params))]
    return sorted(found, key=lambda surge: (surge.expected - surge.tokens, surge.organisation))


def learn(state: Organisations, window: MetricWindow, params: SurgeParams, usual_window: bool = True) -> None:
    """Take the window's organisations in; in one that is not usual as a whole only the CUSUMs move.

    Those not named any more are forgotten first when there are too many.
    """
    tops, total = _named(window), window.input_tokens + window.output_tokens
    for top in tops:
        _sum_up(state, top, total, params)
    if not tops or not usual_window:
        return
    smallest = min(top.tokens for top in tops)
    level, share = math.log(smallest), math.log(_share(smallest, total))
    named = {top.organisation for top in tops}
    for organisation, usual in state.known.items():
        if organisation not in named and usual.level.mean > level:
            state.known[organisation] = _moved(usual, level, share, params)
    for top in tops:
        _learn_one(state, top, total, params)
    state.least = _moved(state.least or Usual(Fading(level), Fading(share)), level, share, params)
    state.learned += 1
    for organisation in list(state.known)[: -params.organisations_max]:
        del state.known[organisation]


def _sum_up(state: Organisations, top: OrganisationTokens, total: int, params: SurgeParams) -> None:
    usual = state.known.get(top.organisation)
    if usual is not None:
        state.known[top.organisation] = _summed(usual, top, total, params)


def _summed(usual: Usual, top: OrganisationTokens, total: int, params: SurgeParams) -> Usual:
    """With this window in its CUSUM and in the means of the last windows; what is usual stays."""
    level, share = math.log(top.tokens), math.log(_share(top.tokens, total))
    return replace(
        usual,
        cusum=_cusum(usual, level, params),
        recent_level=_smoothed(usual.recent_level, usual.level.mean, level, params),
        recent_share=_smoothed(usual.recent_share, usual.share.mean, share, params),
    )


def _smoothed(recent: float | None, mean: float, value: float, params: SurgeParams) -> float:
    start = mean if recent is None else recent
    return start + params.recent_weight * (value - start)


def _learn_one(state: Organisations, top: OrganisationTokens, total: int, params: SurgeParams) -> None:
    level, share = math.log(top.tokens), math.log(_share(top.tokens, total))
    usual = state.known.pop(top.organisation, None)  # so that the most recently named are last
    usual = usual or state.least or Usual(Fading(level), Fading(share))
    if state.learned >= params.ready_after:
        level, share = _winsorised(usual.level, level, params), _winsorised(usual.share, share, params)
    moved = _moved(usual, level, share, params)
    if moved.level.mean >= _busiest(state, usual, params):
        moved = replace(moved, busiest=moved.level.mean, busiest_at=state.learned)
    state.known[top.organisation] = moved


def _busiest(state: Organisations, usual: Usual, params: SurgeParams) -> float:
    """The highest that its mean has been, halved every `busy_half_life` windows since."""
    return usual.busiest - (state.learned - usual.busiest_at) * math.log(2.0) / params.busy_half_life


def _surge(
    state: Organisations, top: OrganisationTokens, total: int, requests: int, params: SurgeParams
) -> Surge | None:
    usual = _usual(state, top.organisation)
    if usual is None:
        return None
    level, share = math.log(top.tokens), math.log(_share(top.tokens, total))
    if level <= usual.level.mean or share <= usual.share.mean:
        return None
    now = _summed(usual, top, total, params)
    few = params.count_variance * total / max(requests, 1) / math.exp(usual.level.mean)
    limit = usual.level.mean + params.sigmas * math.hypot(_sigma(usual.level, params), math.sqrt(few))
    share_limit = usual.share.mean + params.share_sigmas * math.hypot(_sigma(usual.share, params), math.sqrt(few))
    at_once = level > limit and share > share_limit and _matters(state, usual, level, total, params)
    steadily = (
        now.cusum > params.limit
        and now.recent_share is not None
        and now.recent_level is not None
        and now.recent_level > usual.level.mean + _narrowed(params) * (limit - usual.level.mean)
        and now.recent_share > usual.share.mean + _narrowed(params) * (share_limit - usual.share.mean)
        and _matters(state, usual, now.recent_level, total, params)
    )
    if not (at_once or steadily):
        return None
    expected, share_expected = math.exp(usual.level.mean), math.exp(usual.share.mean)
    return Surge(
        top.organisation,
        top.tokens,
        expected,
        math.exp(limit),
        math.exp(share),
        min(share_expected, 1.0),
        min(math.exp(share_limit), 1.0),
    )


def _narrowed(params: SurgeParams) -> float:
    """How much less an exponential mean varies than single windows do."""
    return math.sqrt(params.recent_weight / (2.0 - params.recent_weight))


def _matters(state: Organisations, usual: Usual, level: float, total: int, params: SurgeParams) -> bool:
    usually = max(usual.level.mean, _busiest(state, usual, params))
    excess = math.exp(level) - math.exp(usually)
    return level >= usually + math.log(params.times_min) and excess >= params.share_min * max(total - excess, 1.0)


def _named(window: MetricWindow) -> list[OrganisationTokens]:
    return [top for top in window.top_organisations if top.tokens > 0]


def _usual(state: Organisations, organisation: str) -> Usual | None:
    return state.known.get(organisation) or state.least


def _share(tokens: int, total: int) -> float:
    return tokens / max(total, tokens, 1)


def _sigma(fading: Fading, params: SurgeParams) -> float:
    return max(MEAN_DEVIATION_TO_SIGMA * fading.deviation, params.sigma_min)


def _winsorised(fading: Fading, value: float, params: SurgeParams) -> float:
    reach = params.sigmas * _sigma(fading, params)
    return min(max(value, fading.mean - reach), fading.mean + reach)


def _cusum(usual: Usual, level: float, params: SurgeParams) -> float:
    z = (level - usual.level.mean) / _sigma(usual.level, params)
    z = min(max(z, -params.clip), params.clip)
    return min(max(0.0, usual.cusum + z - params.slack), 2.0 * params.limit)


def _moved(usual: Usual, level: float, share: float, params: SurgeParams) -> Usual:
    return replace(usual, level=_faded(usual.level, level, params), share=_faded(usual.share, share, params))


def _faded(fading: Fading, value: float, params: SurgeParams) -> Fading:
    """One step of the fading means; the first windows count as a plain mean, so that nothing rests on the first."""
    weight = max(1.0 - 0.5 ** (1.0 / params.half_life), 1.0 / (fading.windows + 1))
    return Fading(
        mean=fading.mean + weight * (value - fading.mean),
        deviation=fading.deviation + weight * (abs(value - fading.mean) - fading.deviation),
        windows=min(fading.windows + 1, round(4 * params.half_life)),
    )
