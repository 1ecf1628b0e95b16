"""One series of any cadence, judged row by row by several detectors that agree on one scale: evidence.

    evidence_t = weighted mean over the detectors of -log10 (tail probability of row t by that detector's own past)
    strength_t = evidence_t / log10(rows a week)
    bar_t      = strength of the row that spoke last, falling in a straight line to 0 within 60 rows or 8 hours
    score_t    = strength / (strength + threshold) when strength_t > bar_t, else 0;      alarm when score > 0.5

Six detectors, each of which misses what another sees: `surprise` (beyond everything that would explain it, in units of
the worst that is usual), `density` (a value where hardly any were), `motif` (a shape that was not seen), `daily` (not
what this hour usually brings), `volatility` (moves more, or less, than it does), `deviation` (far from the last hours,
however often that has been). The mean of logarithms is a soft vote: it takes one detector that is certain or several
that wonder, and one that still warms up counts nothing. Each has one voice, `surprise` up to two: its unit, the worst
that is usual, is a high quantile, and as good as the part of its 600 blocks that it has seen (on a one-minute series
nine days fill them; an hourly one of a month has 36, and there a louder voice was mostly wrong).

Strength is what makes one threshold fit all cadences: a row such as chance brings once a week has strength 1 whether
the week has 168 rows or 10,080. The shipped 0.55 is lower since detectors that agree are better than their mean.

An incident is one alarm, not one a row: after a row has spoken, what follows must say *more* than it did, until the bar
has come down. The bar does not depend on the threshold, so `score` cut at any height gives few, separate alarms.

Nothing is fitted, so there is nothing to refit. Figures, costs, what each detector contributes and how little the
constants matter: `docs/detection.md`, made by `python -m detectors.evaluate`.

Trade-off: a lasting incident is alarmed at its onset and again only when it grows worse; a second incident of the same
size within the hour is taken for the same one.

Combining p-values by the sum of their logarithms: Fisher, *Statistical Methods for Research Workers*, 1932, section
21.1; averaging anomaly detectors: Aggarwal and Sathe, *Outlier Ensembles*, Springer 2017.

>>> detector = SeriesDetector()
>>> rows = [detector.step(60_000_000 * i, 10.0 + i % 3) for i in range(300)]
>>> max(score for score, _ in rows) < 0.5, detector.step(60_000_000 * 300, 30.0)[1]
(True, True)
"""

import math
from collections.abc import Mapping
from operator import mul
from typing import Any

import msgspec

from detectors.base import ABSTAIN, Detector, Verdict, finite, squash
from detectors.calibrated import evidence_of
from detectors.daily import Daily, DailyParams, DailyState
from detectors.density import Density, DensityParams, DensityState
from detectors.deviation import Deviation, DeviationParams, DeviationState
from detectors.motif import Motif, MotifParams, MotifState
from detectors.season import DAY_US
from detectors.surprise import Surprise, SurpriseParams, SurpriseState
from detectors.volatility import Volatility, VolatilityParams, VolatilityState

AnyDetector = Detector[tuple[int, float | None], Any]


class AlarmParams(msgspec.Struct, frozen=True):
    """The bar starts `margin` over the strength that has spoken and is gone after `rest_rows` or `rest_us_max`."""

    rest_rows: int = 60
    rest_us_max: int = 8 * 3_600_000_000
    margin: float = 0.2


class AlarmState(msgspec.Struct):
    """The bar as it was raised, when, and the rows since."""

    bar: float = 0.0
    raised_us: int = 0
    rows: int = 0


class Alarm:
    """Strength in, strength that says something new out."""

    def __init__(self, params: AlarmParams, state: AlarmState) -> None:
        self.params = params
        self.state = state

    def step(self, time_us: int, strength: float) -> float:
        """`strength` when it is over the bar, which it then raises; else 0.0.

        ```
        strength   0.1  0.6  0.65  0.3  0.9  0.4  …  0.6
        out        0.1  0.6  0.0   0.0  0.9  0.0  …  0.6
        ```
        """
        state, p = self.state, self.params
        state.rows += 1
        gone = max(state.rows / p.rest_rows, (time_us - state.raised_us) / p.rest_us_max)
        if strength <= state.bar * (1.0 - gone) or strength == 0.0:
            return 0.0
        state.bar, state.raised_us, state.rows = strength + p.margin, time_us, 0
        return strength


class SeriesParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`threshold` of strength, shipped for all series and cadences."""

    threshold: float = 0.55
    surprise: SurpriseParams = SurpriseParams()
    density: DensityParams = DensityParams()
    motif: MotifParams = MotifParams()
    daily: DailyParams = DailyParams()
    volatility: VolatilityParams = VolatilityParams()
    deviation: DeviationParams = DeviationParams()
    alarm: AlarmParams = AlarmParams()


class SeriesState(msgspec.Struct):
    """What `SeriesDetector` checkpoints; bounded, see `docs/detection.md` for bytes."""

    surprise: SurpriseState = msgspec.field(default_factory=SurpriseState)
    density: DensityState = msgspec.field(default_factory=DensityState)
    motif: MotifState = msgspec.field(default_factory=MotifState)
    daily: DailyState = msgspec.field(default_factory=DailyState)
    volatility: VolatilityState = msgspec.field(default_factory=VolatilityState)
    deviation: DeviationState = msgspec.field(default_factory=DeviationState)
    alarm: AlarmState = msgspec.field(default_factory=AlarmState)


class SeriesDetector:
    """What `tidegate detect` runs over a file: a score for every row, and few, single alarm rows."""

    def __init__(self, params: SeriesParams | None = None, state: SeriesState | None = None) -> None:
        self.params = params or SeriesParams()
        self.state = state or SeriesState()
        self.members = members(self.params, self.state)
        self.voices: dict[str, float] = {}  # how strongly each member spoke in the last row that had a value
        self.loudest: float | None = None  # the strongest of them; None in a row without a value
        self._alarm = Alarm(self.params.alarm, self.state.alarm)

    def step(self, time_us: int, value: float | None) -> tuple[float, bool]:
        """Judge the next row, then learn it.

        time_us  microseconds since any epoch in which days begin at multiples of 86,400 s; may repeat or step back
        value    None or NaN for an empty cell
        returns  score in [0, 1], over 0.5 for an alarm; 0.0 during warm-up, for an empty value and for what an earlier
                 row has said; and the alarm
        """
        verdict, flag = self.judge(time_us, value)
        return verdict.score, flag

    def judge(self, time_us: int, value: float | None) -> tuple[Verdict, bool]:
        """As `step`, with a whole verdict: a report draws its band (`expected`, `low`, `high`, those of `surprise`)."""
        known = finite(value)
        verdicts = {name: member.step((time_us, known)) for name, member in self.members.items()}
        if known is None:
            self.loudest = None
            return ABSTAIN, False
        each = [evidence_of(verdict.score) for verdict in verdicts.values()]
        decades = decades_a_week(self.state.surprise.season.slot_us)
        self.voices = {name: evidence / decades for name, evidence in zip(verdicts, each, strict=True)}
        self.loudest = max(self.voices.values())
        weights = weights_of(self.members)
        strength = sum(map(mul, weights, each)) / sum(weights) / decades
        new, threshold = self._alarm.step(time_us, strength), self.params.threshold
        score, flag = squash(new, threshold), new > threshold
        return msgspec.structs.replace(verdicts["surprise"], score=score, anomalous=flag), flag


def weights_of(members: Mapping[str, AnyDetector]) -> list[float]:
    """The weight of each detector in the mean of evidence, as things stand."""
    return [1.0 + member.known if isinstance(member, Surprise) else 1.0 for member in members.values()]


def decades_a_week(cadence_us: int) -> float:
    """log10 of the rows a week; as for days while the cadence is not known (0), and for whatever is slower.

    >>> round(decades_a_week(60_000_000), 2), round(decades_a_week(3_600_000_000), 2), round(decades_a_week(0), 2)
    (4.0, 2.23, 0.85)
    """
    return math.log10(7.0 * DAY_US / min(cadence_us or DAY_US, DAY_US))


def members(params: SeriesParams, state: SeriesState) -> dict[str, AnyDetector]:
    """The detectors of the ensemble by name, working on the parts of `state`."""
    return {
        "surprise": Surprise(params.surprise, state.surprise),
        "density": Density(params.density, state.density),
        "motif": Motif(params.motif, state.motif),
        "daily": Daily(params.daily, state.daily),
        "volatility": Volatility(params.volatility, state.volatility),
        "deviation": Deviation(params.deviation, state.deviation),
    }
