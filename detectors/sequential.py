"""Sequential tests on counts: has a stream of events stopped, do most answers fail, or more than usual? Decided as soon
as it shows.

CUSUM, which is a chain of Wald's sequential probability ratio tests that starts again whenever normal has won:

    S_t = max(0, S_{t-1} + λ_t)                    rings when S_t >= h
    silence   λ = ((1 - left) · µ + k · ln left) / d
                   k events in a step where µ are usual: Poisson, rate µ against left · µ (left: 0.05)
    storm     λ = (e · ln(p1 / p0) + (n - e) · ln((1 - p1) / (1 - p0))) / d
                   e errors among n, at most p0 against p1 = (1 + p0) / 2: half way to failing altogether
    burst     the same against p1 = max(p0 + `more`, 2 · p0): a few points more, which takes minutes to tell

A step has an inside: it may have begun normally. For silence the change can also have come right after the last event,
so S is at least (1 - left) · µ · (share of the step since that event) / d; without it the mean delay would be half
a step longer.

Threshold. With true ratios the mean time to a false alarm is at least e^h steps whatever the start (Lorden 1971), so

    h = ln(steps a month · tests / false alarms a month)          13.9 for ten seconds, 4 tests and one a month

which is the evidence of 13.9 events that stayed away, or of 3 errors in a row at 0.5 %: no stream of one event a second
can be called dead in under 14 s at that rate of false alarms, by anybody.

Real streams are burstier than Poisson, and errors come in runs. d >= 1 is their dispersion, learnt from all steps:
mean((k - µ)² / µ) with excesses cut at 3 deviations, and for errors mean((e - n p)²) / mean(n p (1 - p)). In the test,
µ is the lower of two exponential means, of minutes and of hours: after a surge the return to normal is no silence, and
an evening's decline is followed. What still went wrong teaches the threshold: `worst` remembers how high S came and
went again within `lasts_steps` (a lull, not an outage), fading over days, and h becomes 1.25 · worst, 4 · h at most.

Trade-off: false alarms are exponential in h, delay is linear: a tenth of the false alarms costs 2.3 more events. A
silence that would need more than `steps_max` steps to be told is not judged: the minute windows are as quick.

Wald, *Sequential tests of statistical hypotheses*, Annals of Mathematical Statistics 16, 1945; Page, *Continuous
inspection schemes*, Biometrika 41, 1954; Lorden, *Procedures for reacting to a change in distribution*, Annals of
Mathematical Statistics 42, 1971. Dispersion by quasi-likelihood: Wedderburn, Biometrika 61, 1974.

>>> tests, level, alarm = Sequential(SequentialParams()), Level(), Sum()
>>> for _ in range(90): tests.learn(level, 50)                      # 5 events a second
>>> round(tests.threshold(alarm), 1), round(level.usual, 1), round(level.dispersion, 2)
(13.9, 50.0, 1.0)
>>> for k, since in ((50, 0.0), (40, 0.2), (0, 1.0)):               # it stops 8 s into the second step
...     tests.silence(alarm, level, k, since)
...     round(alarm.value, 1), alarm.ringing
(0.0, False)
(9.5, False)
(55.4, True)
"""

import math

import msgspec

WORST_TIMES, H_TIMES_MAX = 1.25, 4.0
PRIOR_VARIANCE = 5.0  # of errors: what is assumed of their dispersion is worth as many errors seen


class SequentialParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Half-lives and `..._steps` count steps (ten seconds); rates are fractions. See the top of this file."""

    false_alarms_per_month: float = 1.0
    steps_per_month: int = 259_200
    tests: int = 4
    left: float = 0.05
    more: float = 0.03
    over: float = 7.0
    half_life: float = 30.0
    half_life_slow: float = 720.0
    half_life_dispersion: float = 2_160.0
    half_life_worst: float = 60_480.0
    dispersion_start: float = 2.0
    ready_steps: int = 60
    steps_max: int = 6
    lasts_steps: int = 12
    frozen_steps_max: int = 360

    def __post_init__(self) -> None:
        if not (
            0.0 < self.more < 1.0
            and 0.0 < self.left < 1.0
            and self.false_alarms_per_month > 0.0
            and self.dispersion_start >= 1.0
        ):
            raise ValueError("left and more must be between 0 and 1, false_alarms_per_month > 0, dispersion_start >= 1")
        if min(self.half_life, self.half_life_slow, self.half_life_dispersion, self.half_life_worst) <= 0.0:
            raise ValueError("half-lives must be above 0")


class Level(msgspec.Struct):
    """How many events a step usually has, and how irregularly they come; `most`: expect no more than that."""

    learned: int = 0
    fast: float = 0.0
    slow: float = 0.0
    dispersion: float = 1.0
    most: float | None = None

    @property
    def usual(self) -> float:
        """Events a step; the lower of the two means, and no more than `most`."""
        lower = min(self.fast, self.slow)
        return lower if self.most is None else min(lower, self.most)


class Failures(msgspec.Struct):
    """Fading sums of the squared differences between errors and those expected, and of the binomial variances.

    `held_...`: those of the run that may yet prove a storm.
    """

    squares: float = 0.0
    variances: float = 0.0
    held_squares: float = 0.0
    held_variances: float = 0.0


class Sum(msgspec.Struct):
    """A CUSUM. `steps`, `seen`, `of`: how long it has been above 0, and what it has counted since, of how many.

    `peak`: how high it has come meanwhile; `worst`: how high lulls came, fading.
    """

    value: float = 0.0
    steps: float = 0.0
    seen: float = 0.0
    of: float = 0.0
    ringing: bool = False
    peak: float = 0.0
    worst: float = 0.0


class Sequential:
    """The tests at one setting; all state is in what they are given. `h` is the threshold by Lorden's bound."""

    def __init__(self, params: SequentialParams) -> None:
        self.params = params
        self.h = max(math.log(params.steps_per_month * params.tests / params.false_alarms_per_month), 1.0)
        self._missing = 1.0 - params.left
        self._log_left = math.log(params.left)
        self._fades = 0.5 ** (1.0 / params.half_life_worst)
        self._keeps = 0.5 ** (1.0 / params.half_life_dispersion)
        self._share = 1.0 - 0.5 ** (1.0 / params.half_life)
        self._share_slow = 1.0 - 0.5 ** (1.0 / params.half_life_slow)

    def threshold(self, alarm: Sum) -> float:
        """`h`, or more where lulls have come near it or above."""
        return min(max(self.h, WORST_TIMES * alarm.worst), H_TIMES_MAX * self.h)

    def silence(self, alarm: Sum, level: Level, count: int, since: float) -> None:
        """Weigh a step of a stream that may have stopped; `since`: share of the step after its last event, 0 to 1."""
        expected = level.usual
        per_step = self._missing * expected / level.dispersion
        gain = per_step + count * self._log_left / level.dispersion
        alone = per_step * since
        total = (alarm.value if gain > 0.0 else min(alarm.value, 2.0 * self.h)) + gain
        if alone >= total:
            self.over(alarm)
            alarm.steps, alarm.of = since, expected * since
            total = alone
        else:
            alarm.steps += 1.0
            alarm.seen += count
            alarm.of += expected
        self._reach(alarm, total, per_step, level.learned >= self.params.ready_steps)

    def storm(self, alarm: Sum, errors: int, trials: int, rate: float, dispersion: float) -> None:
        """Weigh a step's errors against `rate`, in (0, 1), the highest that is still usual."""
        self._failing(alarm, errors, trials, rate, (1.0 + rate) / 2.0, dispersion)

    def burst(self, alarm: Sum, errors: int, trials: int, rate: float, dispersion: float) -> None:
        """Weigh a step's errors against `rate`, in (0, 1): are they a few points more? Once it has rung, a fall by
        `over` nats ends it (1,000 to 1 for `rate`): the way down to 0 would take a thin stream an hour."""
        self._failing(alarm, errors, trials, rate, self.raised(rate), dispersion)
        alarm.value = min(alarm.value, 2.0 * self.threshold(alarm))
        alarm.peak = max(min(alarm.peak, 2.0 * self.threshold(alarm)), alarm.value)
        if alarm.ringing and alarm.value <= alarm.peak - self.params.over:
            self.over(alarm)

    def raised(self, rate: float) -> float:
        """The rate that `burst` looks for."""
        return min(max(rate + self.params.more, 2.0 * rate), (1.0 + rate) / 2.0)

    def _failing(self, alarm: Sum, errors: int, trials: int, rate: float, against: float, dispersion: float) -> None:
        gain = errors * math.log(against / rate) + (trials - errors) * math.log((1.0 - against) / (1.0 - rate))
        total = (alarm.value if gain > 0.0 else min(alarm.value, 2.0 * self.threshold(alarm))) + gain / dispersion
        if total <= 0.0:
            self.over(alarm)
            return
        alarm.steps += 1.0
        alarm.seen += errors
        alarm.of += trials
        self._reach(alarm, total, math.inf, judged=True)

    def _reach(self, alarm: Sum, total: float, per_step: float, judged: bool) -> None:
        """Ring where the evidence suffices; `per_step` is the most that a step can bring: too little is no matter."""
        alarm.value = min(total, H_TIMES_MAX * self.h)
        alarm.peak = max(alarm.peak, alarm.value)
        if judged and total >= self.h:
            h = self.threshold(alarm)
            alarm.ringing = alarm.ringing or (alarm.value >= h and per_step * self.params.steps_max >= h)

    def over(self, alarm: Sum) -> None:
        """Normal has won. What rose and passed soon was a lull, and the next one like it should not ring."""
        alarm.worst *= self._fades
        if alarm.steps <= self.params.lasts_steps:
            alarm.worst = max(alarm.worst, alarm.peak)
        alarm.value = alarm.steps = alarm.seen = alarm.of = alarm.peak = 0.0
        alarm.ringing = False

    def learn(self, level: Level, count: int) -> None:
        """Take a step in, after it was judged. A burst counts at most as three times the usual, or 3 deviations."""
        level.learned += 1
        if level.learned == 1:
            level.fast = level.slow = float(count)
            level.dispersion = self.params.dispersion_start
            return
        share, mean = 1.0 / level.learned, level.fast
        if mean > 0.0:
            off = min(count - mean, 3.0 * math.sqrt(level.dispersion * mean))
            slowly = max(1.0 - self._keeps, 1.0 / (level.learned + self.params.ready_steps))
            level.dispersion = max(1.0, level.dispersion + slowly * (off * off / mean - level.dispersion))
        clipped = min(float(count), 3.0 * mean + 10.0)
        level.fast += max(self._share, share) * (clipped - level.fast)
        level.slow += max(self._share_slow, share) * (clipped - level.slow)

    def learn_failures(self, failures: Failures, alarm: Sum, errors: int, trials: int, rate: float) -> None:
        """Take a step's errors in, after it was judged; `rate`: the usual one, in (0, 1).

        A run of errors counts once it is over, and not at all if it rang: a storm would teach that storms are usual.
        """
        if alarm.ringing:
            failures.held_squares = failures.held_variances = 0.0
            return
        expected = trials * rate
        failures.held_squares += (errors - expected) ** 2
        failures.held_variances += expected * (1.0 - rate)
        if alarm.value == 0.0:
            failures.squares = failures.squares * self._keeps + failures.held_squares
            failures.variances = failures.variances * self._keeps + failures.held_variances
            failures.held_squares = failures.held_variances = 0.0

    def dispersion(self, failures: Failures) -> float:
        """How much more than chance the errors of a step vary, at least 1; as at the start while little is known."""
        prior = PRIOR_VARIANCE * self.params.dispersion_start
        return max(1.0, (failures.squares + prior) / (failures.variances + PRIOR_VARIANCE))
