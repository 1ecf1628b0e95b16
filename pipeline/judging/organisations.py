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
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from pipeline.judging.fading import MEAN_DEVIATION_TO_SIGMA
from topics.records import MetricWindow

LOG_2 = math.log(2.0)


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


class _Pace(NamedTuple):
    """How quickly fading means move: the least weight of a new value, and how many windows are counted at most."""

    weight: float
    windows_max: int


class _Top(NamedTuple):
    """One of the organisations that a window names: log(tokens) and log(share of the model's tokens)."""

    organisation: str
    tokens: int
    level: float
    share: float


def surging(state: Organisations, window: MetricWindow, params: SurgeParams) -> list[Surge]:
    """The organisations that explain a rise of this window's tokens, largest excess first; changes nothing."""
    if state.learned < params.ready_after:
        return []
    total = window.input_tokens + window.output_tokens
    found = [surge for top in _tops(window, total) if (surge := _surge(state, top, total, window.requests, params))]
    return sorted(found, key=lambda surge: (surge.expected - surge.tokens, surge.organisation))


def learn(state: Organisations, window: MetricWindow, params: SurgeParams, usual_window: bool = True) -> None:
    """Take the window's organisations in; in one that is not usual as a whole only the CUSUMs move.

    Those not named any more are forgotten first when there are too many.
    """
    known, tops = state.known, _tops(window, window.input_tokens + window.output_tokens)
    for top in tops:
        if (usual := known.get(top.organisation)) is not None:
            known[top.organisation] = _summed(usual, top, params)
    if not tops or not usual_window:
        return
    pace = _Pace(1.0 - 0.5 ** (1.0 / params.half_life), round(4 * params.half_life))
    level, share = min(top.level for top in tops), min(top.share for top in tops)
    named = {top.organisation for top in tops}
    for organisation, usual in known.items():
        if usual.level.mean > level and organisation not in named:
            known[organisation] = _moved(usual, level, share, pace)
    for top in tops:
        _learn_one(state, top, params, pace)
    state.least = _moved(state.least or Usual(Fading(level), Fading(share)), level, share, pace)
    state.learned += 1
    for organisation in list(known)[: -params.organisations_max]:
        del known[organisation]


def _summed(usual: Usual, top: _Top, params: SurgeParams) -> Usual:
    """With this window in its CUSUM and in the means of the last windows; what is usual stays."""
    return Usual(
        usual.level,
        usual.share,
        _cusum(usual, top.level, params),
        _smoothed(usual.recent_level, usual.level.mean, top.level, params),
        _smoothed(usual.recent_share, usual.share.mean, top.share, params),
        usual.busiest,
        usual.busiest_at,
    )


def _smoothed(recent: float | None, mean: float, value: float, params: SurgeParams) -> float:
    start = mean if recent is None else recent
    return start + params.recent_weight * (value - start)


def _learn_one(state: Organisations, top: _Top, params: SurgeParams, pace: _Pace) -> None:
    level, share = top.level, top.share
    usual = state.known.pop(top.organisation, None)  # so that the most recently named are last
    usual = usual or state.least or Usual(Fading(level), Fading(share))
    if state.learned >= params.ready_after:
        level, share = _winsorised(usual.level, level, params), _winsorised(usual.share, share, params)
    moved = _moved(usual, level, share, pace)
    if moved.level.mean >= _busiest(state, usual, params):
        moved = replace(moved, busiest=moved.level.mean, busiest_at=state.learned)
    state.known[top.organisation] = moved


def _busiest(state: Organisations, usual: Usual, params: SurgeParams) -> float:
    """The highest that its mean has been, halved every `busy_half_life` windows since."""
    return usual.busiest - (state.learned - usual.busiest_at) * LOG_2 / params.busy_half_life


