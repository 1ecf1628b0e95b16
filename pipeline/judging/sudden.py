"""The fast path of detection: sequential tests on every model's ten seconds, for alerts that cannot wait for minutes.

    requests     silence of requests: an outage before the model, or nobody comes         -> traffic_drop
    completions  silence of answers while requests go on: everything hangs                -> no_answers
    error_rate   errors among completions, at half way from the usual rate to 1 or more   -> error_burst
                 or a few points more, added up over as many moments as it takes

The tests are those of `detectors.sequential`. Answers trail requests, so for `trailing_moments` after requests were
silent their absence proves nothing. A finding is told when its test rings and in the `told_moments` after that, since
the first ten seconds may have begun normally and understate it; from then on the minute windows tell.

An outage that leaves more than `gone` of the requests is told only when the next ten seconds are as empty: a slice that
is late or was lost looks the same, and is over by then.

A whole minute that was silent says so too (`silence`), and so does one whose errors are up while the test of a few
points more rings (`accumulated`), which confirms an alert, or withdraws it by its absence.

What a ringing test has found is not learnt, for `frozen_steps_max` moments: an outage must not become the usual.
"""

from typing import NamedTuple

from msgspec import Struct, field

from detectors.counts import Rate
from detectors.sequential import Failures, Level, Sequential, SequentialParams, Sum
from pipeline.judging.findings import Finding, of_metric
from pipeline.judging.metrics import ACCUMULATED, COUNTED, trials
from topics.fields import SECOND_US
from topics.links import Moment
from topics.records import MetricWindow

SEQUENTIAL = "sequential"


class FastParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`errors_min`: fewer failures are no storm, however unlikely. `excess` times the usual error rate, and `rate_min`,
    are no burst; `effect` is the least that matters. `going_on`: the least share of the usual requests
    at which silent answers mean that they hang. `minute_left`: a minute, or a second moment, with no more than this
    share is silent; one moment is with no more than `gone`."""

    tests: SequentialParams = SequentialParams()
    errors_min: int = 5
    excess: float = 1.2
    rate_min: float = 0.003
    effect: float = 0.02
    going_on: float = 0.3
    minute_left: float = 0.2
    gone: float = 0.1
    trailing_moments: int = 12
    told_moments: int = 6


class Fast(Struct, tag="fast"):
    """What the tests know of one model. `rang`: moments since a test began to ring, by metric; 0 while it does not.

    `trailing`: moments until silent answers mean something again. `frozen`: moments not learnt in a row.
    """

    last_start_us: int = -1
    moment_us: int = 10 * SECOND_US
    requests: Level = field(default_factory=Level)
    completions: Level = field(default_factory=Level)
    failures: Failures = field(default_factory=Failures)
    outage: Sum = field(default_factory=Sum)
    hang: Sum = field(default_factory=Sum)
    storm: Sum = field(default_factory=Sum)
    burst: Sum = field(default_factory=Sum)
    outage_rang: int = 0
    hang_rang: int = 0
    storm_rang: int = 0
    burst_rang: int = 0
    trailing: int = 0
    frozen: int = 0


class Found(NamedTuple):
    """A finding, and since when the evidence for it speaks."""

    finding: Finding
    started_us: int


class Glance:
    """The tests at one setting; what they know of a model is in its `Fast`."""

    def __init__(self, params: FastParams) -> None:
        self.params = params
        self.tests = Sequential(params.tests)

    def look(self, fast: Fast, moment: Moment, usual: Rate) -> list[Found]:
        """Judge a moment by what was learnt before it, then learn it. `usual`: what minutes have taught of errors."""
        self._weigh_outage(fast, moment)
        self._weigh_hang(fast, moment)
        trials = max(moment.completions, moment.errors)
        if moment.errors or fast.burst.value or fast.storm.value:
            dispersion = self.tests.dispersion(fast.failures)
            self.tests.storm(fast.storm, moment.errors, trials, usual.tolerated, dispersion)
            self.tests.burst(fast.burst, moment.errors, trials, self._quiet(usual), dispersion)
        found = self._told(fast, moment, usual)
        self._learn(fast, moment, trials, usual)
        fast.last_start_us, fast.moment_us = moment.start_us, moment.end_us - moment.start_us
        return found

    def _quiet(self, usual: Rate) -> float:
        """The highest error rate that is no burst. Less than what a single minute tolerates (`Rate.tolerated`): how
        much errors vary is in their dispersion."""
        return min(max(self.params.rate_min, self.params.excess * usual.baseline), 1.0 - 1e-9)

    def _weigh_outage(self, fast: Fast, moment: Moment) -> None:
        since = _since(moment, moment.requests, moment.last_request_us)
        self.tests.silence(fast.outage, fast.requests, moment.requests, since)

    def _weigh_hang(self, fast: Fast, moment: Moment) -> None:
        """Only while requests go on, and after they have been going on for a while."""
        if fast.outage.value > self.tests.h / 2.0:
            fast.trailing = self.params.trailing_moments
        elif fast.trailing:
            fast.trailing -= 1
        if fast.trailing or moment.requests < self.params.going_on * fast.requests.usual:
            self.tests.over(fast.hang)
            return
        since = _since(moment, moment.completions, moment.last_completion_us)
        self.tests.silence(fast.hang, fast.completions, moment.completions, since)

    def _told(self, fast: Fast, moment: Moment, usual: Rate) -> list[Found]:
        fast.outage_rang = fast.outage_rang + 1 if fast.outage.ringing else 0
        fast.hang_rang = fast.hang_rang + 1 if fast.hang.ringing else 0
        storming = fast.storm.ringing and fast.storm.seen >= self.params.errors_min
        fast.storm_rang = fast.storm_rang + 1 if storming else 0
        fast.burst_rang = fast.burst_rang + 1 if self._bursting(fast, usual) else 0
        if not (fast.outage_rang or fast.hang_rang or fast.storm_rang or fast.burst_rang):
            return []
        found, told = list[Found](), range(1, self.params.told_moments + 1)
        if fast.outage_rang in told and self._empty(fast, moment):
            found.append(self._silent(fast.outage, "requests", moment))
        if fast.hang_rang in told:
            found.append(self._silent(fast.hang, "completions", moment))
        if fast.storm_rang in told:
            found.append(self._failing(fast.storm, usual.tolerated, (1.0 + usual.tolerated) / 2.0, moment))
        elif fast.burst_rang in told:
            quiet = self._quiet(usual)
            found.append(self._failing(fast.burst, quiet, self.tests.raised(quiet), moment))
        return found

    def _empty(self, fast: Fast, moment: Moment) -> bool:
        """Whether hardly any requests are left, or few again."""
        again = fast.outage_rang > 1 and moment.requests <= self.params.minute_left * fast.requests.usual
        return again or fast.outage.seen <= self.params.gone * fast.outage.of

    def _bursting(self, fast: Fast, usual: Rate) -> bool:
        """Rings, with enough errors to matter."""
        test = fast.burst
        return test.ringing and test.seen >= self.params.errors_min and self._matters(test.seen, test.of, usual)

    def _matters(self, errors: float, of: float, usual: Rate) -> bool:
        return errors >= (usual.baseline + self.params.effect) * of > 0.0

    def _silent(self, test: Sum, metric: str, moment: Moment) -> Found:
        started_us = _started_us(test, moment)
        sentence = (
            f"{test.seen:,.0f} {metric} in {_seconds(started_us, moment.end_us)} s where {test.of:,.0f} are usual: "
            f"too few for chance by the sequential test."
        )
        low, high = self.params.tests.left * test.of, 2.0 * test.of
        finding = Finding(metric, SEQUENTIAL, self._score(test), test.seen, test.of, low, high, sentence)
        return Found(finding, started_us)

    def _failing(self, test: Sum, usual: float, against: float, moment: Moment) -> Found:
        """`usual`: the highest rate that is; `against`: the one that the test looks for."""
        started_us = _started_us(test, moment)
        rate = test.seen / test.of
        sentence = (
            f"{test.seen:,.0f} of {test.of:,.0f} answers failed in {_seconds(started_us, moment.end_us)} s, "
            f"where up to {100 * usual:.1f} % is usual: too many for chance by the sequential test."
        )
        return Found(
            Finding("error_rate", SEQUENTIAL, self._score(test), rate, usual, 0.0, against, sentence), started_us
        )

    def _score(self, test: Sum) -> float:
        return test.value / (test.value + self.tests.threshold(test))

    def _learn(self, fast: Fast, moment: Moment, trials: int, usual: Rate) -> None:
        """While nothing rings; or when it has been ringing for so long that this is how it is now."""
        if trials:
            self.tests.learn_failures(fast.failures, fast.burst, moment.errors, trials, usual.baseline)
        if fast.outage.ringing or fast.hang.ringing or fast.storm.ringing:
            fast.frozen += 1
            if fast.frozen <= self.params.tests.frozen_steps_max:
                return
        else:
            fast.frozen = 0
        self.tests.learn(fast.requests, moment.requests)
        self.tests.learn(fast.completions, moment.completions)

    def expect(self, fast: Fast, window: MetricWindow, were: float | None) -> None:
        """From now on expect no more than `were` requests a window, and as many answers; None: what has been learnt."""
        moments = (window.end_us - window.start_us) / fast.moment_us
        fast.requests.most = fast.completions.most = None if were is None else were / moments

    def minute(self, fast: Fast, window: MetricWindow, usual: Rate) -> list[Finding]:
        """The whole minute's word on what the moments tell, from a model's first minutes on, when forecasts are not
        ready yet: silence, and errors that have added up."""
        n = trials(window)
        bursting = self._bursting(fast, usual) and self._matters(window.errors, n, usual)
        return self._silences(fast, window) + (
            [self._added_up(fast.burst, window.errors / n, usual)] if bursting else []
        )

    def _added_up(self, test: Sum, rate: float, usual: Rate) -> Finding:
        return of_metric(COUNTED, ACCUMULATED, self._score(test), rate, usual.baseline, 0.0, self._quiet(usual))

    def _silences(self, fast: Fast, window: MetricWindow) -> list[Finding]:
        moments = (window.end_us - window.start_us) / fast.moment_us
        found = [self._missed("requests", fast.requests, window.requests, moments)]
        going_on = window.requests >= self.params.going_on * fast.requests.usual * moments
        if going_on and not fast.trailing:
            found.append(self._missed("completions", fast.completions, window.completions, moments))
        return [finding for finding in found if finding is not None]

    def _missed(self, metric: str, level: Level, count: int, moments: float) -> Finding | None:
        expected = level.usual * moments
        evidence = (expected - count) / level.dispersion
        most = self.params.minute_left * expected
        if level.learned < self.params.tests.ready_steps or count > most or evidence < self.tests.h:
            return None
        score = evidence / (evidence + self.tests.h)
        return of_metric(metric, "silence", score, float(count), expected, most, 2.0 * expected)


def _since(moment: Moment, count: int, last_us: int) -> float:
    """The share of the moment after its last event; 0 where slices do not say when that was."""
    if not last_us:
        return 0.0 if count else 1.0
    return min((moment.end_us - last_us) / (moment.end_us - moment.start_us), 1.0)


def _started_us(test: Sum, moment: Moment) -> int:
    return moment.end_us - round(test.steps * (moment.end_us - moment.start_us))


def _seconds(started_us: int, end_us: int) -> int:
    """Whole seconds of evidence, at least one."""
    return max((end_us - started_us) // SECOND_US, 1)
