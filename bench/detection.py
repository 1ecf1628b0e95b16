"""What detection costs in this process, without Kafka: windows of many models, all metrics, the full ensemble.

A series is one metric of one model; the decision time is that of one call with the windows of all models of one minute,
as when the watermark closes it. Before each minute's windows come its six moments (ten seconds of every model), as the
windows stage passes them; what is due to be learnt anew is learnt in the first of them, so a minute's ten seconds have
a row of their own, and the series a minute count all calls. The windows are MINUTES real-looking ones of MADE models
(daily shape, noise, now and then a spike or a drop), lent to all the others with a shift in time, so that every model
has another minute of its day. The first PREPARED_MINUTES warm everything up, first fits and forests included, and are
not measured. Then every model is given DAYS_BEFORE of slots and the refit dates of a model of that age, so that the
measured minutes have their share of the daily refits: profile and ARIMA of each series once in DAY minutes.

The naive peer fits statsmodels' ARIMA(1,0,0) on the last 180 windows, for every series in every window, and forecasts.
"""

import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

import detectors
from bench.plan import Plan
from bench.results import Row
from detectors.arima_fit import one_thread
from detectors.seasonal import SLOTS, slot_of
from pipeline.garbage import collect_rarely
from pipeline.judging import season, track
from pipeline.judging.metrics import FORECAST, LATENCIES, MEASURES
from pipeline.judging.season import Sums
from pipeline.judging.subject import Filter
from pipeline.judging.track import TrackParams
from pipeline.stage import Batch, State
from pipeline.stages.detection import Detection, DetectionParams
from topics.fields import MINUTE_US
from topics.links import Moment
from topics.records import MetricWindow, OrganisationTokens

MODELS = 143
MADE = 13
PREPARED_MINUTES = 300
MEASURED_MINUTES = 600
DAYS_BEFORE, DAY = 3, 1440
LOAD_SWING, LATENCY_SWING = 0.6, 0.2
MOMENTS = 6
MOMENT_US = MINUTE_US // MOMENTS
START_US = 1_780_272_000_000_000
SPIKES = 0.002  # of the windows begin an incident
INCIDENT_MINUTES = 12
ORGANISATIONS = 8
NAIVE_FITS = 20
NAIVE_WINDOWS = 180
SERIES_A_MINUTE = 100_000.0
DECISION_MS = 100.0


async def detection(plan: Plan) -> list[Row]:
    """Series a minute on one core, the decision's time, the state's size, and the ratio to a refit a window."""
    detectors.preload()
    collect_rarely()  # as a worker does
    minutes = plan.scaled(MEASURED_MINUTES)
    rates, medians, tails, slowest, moments = [], [], [], [], []
    for repeat in range(min(plan.repeats, 3)):
        plan.say(f"detection: {repeat + 1} of {min(plan.repeats, 3)}")
        spent, between, state = _measured(minutes, repeat)
        rates.append(60.0 * MODELS * len(MEASURES) * len(spent) / (sum(spent) + sum(between)))
        moments.append(1e3 * float(np.quantile(between, 0.99)))
        medians.append(1e3 * statistics.median(spent))
        tails.append(1e3 * float(np.quantile(spent, 0.99)))
        slowest.append(1e3 * max(spent))
    plan.say("detection: the naive peer")
    naive_s = _naive(plan.scaled(NAIVE_FITS))
    ratios = [naive_s * rate / 60.0 for rate in rates]
    size = f"{MODELS} models of {len(MEASURES)} metrics"
    return [
        Row(
            bench="detection",
            what="series a minute on one core",
            values=rates,
            unit="series/min",
            target=SERIES_A_MINUTE,
            note=size,
        ),
        _row("decision at the close of a window, p50", medians, "ms"),
        _row("decision at the close of a window, p99", tails, "ms", DECISION_MS),
        _row("the slowest decision", slowest, "ms"),
        _row("ten seconds on the fast path, and what is learnt anew meanwhile, p99", moments, "ms"),
        _row("state, as checkpoints hold it", [_state_bytes(state)], "bytes/series"),
        Row(bench="detection", what="against a statsmodels ARIMA refit a window", values=ratios, unit="times"),
    ]


def _row(what: str, values: list[float], unit: str, target: float | None = None) -> Row:
    return Row(bench="detection", what=what, values=values, unit=unit, target=target, better="less")


def _measured(minutes: int, seed: int) -> tuple[list[float], list[float], State[Any]]:
    """Seconds of processor time of each minute's decision and of each ten seconds, and the state that was reached."""
    stage, state = Detection(DetectionParams()), State[Any]()
    decisions, between = list[float](), list[float]()
    for number, windows in enumerate(_minutes(PREPARED_MINUTES + minutes, seed)):
        if number == PREPARED_MINUTES:
            _age(state, seed)
        between += [_timed(stage, state, _moments(windows, part)) for part in range(MOMENTS)]
        decisions.append(_timed(stage, state, windows))
    return decisions[PREPARED_MINUTES:], between[MOMENTS * PREPARED_MINUTES :], state


def _timed(stage: Detection, state: State[Any], events: Sequence[MetricWindow | Moment]) -> float:
    """Seconds of processor time of one call; offsets do not matter here."""
    batch = Batch(0, 1, [0] * len(events), events)
    began = time.process_time()
    stage.step(state, batch)
    spent = time.process_time() - began
    state.dirty.clear()
    return spent


def _moments(windows: Sequence[MetricWindow], part: int) -> list[Moment]:
    """One of the MOMENTS of a minute that these windows will close: an even share of what they count."""
    return [_moment(window, window.start_us + part * MOMENT_US, part) for window in windows]


