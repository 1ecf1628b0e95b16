"""One metric of one model: the one-step forecast, the slow level, the threshold that adapts, and when to start over.

A finding needs statistical *and* practical weight: beyond k(t) · σ of the forecast, and at least `effect` away, the
same way, from both the forecast and the level of the last hours. So the return from an incident to the usual level
is no finding, however sudden, and neither is a daily slope.

What is anomalous is not learnt at full weight (detectors.arima winsorises, the baseline leaves it out). A level that
lasts is accepted: after `relearn_after` windows of findings in which PELT confirms a break, history counts from
that break on.
"""

from zlib import crc32

from msgspec import Struct
from msgspec.structs import replace

from detectors.arima import Arima, ArimaParams, ArimaState
from detectors.base import sigmas_between, squash
from detectors.pelt import Break, PeltParams, find_newest
from detectors.threshold import ThresholdParams, ThresholdState, judge
from pipeline.judging.baseline import Baseline, DriftParams, baseline, drifted
from pipeline.judging.findings import Finding, of_metric
from pipeline.judging.metrics import INDEX, LATENCIES, Measure, scaled, unscaled, upwards

BAND_SIGMAS = 3.0  # the interval shown for a CUSUM finding, which has none of its own
STAGGER = 18  # refits of different metrics and models fall into different windows of as many


class TrackParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`relearn_after` in windows. `k_min` 3: the mission's 2 σ flags one normal window in twenty of every metric."""

    arima: ArimaParams = ArimaParams(fit_points_max=120, accept_after=45)
    drift: DriftParams = DriftParams()
    pelt: PeltParams = PeltParams()
    threshold: ThresholdParams = ThresholdParams(k_min=3.0)
    relearn_after: int = 45


class Track(Struct):
    """`since`: window index from which history counts. `run`: windows with findings, running. `flagged`, `lone`: the
    last window exceeded k(t) · σ, and no other witness agreed."""

    arima: ArimaState
    k: ThresholdState
    cusum: float = 0.0
    since: int = 0
    run: int = 0
    flagged: bool = False
    lone: bool = False


class Seen(Struct):
    """What one metric looked like in one window. `value` on the judging scale; `interval` is the forecast (expected,
    low, high) in the metric's own unit, where there is one."""

    measure: Measure
    actual: float
    value: float
    base: Baseline | None
    findings: list[Finding]
    flagged: bool = False
    interval: tuple[float, float, float] | None = None

    @property
    def sigmas(self) -> float:
        """Distance from the slow level."""
        return sigmas_between(self.value, self.base.level, self.base.sigma) if self.base else 0.0

    def off_by(self) -> float:
        """Distance from the slow level as `upwards` counts it; 0 while there is none."""
        return upwards(self.measure, self.actual, unscaled(self.measure.metric, self.base.level)) if self.base else 0.0


def fresh(params: TrackParams) -> Track:
    return Track(arima=ArimaState(), k=ThresholdState(k=params.threshold.k_start))


def look(
    track: Track,
    model: str,
    measure: Measure,
    actual: float | None,
    history: list[float | None],
    flags: list[bool],
    params: TrackParams,
    effect: float,
) -> Seen | None:
    """Judge `actual` by what was learnt before; moves only the CUSUM. None when nothing was measured."""
    value = scaled(measure.metric, actual)
    if value is None or actual is None:
        return None
    base = baseline(history, flags, params.drift)
    seen = Seen(measure, actual, value, base, [])
    _by_forecast(seen, detector(track, model, measure, params), effect)
    if measure.metric in LATENCIES:
        track.cusum = drifted(track.cusum, value, base, params.drift)
        _by_drift(seen, track.cusum, history, params, effect)
    return seen


def learn(track: Track, model: str, measure: Measure, seen: Seen | None, lone: bool, params: TrackParams) -> None:
    """Take the window in, and let k(t) follow the window before it, which can be told to have been normal only now."""
    flagged = seen is not None and seen.flagged
    if not track.flagged or (track.lone and not flagged):
        track.k = judge(track.k, params.threshold, alarmed=track.flagged)
    track.flagged, track.lone = flagged, lone
    track.run = track.run + 1 if seen is not None and seen.findings else max(track.run - 1, 0)
    detector(track, model, measure, params).learn(None if seen is None else seen.value)


def start_over(track: Track, newest: Break | None, learned: int, params: TrackParams) -> None:
    """Accept a level that has lasted: `newest` is the break that PELT found in the windows learnt so far."""
    if track.run >= params.relearn_after and newest is not None and newest.age_windows >= params.relearn_after // 2:
        track.since, track.run, track.cusum = learned - newest.age_windows, 0, 0.0


def newest_break(history: list[float | None], value: float | None, params: PeltParams) -> Break | None:
    """PELT over the last windows with this one."""
    known = [x for x in [*history[-params.history_max + 1 :], value] if x is not None]
    return find_newest(known, params) if len(known) >= params.ready_after else None


def is_news(found: Break | None, measure: Measure, params: PeltParams, effect: float) -> bool:
    """Whether a break is recent, and large enough to matter."""
    if found is None or found.age_windows > params.recent_max:
        return False
    change = upwards(measure, unscaled(measure.metric, found.after), unscaled(measure.metric, found.before))
    return abs(change) >= effect and abs(sigmas_between(found.after, found.before, found.sigma)) > params.k


def detector(track: Track, model: str, measure: Measure, params: TrackParams) -> Arima:
    """The forecast with the threshold in force; the first refit staggered by model and metric."""
    stagger = (crc32(model.encode()) + 3 * INDEX[measure.metric]) % STAGGER
    arima = replace(params.arima, k=track.k.k, fit_after=params.arima.fit_after + stagger)
    return Arima(arima, track.arima)


def _by_forecast(seen: Seen, arima: Arima, effect: float) -> None:
    verdict = arima.score(seen.value)
    seen.flagged = verdict.anomalous
    if verdict.expected is None or verdict.low is None or verdict.high is None:
        return
    expected, low, high = (unscaled(seen.measure.metric, x) for x in (verdict.expected, verdict.low, verdict.high))
    seen.interval = (expected, low, high)
    if not verdict.anomalous:
        return
    moved = upwards(seen.measure, seen.actual, expected)
    enough = abs(moved) >= effect and (
        seen.base is None or (abs(seen.off_by()) >= effect and seen.off_by() * moved > 0)
    )
    if enough:
        seen.findings.append(of_metric(seen.measure.metric, "arima", verdict.score, seen.actual, expected, low, high))


def _by_drift(seen: Seen, total: float, history: list[float | None], params: TrackParams, effect: float) -> None:
    base = seen.base
    if base is None or total <= params.drift.limit:
        return
    latest = sorted([*(x for x in history[-2:] if x is not None), seen.value])
    metric = seen.measure.metric
    expected = unscaled(metric, base.level)
    if upwards(seen.measure, unscaled(metric, latest[len(latest) // 2]), expected) < effect:
        return
    low, high = (unscaled(metric, base.level + side * BAND_SIGMAS * base.sigma) for side in (-1, 1))
    score = squash(total, params.drift.limit)
    seen.findings.append(of_metric(metric, "cusum", score, seen.actual, expected, low, high))
