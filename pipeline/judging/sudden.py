"""The fast path of detection: sequential tests on every model's ten seconds, for alerts that cannot wait for minutes.

    requests     silence of requests: an outage before the model, or nobody comes         -> traffic_drop
    completions  silence of answers while requests go on: everything hangs                -> no_answers
    error_rate   errors among completions, at half way from the usual rate to 1 or more   -> error_burst

The tests are those of `detectors.sequential`. Answers trail requests, so for `trailing_moments` after requests were
silent their absence proves nothing. A finding is told when its test rings and in the `told_moments` after that, since
the first ten seconds may have begun normally and understate it; from then on the minute windows tell.

What a ringing test has found is not learnt, for `frozen_steps_max` moments: an outage must not become the usual.
"""

from typing import NamedTuple

from msgspec import Struct, field

from detectors import sequential
from detectors.counts import Rate
from detectors.sequential import Evidence, Failures, Level, SequentialParams, Sum
from pipeline.judging.findings import Finding, of_metric
from topics.fields import SECOND_US
from topics.links import Moment
from topics.records import MetricWindow

SEQUENTIAL = "sequential"


class FastParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`errors_min`: fewer failures are no storm, however unlikely. `going_on`: the least share of the usual requests
    at which silent answers mean that they hang."""

    tests: SequentialParams = SequentialParams()
    errors_min: int = 5
    going_on: float = 0.3
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
    outage_rang: int = 0
    hang_rang: int = 0
    storm_rang: int = 0
    trailing: int = 0
    frozen: int = 0


class Found(NamedTuple):
    """A finding, and since when the evidence for it speaks."""

    finding: Finding
    started_us: int


def look(fast: Fast, moment: Moment, usual: Rate, params: FastParams) -> list[Found]:
    """Judge a moment by what was learnt before it, then learn it. `usual`: what minutes have taught of errors."""
    tests, error_rate, usual_error_rate = params.tests, usual.baseline, usual.tolerated
    _weigh_outage(fast, moment, tests)
    _weigh_hang(fast, moment, params)
    trials = max(moment.completions, moment.errors)
    if trials or fast.storm.value:
        dispersion = sequential.dispersion_of(fast.failures, tests)
        evidence = sequential.storm(tests, moment.errors, trials, usual_error_rate, dispersion)
        sequential.weigh(fast.storm, tests, *evidence)
    found = _told(fast, moment, usual_error_rate, params)
    _learn(fast, moment, trials, error_rate, tests)
    fast.last_start_us, fast.moment_us = moment.start_us, moment.end_us - moment.start_us
    return found


def _since(moment: Moment, count: int, last_us: int) -> float:
    """The share of the moment after its last event; 0 where slices do not say when that was."""
    if count and not last_us:
        return 0.0
    length_us = moment.end_us - moment.start_us
    return min((moment.end_us - max(last_us, moment.start_us)) / length_us, 1.0)


def _weigh_outage(fast: Fast, moment: Moment, tests: SequentialParams) -> None:
    since = _since(moment, moment.requests, moment.last_request_us)
    sequential.weigh(fast.outage, tests, *sequential.silence(fast.requests, tests, moment.requests, since))


def _weigh_hang(fast: Fast, moment: Moment, params: FastParams) -> None:
    """Only while requests go on, and after they have been going on for a while."""
    tests = params.tests
    if fast.outage.value > tests.h / 2.0:
        fast.trailing = params.trailing_moments
    else:
        fast.trailing = max(fast.trailing - 1, 0)
    going_on = moment.requests >= params.going_on * sequential.usual(fast.requests)
    since = _since(moment, moment.completions, moment.last_completion_us)
    evidence, per_step = sequential.silence(fast.completions, tests, moment.completions, since)
    if fast.trailing or not going_on:
        evidence = Evidence(-fast.hang.value, 0.0, 0.0, 0.0, 0.0, judged=False)
    sequential.weigh(fast.hang, tests, evidence, per_step)


def _told(fast: Fast, moment: Moment, usual_error_rate: float, params: FastParams) -> list[Found]:
    found = []
    fast.outage_rang = fast.outage_rang + 1 if fast.outage.ringing else 0
    fast.hang_rang = fast.hang_rang + 1 if fast.hang.ringing else 0
    storming = fast.storm.ringing and fast.storm.seen >= params.errors_min
    fast.storm_rang = fast.storm_rang + 1 if storming else 0
    if 0 < fast.outage_rang <= params.told_moments:
        found.append(_silent(fast.outage, "requests", moment, params))
    if 0 < fast.hang_rang <= params.told_moments:
        found.append(_silent(fast.hang, "completions", moment, params))
    if 0 < fast.storm_rang <= params.told_moments:
        found.append(_storming(fast.storm, usual_error_rate, moment, params))
    return found


def _silent(test: Sum, metric: str, moment: Moment, params: FastParams) -> Found:
    started_us = _started_us(test, moment)
    seconds = seconds_of(started_us, moment.end_us)
    sentence = (
        f"{test.seen:,.0f} {metric} in {seconds} s where {test.of:,.0f} are usual: "
        f"too few for chance by the sequential test."
    )
    low, high = params.tests.left * test.of, 2.0 * test.of
    finding = Finding(metric, SEQUENTIAL, _score(test, params), test.seen, test.of, low, high, sentence)
    return Found(finding, started_us)


def _storming(test: Sum, usual_error_rate: float, moment: Moment, params: FastParams) -> Found:
    started_us = _started_us(test, moment)
    rate, half_way = test.seen / test.of, (1.0 + usual_error_rate) / 2.0
    sentence = (
        f"{test.seen:,.0f} of {test.of:,.0f} answers failed in {seconds_of(started_us, moment.end_us)} s, "
        f"where up to {100 * usual_error_rate:.1f} % is usual: too many for chance by the sequential test."
    )
    score = _score(test, params)
    return Found(Finding("error_rate", SEQUENTIAL, score, rate, usual_error_rate, 0.0, half_way, sentence), started_us)


def _started_us(test: Sum, moment: Moment) -> int:
    return moment.end_us - round(test.steps * (moment.end_us - moment.start_us))


def _score(test: Sum, params: FastParams) -> float:
    return test.value / (test.value + sequential.threshold(test, params.tests))


def _learn(fast: Fast, moment: Moment, trials: int, error_rate: float, tests: SequentialParams) -> None:
    """While nothing rings; or when it has been ringing for so long that this is how it is now."""
    if fast.outage.ringing or fast.hang.ringing or fast.storm.ringing:
        fast.frozen += 1
        if fast.frozen <= tests.frozen_steps_max:
            return
    else:
        fast.frozen = 0
    sequential.learn(fast.requests, tests, moment.requests)
    sequential.learn(fast.completions, tests, moment.completions)
    if trials:
        sequential.learn_failures(fast.failures, tests, moment.errors, trials, error_rate)


def unanswered(fast: Fast, window: MetricWindow, params: FastParams) -> Finding | None:
    """The whole minute's word on hanging: hardly any answers of those usual, while requests went on."""
    moments = (window.end_us - window.start_us) / fast.moment_us
    expected = sequential.usual(fast.completions) * moments
    asked = sequential.usual(fast.requests) * moments
    tests = params.tests
    if fast.trailing or fast.completions.learned < tests.ready_steps or window.requests < params.going_on * asked:
        return None
    evidence = (expected - window.completions) / fast.completions.dispersion
    if window.completions > 0.2 * expected or evidence < tests.h:
        return None
    score = evidence / (evidence + tests.h)
    actual = float(window.completions)
    return of_metric("completions", "silence", score, actual, expected, 0.2 * expected, 2.0 * expected)


def seconds_of(started_us: int, end_us: int) -> int:
    """Whole seconds of evidence, at least one."""
    return max((end_us - started_us) // SECOND_US, 1)
