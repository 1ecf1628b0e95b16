"""Sequential tests on counts: has a stream of events stopped, do most answers fail? Decided as soon as it shows.

CUSUM, which is a chain of Wald's sequential probability ratio tests that starts again whenever normal has won:

    S_t = max(0, S_{t-1} + λ_t)                    rings when S_t >= h
    silence   λ = ((1 - left) · µ + k · ln left) / d
                   k events in a step where µ are usual: Poisson, rate µ against left · µ (left: 0.05)
    storm     λ = (e · ln(p1 / p0) + (n - e) · ln((1 - p1) / (1 - p0))) / d
                   e errors among n, at most p0 against p1 = (1 + p0) / 2: half way to failing altogether

A step has an inside: it may have begun normally. For silence the change can also have come right after the last event,
so S is at least (1 - left) · µ · (share of the step since that event) / d; without it the mean delay would be half
a step longer.

Threshold. With true ratios the mean time to a false alarm is at least e^h steps whatever the start (Lorden 1971), so

    h = ln(steps a month · tests / false alarms a month)          13.6 for ten seconds, 3 tests and one a month

which is the evidence of 13.6 events that stayed away, or of 3 errors in a row at 0.5 %: no stream of one event a second
can be called dead in under 14 s at that rate of false alarms, by anybody.

Real streams are burstier than Poisson, and errors come in runs. d >= 1 is their dispersion, learnt from all steps:
mean((k - µ)² / µ) with excesses cut at 3 deviations, and for errors mean((e - n p)²) / mean(n p (1 - p)). In the test,
µ is the lower of two exponential means, of minutes and of hours: after a surge the return to normal is no silence, and
an evening's decline is followed. What still went wrong teaches the threshold: `worst` remembers how high S came and
went again within `lasts_steps` (a lull, not an outage), fading over days, and h becomes 1.5 · worst, 4 · h at most.

Trade-off: false alarms are exponential in h, delay is linear: a tenth of the false alarms costs 2.3 more events. A
silence that would need more than `steps_max` steps to be told is not judged: the minute windows are as quick.

Wald, *Sequential tests of statistical hypotheses*, Annals of Mathematical Statistics 16, 1945; Page, *Continuous
inspection schemes*, Biometrika 41, 1954; Lorden, *Procedures for reacting to a change in distribution*, Annals of
Mathematical Statistics 42, 1971. Dispersion by quasi-likelihood: Wedderburn, Biometrika 61, 1974.

>>> params, level, alarm = SequentialParams(), Level(), Sum()
>>> for _ in range(90): learn(level, params, 50)                    # 5 events a second
>>> round(threshold(alarm, params), 1), round(usual(level), 1), round(level.dispersion, 2)
(13.6, 50.0, 1.0)
>>> for k, since in ((50, 0.0), (40, 0.2), (0, 1.0)):               # it stops 8 s into the second step
...     weigh(alarm, params, *silence(level, params, k, since))
...     round(alarm.value, 1), alarm.ringing
(0.0, False)
(9.5, False)
(54.3, True)
"""

import math
from typing import NamedTuple

import msgspec


class SequentialParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Half-lives and `..._steps` count steps (ten seconds); rates are fractions. See the top of this file."""

    false_alarms_per_month: float = 1.0
    steps_per_month: int = 259_200
    tests: int = 3
    left: float = 0.05
    half_life: float = 30.0
    half_life_slow: float = 720.0
    half_life_dispersion: float = 2_160.0
    half_life_worst: float = 60_480.0
    dispersion_start: float = 1.5
    ready_steps: int = 60
    steps_max: int = 6
    lasts_steps: int = 12
    frozen_steps_max: int = 360

    def __post_init__(self) -> None:
        if not (0.0 < self.left < 1.0 and self.false_alarms_per_month > 0.0 and self.dispersion_start >= 1.0):
            raise ValueError("left must be between 0 and 1, false_alarms_per_month > 0, dispersion_start >= 1")
        if min(self.half_life, self.half_life_slow, self.half_life_dispersion, self.half_life_worst) <= 0.0:
            raise ValueError("half-lives must be above 0")

    @property
    def h(self) -> float:
        """The threshold by Lorden's bound."""
        return max(math.log(self.steps_per_month * self.tests / self.false_alarms_per_month), 1.0)


class Level(msgspec.Struct):
    """How many events a step usually has, and how irregularly they come."""

    learned: int = 0
    fast: float = 0.0
    slow: float = 0.0
    dispersion: float = 1.0


class Failures(msgspec.Struct):
    """Fading sums of the squared differences between errors and those expected, and of the binomial variances."""

    squares: float = 0.0
    variances: float = 0.0


class Sum(msgspec.Struct):
    """A CUSUM. `steps`, `seen`, `of`: how long it has been above 0, and what it has counted since, of how many."""

    value: float = 0.0
    steps: float = 0.0
    seen: float = 0.0
    of: float = 0.0
    ringing: bool = False
    peak: float = 0.0
    worst: float = 0.0