def _surge(state: Organisations, top: _Top, total: int, requests: int, params: SurgeParams) -> Surge | None:
    usual = _usual(state, top.organisation)
    if usual is None or top.level <= usual.level.mean or top.share <= usual.share.mean:
        return None
    few = params.count_variance * total / max(requests, 1) / math.exp(usual.level.mean)
    limit = usual.level.mean + params.sigmas * math.hypot(_sigma(usual.level, params), math.sqrt(few))
    share_limit = usual.share.mean + params.share_sigmas * math.hypot(_sigma(usual.share, params), math.sqrt(few))
    at_once = top.level > limit and top.share > share_limit and _matters(state, usual, top.level, total, params)
    if not (at_once or _steadily(state, usual, top, total, limit, share_limit, params)):
        return None
    expected, share_expected = math.exp(usual.level.mean), math.exp(usual.share.mean)
    return Surge(
        top.organisation,
        top.tokens,
        expected,
        math.exp(limit),
        math.exp(top.share),
        min(share_expected, 1.0),
        min(math.exp(share_limit), 1.0),
    )


def _steadily(
    state: Organisations, usual: Usual, top: _Top, total: int, limit: float, share_limit: float, params: SurgeParams
) -> bool:
    """The CUSUM with this window, and both questions asked of the last windows' means, this one's in them."""
    if _cusum(usual, top.level, params) <= params.limit:
        return False
    level = _smoothed(usual.recent_level, usual.level.mean, top.level, params)
    share = _smoothed(usual.recent_share, usual.share.mean, top.share, params)
    return (
        level > usual.level.mean + _narrowed(params) * (limit - usual.level.mean)
        and share > usual.share.mean + _narrowed(params) * (share_limit - usual.share.mean)
        and _matters(state, usual, level, total, params)
    )


def _narrowed(params: SurgeParams) -> float:
    """How much less an exponential mean varies than single windows do."""
    return math.sqrt(params.recent_weight / (2.0 - params.recent_weight))


def _matters(state: Organisations, usual: Usual, level: float, total: int, params: SurgeParams) -> bool:
    usually = max(usual.level.mean, _busiest(state, usual, params))
    excess = math.exp(level) - math.exp(usually)
    return level >= usually + math.log(params.times_min) and excess >= params.share_min * max(total - excess, 1.0)


def _tops(window: MetricWindow, total: int) -> list[_Top]:
    return [
        _Top(top.organisation, top.tokens, math.log(top.tokens), math.log(top.tokens / max(total, top.tokens, 1)))
        for top in window.top_organisations
        if top.tokens > 0
    ]


def _usual(state: Organisations, organisation: str) -> Usual | None:
    return state.known.get(organisation) or state.least


def _sigma(fading: Fading, params: SurgeParams) -> float:
    return max(MEAN_DEVIATION_TO_SIGMA * fading.deviation, params.sigma_min)


def _winsorised(fading: Fading, value: float, params: SurgeParams) -> float:
    reach = params.sigmas * _sigma(fading, params)
    return min(max(value, fading.mean - reach), fading.mean + reach)


def _cusum(usual: Usual, level: float, params: SurgeParams) -> float:
    z = (level - usual.level.mean) / _sigma(usual.level, params)
    z = min(max(z, -params.clip), params.clip)
    return min(max(0.0, usual.cusum + z - params.slack), 2.0 * params.limit)


def _moved(usual: Usual, level: float, share: float, pace: _Pace) -> Usual:
    return Usual(
        _faded(usual.level, level, pace),
        _faded(usual.share, share, pace),
        usual.cusum,
        usual.recent_level,
        usual.recent_share,
        usual.busiest,
        usual.busiest_at,
    )


def _faded(fading: Fading, value: float, pace: _Pace) -> Fading:
    """One step of the fading means; the first windows count as a plain mean, so that nothing rests on the first."""
    weight, off = max(pace.weight, 1.0 / (fading.windows + 1)), value - fading.mean
    return Fading(
        fading.mean + weight * off,
        fading.deviation + weight * (abs(off) - fading.deviation),
        min(fading.windows + 1, pace.windows_max),
    )