def _moment(window: MetricWindow, start_us: int, part: int) -> Moment:
    last_us = start_us + MOMENT_US - 1
    share = [(count + part) // MOMENTS for count in (window.requests, window.completions, window.errors)]
    return Moment(
        model=window.model,
        start_us=start_us,
        end_us=start_us + MOMENT_US,
        requests=share[0],
        completions=share[1],
        errors=share[2],
        last_request_us=last_us if share[0] else 0,
        last_completion_us=last_us if share[1] else 0,
    )


def _age(state: State[Any], seed: int) -> None:
    """As if every model had been watched for DAYS_BEFORE days more, each with the shape of its own day."""
    first = slot_of(START_US) - DAYS_BEFORE * SLOTS
    for number in range(MODELS):
        model: Filter = state.values[f"filter/model-{number}"]
        days: list[int] = []
        begins = _phase(seed, number % MADE) + number
        wave = np.sin(2 * np.pi * (begins + (DAY // SLOTS) * np.arange(SLOTS)) / DAY)
        for slot in range(first, first + DAYS_BEFORE * SLOTS):
            height = float(wave[(slot - first) % SLOTS])
            sums = [Sums(7.0 + height * _swing(measure.metric), 1, 0.05, 1) for measure in FORECAST]
            days = season.close_slot(state, f"model-{number}", days, slot, slot + 1, sums)
        model.days = sorted({*days, *model.days})
        for i, measure in enumerate(FORECAST):
            learned = DAYS_BEFORE * DAY + PREPARED_MINUTES
            due = track.windows_to_fit(TrackParams(), f"model-{number}", i, learned)
            model.tracks[measure.metric].arima.fit_due = due % DAY + 1


def _state_bytes(state: State[Any]) -> float:
    encode = msgspec.msgpack.Encoder().encode
    return sum(len(key) + len(encode(value)) for key, value in state.values.items()) / (MODELS * len(MEASURES))


def _minutes(minutes: int, seed: int) -> Iterator[list[MetricWindow]]:
    """Minute by minute the windows of all models."""
    made = [
        _windows(np.random.default_rng([seed, number]), _phase(seed, number), minutes + MODELS)
        for number in range(MADE)
    ]
    for minute in range(minutes):
        yield [_lent(made[model % MADE][minute + model], model, minute) for model in range(MODELS)]


def _lent(window: MetricWindow, model: int, minute: int) -> MetricWindow:
    start_us = START_US + minute * MINUTE_US
    return replace(window, model=f"model-{model}", start_us=start_us, end_us=start_us + MINUTE_US)


def _phase(seed: int, made: int) -> int:
    """The minute of its day at which a made model begins."""
    return (seed + made * DAY // MADE) % DAY


def _swing(metric: str) -> float:
    """How far a metric goes up and down in a day, as a logarithm."""
    return LATENCY_SWING if metric in LATENCIES else LOAD_SWING


def _windows(rng: np.random.Generator, phase: int, minutes: int) -> list[MetricWindow]:
    at = np.arange(minutes) + phase
    load = 400.0 * np.exp(LOAD_SWING * np.sin(2 * np.pi * at / DAY) + rng.normal(0, 0.06, minutes))
    latency = 3e6 * np.exp(LATENCY_SWING * np.sin(2 * np.pi * at / DAY) + rng.normal(0, 0.05, minutes))
    sick = np.convolve(rng.random(minutes) < SPIKES, np.ones(INCIDENT_MINUTES))[:minutes] > 0
    requests = rng.poisson(load)
    tails = np.exp(rng.normal(0, 0.15, minutes))
    shares = rng.dirichlet(np.full(ORGANISATIONS, 2.0))
    return [
        _window(int(requests[i]), float(latency[i] * (3.0 if sick[i] else 1.0)), float(tails[i]), rng, shares)
        for i in range(minutes)
    ]


def _window(requests: int, p50: float, tail: float, rng: np.random.Generator, shares: np.ndarray) -> MetricWindow:
    errors, tokens = int(rng.binomial(requests, 0.004)), int(800 * requests * np.exp(rng.normal(0, 0.05)))
    used = tokens * shares * np.exp(rng.normal(0, 0.1, ORGANISATIONS))
    return MetricWindow(
        id="0-0-0",
        time_us=START_US,
        model="m",
        start_us=START_US,
        end_us=START_US + MINUTE_US,
        revision=0,
        requests=requests,
        completions=requests,
        errors=errors,
        error_rate=errors / max(requests, 1),
        input_tokens=int(0.7 * tokens),
        output_tokens=int(0.3 * tokens),
        tokens_per_s=tokens / 60.0,
        cost_microusd=6 * tokens,
        first_token_us_p50=int(p50 / 6),
        first_token_us_p99=int(p50 / 2 * tail),
        duration_us_p50=int(p50),
        duration_us_p99=int(3.5 * p50 * tail),
        top_organisations=[OrganisationTokens(f"org-{i}", int(used[i])) for i in np.argsort(-used)],
    )


def _naive(fits: int) -> float:
    """Processor seconds that fitting and forecasting one series takes, the median of some."""
    from statsmodels.tsa.arima.model import ARIMA

    rng, spent = np.random.default_rng(1), []
    for _ in range(fits):
        values = np.cumsum(0.05 * rng.normal(size=NAIVE_WINDOWS)) + rng.normal(size=NAIVE_WINDOWS)
        began = time.process_time()
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ARIMA(values, order=(1, 0, 0)).fit().forecast()
        spent.append(time.process_time() - began)
    return statistics.median(spent)