class Evidence(NamedTuple):
    """Of one step: `gain` if the change came before it, `alone` if within it, with `since` of the step left. `seen` of
    `of` events. `judged`: whether the test may ring at all."""

    gain: float
    alone: float
    seen: float
    of: float
    since: float
    judged: bool


def usual(level: Level) -> float:
    """Events a step; the lower of the two means."""
    return min(level.fast, level.slow)


def threshold(alarm: Sum, params: SequentialParams) -> float:
    """`h`, or more where lulls have come near it or above."""
    h = params.h
    return min(max(h, 1.5 * alarm.worst), 4.0 * h)


def silence(level: Level, params: SequentialParams, count: int, since: float) -> tuple[Evidence, float]:
    """Evidence that the stream has stopped; `since`: share of the step, in [0, 1], that came after its last event.

    Returns what `weigh` takes: the evidence, and the evidence that a wholly silent step would be.
    """
    expected = usual(level)
    step = (1.0 - params.left) * expected / level.dispersion
    gain = step + count * math.log(params.left) / level.dispersion
    judged = level.learned >= params.ready_steps
    return Evidence(gain, step * since, float(count), expected, since, judged), step


def storm(params: SequentialParams, errors: int, trials: int, p0: float, dispersion: float) -> tuple[Evidence, float]:
    """Evidence that answers fail at (1 + p0) / 2 and no longer at `p0`; 0 < p0 < 1. Same form as `silence`."""
    p1 = (1.0 + p0) / 2.0
    gain = errors * math.log(p1 / p0) + (trials - errors) * math.log((1.0 - p1) / (1.0 - p0))
    return Evidence(gain / dispersion, 0.0, float(errors), float(trials), 0.0, True), math.inf


def weigh(alarm: Sum, params: SequentialParams, evidence: Evidence, per_step: float) -> None:
    """Add a step's evidence. `per_step`: the most that a step can bring; too little of it, and the test abstains."""
    h = threshold(alarm, params)
    held = alarm.value if evidence.gain > 0.0 else min(alarm.value, 2.0 * h)  # so that it ends soon once all is well
    total = held + evidence.gain
    if evidence.alone >= total and evidence.alone > 0.0:
        alarm.value, alarm.steps, alarm.seen, alarm.of = (
            evidence.alone,
            evidence.since,
            0.0,
            evidence.of * evidence.since,
        )
    elif total > 0.0:
        alarm.value, alarm.steps = total, alarm.steps + 1.0
        alarm.seen += evidence.seen
        alarm.of += evidence.of
    else:
        _over(alarm, params)
        return
    alarm.value = min(alarm.value, 4.0 * h)
    alarm.peak = max(alarm.peak, alarm.value)
    if evidence.judged and alarm.value >= h and per_step * params.steps_max >= h:
        alarm.ringing = True


def _over(alarm: Sum, params: SequentialParams) -> None:
    """Normal has won. What rose and passed soon was a lull, and the next one like it should not ring."""
    alarm.worst *= 0.5 ** (1.0 / params.half_life_worst)
    if alarm.steps <= params.lasts_steps:
        alarm.worst = max(alarm.worst, alarm.peak)
    alarm.value, alarm.steps, alarm.seen, alarm.of, alarm.ringing, alarm.peak = 0.0, 0.0, 0.0, 0.0, False, 0.0


def learn(level: Level, params: SequentialParams, count: int) -> None:
    """Take a step in, after it was judged. A burst counts at most as three times the usual, or three deviations."""
    level.learned += 1
    if level.learned == 1:
        level.fast = level.slow = float(count)
        level.dispersion = params.dispersion_start
        return
    if (mean := level.fast) > 0.0:
        off = min(count - mean, 3.0 * math.sqrt(level.dispersion * mean))
        share = level.learned + params.ready_steps
        level.dispersion = max(1.0, _towards(level.dispersion, off * off / mean, share, params.half_life_dispersion))
    clipped = min(float(count), 3.0 * level.fast + 10.0)
    level.fast = _towards(level.fast, clipped, level.learned, params.half_life)
    level.slow = _towards(level.slow, clipped, level.learned, params.half_life_slow)


def learn_failures(failures: Failures, params: SequentialParams, errors: int, trials: int, rate: float) -> None:
    """Take a step's errors in, after it was judged; `rate`: the usual one, in (0, 1)."""
    keep = 0.5 ** (1.0 / params.half_life_dispersion)
    failures.squares = failures.squares * keep + (errors - trials * rate) ** 2
    failures.variances = failures.variances * keep + trials * rate * (1.0 - rate)


def dispersion_of(failures: Failures, params: SequentialParams) -> float:
    """How much more than chance the errors of a step vary, at least 1; by `dispersion_start` while little is known."""
    known = failures.variances + 1.0
    return max(1.0, (failures.squares + params.dispersion_start) / known)


def _towards(mean: float, value: float, learned: int, half_life: float) -> float:
    """An exponential mean that starts as a plain one."""
    share: float = max(1.0 - 0.5 ** (1.0 / half_life), 1.0 / learned)
    return mean + share * (value - mean)
