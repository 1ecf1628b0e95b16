"""What is remembered of one metric of one model: forecast, seasonal trust, threshold that adapts, when to start over.

What is anomalous is not learnt at full weight (detectors.arima winsorises, the baseline leaves it out). A level that
lasts is accepted: after `relearn_after` windows of findings in which PELT confirms a break, history counts from
that break on. Silence is no such level: a fall to a tenth or less is an outage, the forecast waits for its end, and
traffic that is back is no surge. (After four hours it is accepted all the same: the baseline has nothing else left.)

Everything is learnt anew once a day (`arima.refit_every`), each metric of each model at a minute of its own, which a
hash says, so that no window waits for many: the seasonal profile, and the ARIMA of what remains above it. The first fit
comes after `arima.fit_after` windows and up to FIRST_SPREAD more; the second, which is the first with a profile, after
a day and up to DAY_SPREAD windows more.
"""

import math
from zlib import crc32

from msgspec import Struct, field

from detectors.arima import ArimaParams, ArimaState
from detectors.base import sigmas_between
from detectors.pelt import Break, PeltParams, find_newest
from detectors.seasonal import Trust
from detectors.threshold import ThresholdParams, ThresholdState, judge
from pipeline.judging import former
from pipeline.judging.baseline import DriftParams
from pipeline.judging.former import Former, FormerParams
from pipeline.judging.metrics import FORECAST, Measure, unscaled, upwards
from pipeline.judging.season import Sums

FIRST_SPREAD = 90
SILENCE = math.log(10.0)  # on the judging scale: a fall to a tenth
DAY_WINDOWS, DAY_SPREAD = 1440, 360


class TrackParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`relearn_after` in windows. `k_min` 3: the mission's 2 σ flags one normal window in twenty of every metric.

    `seasonal`: whether profiles are learnt; without, forecasts and levels follow the last hours only."""

    arima: ArimaParams = ArimaParams(accept_after=45)
    drift: DriftParams = DriftParams()
    pelt: PeltParams = PeltParams()
    threshold: ThresholdParams = ThresholdParams(k_min=3.0)
    former: FormerParams = FormerParams()
    relearn_after: int = 45
    seasonal: bool = True


class Track(Struct):
    """`since`: window index from which history counts. `run`: windows with findings, running. `flagged`, `lone`: the
    last window exceeded k(t) · σ, and no other witness agreed. `newest`: the last break, while the level is off."""

    arima: ArimaState
    k: ThresholdState
    cusum: float = 0.0
    since: int = 0
    run: int = 0
    flagged: bool = False
    lone: bool = False
    newest: Break | None = None
    former: Former = field(default_factory=Former)
    trust: Trust = field(default_factory=Trust)
    sums: Sums = field(default_factory=Sums)


def fresh(params: TrackParams, model: str, metric: int) -> Track:
    """Of a model never seen; `metric` counts FORECAST."""
    due = windows_to_fit(params, model, metric, 0)
    return Track(ArimaState(fit_due=due), ThresholdState(k=params.threshold.k_start))


def windows_to_fit(params: TrackParams, model: str, metric: int, learned: int) -> int:
    """Windows from now, when `learned` have been, to the next fit. The first two are spread widely, later ones evenly.

    >>> [windows_to_fit(TrackParams(), "m", 0, learned) for learned in (0, 30, 1440, 2880)]
    [109, 1726, 1265, 1265]
    """
    share = (crc32(model.encode()) / 2**32 + metric / len(FORECAST)) % 1.0
    if learned < params.arima.fit_after:
        return params.arima.fit_after + int(FIRST_SPREAD * share) - learned
    if learned < DAY_WINDOWS:
        return DAY_WINDOWS + int(DAY_SPREAD * share) - learned
    every = params.arima.refit_every
    return every // 2 + (int(every * share) - learned - every // 2) % every


def learn(
    track: Track, found: bool, flagged: bool, lone: bool, params: TrackParams, level: float = math.nan, window: int = 0
) -> None:
    """Let k(t) follow the window before this one, which can be told to have been normal only now.

    found    whether this window has findings in this metric; `flagged`: it is beyond k(t) · σ of its forecast
    level    of the last hours, in this window, which is the `window`-th of the model
    """
    if found:
        former.follow(track.former, track.run, level, window, params.former)
    if not track.flagged or (track.lone and not flagged):
        track.k = judge(track.k, params.threshold, alarmed=track.flagged)
    track.flagged, track.lone = flagged, lone
    track.run = track.run + 1 if found else max(track.run - 1, 0)


def start_over(track: Track, newest: Break | None, learned: int, params: TrackParams) -> None:
    """Accept a level that has lasted: `newest` is the break that PELT found in the windows learnt so far."""
    if newest is not None and newest.before - newest.after > SILENCE:
        return
    if track.run >= params.relearn_after and newest is not None and newest.age_windows >= params.relearn_after // 2:
        track.since, track.run, track.cusum = learned - newest.age_windows, 0, 0.0


def newest_break(values: list[float], params: PeltParams) -> Break | None:
    """PELT over the last windows, this one included."""
    known = values[-params.history_max :]
    return find_newest(known, params) if len(known) >= params.ready_after else None


def is_news(found: Break | None, measure: Measure, params: PeltParams, effect: float) -> bool:
    """Whether a break is recent, and large enough to matter."""
    if found is None or found.age_windows > params.recent_max:
        return False
    change = upwards(measure, unscaled(measure.metric, found.after), unscaled(measure.metric, found.before))
    return abs(change) >= effect and abs(sigmas_between(found.after, found.before, found.sigma)) > params.k
