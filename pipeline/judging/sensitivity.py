"""How sensitive alerting is to one family of alerts of one model: k, moved by people's judgement and by noise.

    reach(anomaly) = score / (1 - score)           how many times its own threshold an anomaly is out
    an anomaly speaks for a family                 when its reach is at least k
    k = min(taught · noise, k_max)                 1 at first: everything that detection has found speaks

    taught   after each judged alert, with rate = false / judged of the last `memory_days`:
             false at rate > 5 %: · 1.15      true at rate < 1 %: / 1.05      else as it is    detectors.threshold
             every day ln(taught) · 2^(-1 / half_life_days): what nobody repeats fades in weeks
    noise    · `noise_step` with every alert that opens when the budget of the day is used up; 1 again the next day

With the σ of a forecast, k(t) · k is the mission's "baseline σ × k(t)": detection adapts k(t) without labels, by the
rate of its lone findings, and k is what people add. After `patient_after` false alerts within memory, one more window
must count than usual before an alert opens.

Never silent: a window in which a family breaks a hard limit (errors > 5 %, latency > 10 s) is weighed at k = 1; at
worst patience asks one window more of it.

Trade-off: each false alert costs recall of the anomalies between k and 1.15 k, and only of those: three of them hide
what is up to half again over its threshold, no incident that a person would see in a chart.

>>> s = Sensitivity()
>>> for day in range(3): teach(s, SensitivityParams(), false=True, now_us=day * DAY_US)
>>> in_force(s, SensitivityParams()), reason(s, SensitivityParams())
(1.5209, '3 of 3 alerts judged false in 28 days')
>>> pass_days(s, SensitivityParams(), days=14, now_us=17 * DAY_US); in_force(s, SensitivityParams())
1.2332
"""

from msgspec import Struct
from msgspec.structs import replace

from detectors.threshold import ThresholdParams, ThresholdState, judge_many
from pipeline.judging.families import OWN, Family, is_witness, leading, source_of
from pipeline.judging.metrics import ACCUMULATED, COMBINED, STEADY
from topics.fields import HOUR_US
from topics.records import Anomaly, FamilyThreshold, Judged

DAY_US = 24 * HOUR_US
NEVER_ALONE = frozenset(OWN) - {"price"}  # they come in pairs, or are weighed as hard limits
VERDICTS_MAX = 64
FORGOTTEN_BELOW = 1.01
DIGITS = 4  # of k: what is told is what holds


class SensitivityParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`threshold` is on the scale of k. `patience_max`: further windows that repeated false alerts can ask for."""

    threshold: ThresholdParams = ThresholdParams(k_start=1.0, k_min=1.0, k_max=4.0, judged_min=1)
    memory_days: int = 28
    half_life_days: float = 14.0
    patient_after: int = 3
    patience_max: int = 1
    noise_step: float = 1.5

    def __post_init__(self) -> None:
        if self.memory_days < 1 or self.half_life_days <= 0.0 or self.noise_step < 1.0:
            raise ValueError("memory_days and noise_step must be at least 1, half_life_days above 0")
        if self.patient_after < 1 or self.patience_max < 0 or self.threshold.judged_min != 1:
            raise ValueError("patient_after and threshold.judged_min must be 1 (the latter no more), patience_max >= 0")


class Sensitivity(Struct):
    """`false_us`, `true_us`: when alerts were judged so, newest last, as far as is remembered."""

    taught: float = 1.0
    noise: float = 1.0
    false_us: list[int] = []
    true_us: list[int] = []


def in_force(s: Sensitivity, params: SensitivityParams) -> float:
    """k, in [1, k_max]."""
    if s.taught == s.noise == 1.0:
        return 1.0
    return min(round(s.taught * s.noise, DIGITS), params.threshold.k_max)


def patience(s: Sensitivity, params: SensitivityParams) -> int:
    """How many more windows than usual must count."""
    return min(len(s.false_us) // params.patient_after, params.patience_max) if s.taught > 1.0 else 0


def teach(s: Sensitivity, params: SensitivityParams, false: bool, now_us: int, instead_of_us: int = -1) -> None:
    """A person has judged one alert, `instead_of_us` otherwise; one bounded step: up (or none) for false, else down."""
    _forget(s, params, now_us)
    own, other = (s.false_us, s.true_us) if false else (s.true_us, s.false_us)
    if instead_of_us in other:
        other.remove(instead_of_us)
    own.append(now_us)
    del own[:-VERDICTS_MAX]
    judged = len(s.false_us) + len(s.true_us)
    moved = round(judge_many(ThresholdState(s.taught), params.threshold, judged, len(s.false_us)).k, DIGITS)
    s.taught = max(s.taught, moved) if false else min(s.taught, moved)


def overspent(s: Sensitivity, params: SensitivityParams) -> None:
    """An alert has opened on a day whose budget is used up; one bounded step."""
    s.noise = min(round(s.noise * params.noise_step, DIGITS), params.threshold.k_max)


def pass_days(s: Sensitivity, params: SensitivityParams, days: int, now_us: int) -> None:
    """A day has begun, `days` after the last one seen: the budget is whole, and what was taught fades."""
    s.noise = 1.0
    faded = s.taught ** (0.5 ** (days / params.half_life_days))
    s.taught = round(faded, DIGITS) if faded >= FORGOTTEN_BELOW else 1.0
    _forget(s, params, now_us)


def _forget(s: Sensitivity, params: SensitivityParams, now_us: int) -> None:
    oldest_us = now_us - params.memory_days * DAY_US
    s.false_us = [time_us for time_us in s.false_us if time_us >= oldest_us]
    s.true_us = [time_us for time_us in s.true_us if time_us >= oldest_us]


def reach(anomaly: Anomaly) -> float:
    """How many times its own threshold; for the forest, whose threshold is a score, by the odds of both."""
    threshold = anomaly.expected if anomaly.metric == COMBINED else 0.5
    return _odds(anomaly.score) / max(_odds(threshold), 1e-9)


def _odds(score: float) -> float:
    return score / max(1.0 - score, 1e-9)


def weighed(judged: Judged, family: Family, k: float) -> Judged:
    """The window as the family sees it: without what does not reach k, unless it breaks a hard limit."""
    if k <= 1.0 or any(anomaly.detector == "limit" for anomaly in leading(family, judged)):
        return judged
    return replace(judged, anomalies=[anomaly for anomaly in judged.anomalies if reach(anomaly) >= k])


def plain(judged: Judged, family: Family, two_reach: float, one_reach: float) -> bool:
    """Whether the window leaves little doubt: two independent witnesses are each out by `two_reach` times their own
    threshold, or a single leading one by `one_reach` in a metric that does not jump (a p99 does); what
    has accumulated over windows has been weighed already."""
    leads = leading(family, judged)
    steady = [one for one in leads if one.metric in STEADY and one.detector not in NEVER_ALONE]
    if any(one.detector == ACCUMULATED or reach(one) >= one_reach for one in steady):
        return True
    far = {source_of(one) for one in judged.anomalies if is_witness(family, one) and reach(one) >= two_reach}
    return len(far) >= 2 and bool(leads)


def reason(s: Sensitivity, params: SensitivityParams) -> str:
    """Why k is what it is, for people; empty when it is as at first."""
    judged = len(s.false_us) + len(s.true_us)
    said = []
    if s.false_us:
        said.append(f"{len(s.false_us)} of {judged} alerts judged false in {params.memory_days} days")
    elif s.taught > 1.0:
        said.append(f"alerts judged false over {params.memory_days} days ago, fading")
    if s.noise > 1.0:
        said.append("the noise budget of the day is used up")
    return "; ".join(said)


def told(name: str, s: Sensitivity, params: SensitivityParams, windows_min: int) -> FamilyThreshold:
    """What is published of it; `windows_min` without patience."""
    return FamilyThreshold(
        family=name,
        k=in_force(s, params),
        taught=s.taught,
        windows_min=windows_min + patience(s, params),
        false_alerts=len(s.false_us),
        true_alerts=len(s.true_us),
        reason=reason(s, params),
    )
