"""Detection: judges every closed one-minute window of every model once. Reads `closed`, passes `judged` on.

Detectors of a window, each an independent opinion (`Anomaly`), none an alert:

    arima              one-step forecast of each metric, adaptive k(t)           detectors.arima, detectors.threshold
    cusum              slow rises of the latencies against the last two hours    pipeline.judging.baseline
    counts             errors among completions against the usual rate           detectors.counts
    limit              hard limits that hold whatever is usual: errors > 5 %, first token (p99) or completion (p50)
                       > 10 s and twice the usual. For a language model a p99 of whole completions over 10 s is normal
    isolation_forest   all of them together                                      detectors.isolation_forest
    organisation, share   one organisation uses far more tokens than it usually does, and a larger share of them
    pelt               confirms that a level has changed (`Judged.breaks`); never speaks alone

Practical relevance (`Effects`): what is statistically certain but smaller is no finding. Warm-up is explicit: the first
window of a model may be partial and is not learnt, forecasts speak after `track.arima.ready_after` (20) windows, the
forest after 30, limits at once.

Maintenance suppresses: findings are recorded and `Judged.suppressed` says why they alert nobody. For 24 h
after a deployment (`observe_us`) everything is still judged and recorded; alerting lets statistical findings that a new
version may legitimately cause only inform, while hard limits count in full, or a bad deployment would be observed
for a day instead of rolled back. Then history counts from the deployment on and every forecast is fitted anew.

State keys: `filter/<model>` (about 8 kB) and `organisations/<model>` (10 kB), written each window;
`history/<model>/<hour>` (up to 4 kB, 7 days of them); `models`, `context`, `cursor`.
"""

from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import asdict, replace

from detectors.counts import Rate, RateParams, RateState
from pipeline.judging import combination, context, history, organisations, track
from pipeline.judging.baseline import Baseline
from pipeline.judging.combination import CombinationParams
from pipeline.judging.context import Context
from pipeline.judging.coordinates import Cursor, next_id
from pipeline.judging.findings import Finding, of_metric, of_organisation
from pipeline.judging.history import Hour, Past
from pipeline.judging.metrics import COUNTED, INDEX, MEASURES, Measure, trials, unscaled
from pipeline.judging.organisations import Organisations, SurgeParams
from pipeline.judging.roster import Roster, arrived
from pipeline.judging.track import Seen, Track, TrackParams
from pipeline.stage import Batch, Output, State
from topics.codec import rfc3339
from topics.control import Relayed
from topics.fields import HOUR_US, SECOND_US, TEXT_CHARACTERS_MAX
from topics.records import Anomaly, Forecast, Judged, MetricWindow

LIMITED = ("first_token_us_p99", "duration_us_p50")
TRAFFIC = ("requests", "tokens_per_s", "cost_microusd")


class Effects(Struct, frozen=True, forbid_unknown_fields=True):
    """The least change that matters: points for the error rate, else relative (0.5: half as much again, or 1 / 1.5)."""

    error_rate: float = 0.02
    first_token_us_p99: float = 0.5
    duration_us_p99: float = 0.5
    duration_us_p50: float = 0.3
    requests: float = 0.5
    tokens_per_s: float = 0.4
    cost_microusd: float = 0.4


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Hard limits, in force from the first window: `errors_min` failed completions and the mission's 5 % and 10 s."""

    error_rate: float = 0.05
    errors_min: int = 5
    latency_us: int = 10 * SECOND_US
    latency_times: float = 2.0


class DetectionParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`models_max` per partition; the model longest without a window is forgotten first, each after `idle_hours`.

    `forecasts`: pass on what each metric was expected to be in every window, for a report; changes no decision."""

    track: TrackParams = TrackParams()
    rate: RateParams = RateParams()
    combination: CombinationParams = CombinationParams()
    surge: SurgeParams = SurgeParams()
    effects: Effects = Effects()
    limits: Limits = Limits()
    observe_us: int = 24 * HOUR_US
    models_max: int = 1_000
    idle_hours: int = 7 * 24
    forecasts: bool = False


class Filter(Struct, tag="filter"):
    """What has been learnt of one model, but for its history."""

    tracks: dict[str, Track]
    rate: RateState
    learned: int = 0
    opened: bool = False  # the first window, which may be partial, has passed
    last_start_us: int = -1
    hours: list[int] = []


class Detection:
    """The stage. All it remembers is in its state; forests are grown again from history (remembered by content)."""

    values: ClassVar[Any] = Filter | Hour | Organisations | Roster | Context | Cursor

    def __init__(self, params: DetectionParams) -> None:
        self.params = params
        self._effects: dict[str, float] = asdict(params.effects)
        self._windows_max = max(
            combination.windows_needed(params.combination),
            params.track.pelt.history_max,
            2 * params.track.drift.windows,
        )

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        """Judge the windows of `batch` in order; anomalies go to `anomalies`, one Judged a window down `judged`."""
        outputs: list[Output] = []
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            if type(event) is Relayed:
                self._hear(state, event)
                outputs.append(Output(offset, "judged", event.event.id, event))
            else:
                outputs += self._judge(state, batch.partition, offset, event)
        return outputs

    def _hear(self, state: State[Any], relayed: Relayed) -> None:
        known = state.get("context") or Context()
        if context.heard(known, relayed):
            state.put("context", known)

    def _judge(self, state: State[Any], partition: int, offset: int, window: MetricWindow) -> list[Output]:
        model = self._model(state, window)
        findings: list[Finding] = []
        breaks: list[str] = []
        forecasts: list[Forecast] = []
        if window.start_us > model.last_start_us:  # a window is judged once, in the order of time
            findings, breaks, seen = self._look_and_learn(state, model, window)
            forecasts = _forecasts(seen) if self.params.forecasts else []
            state.put(f"filter/{window.model}", model)
        anomalies = [_anomaly(next_id(state, partition, offset), window, finding) for finding in findings]
        judged = Judged(
            id=next_id(state, partition, offset),
            time_us=window.end_us,
            window=window,
            anomalies=anomalies,
            breaks=breaks,
            suppressed=self._suppressed(state, window),
            forecasts=forecasts,
        )
        published = [Output(offset, "anomalies", window.model, anomaly) for anomaly in anomalies]
        return [*published, Output(offset, "judged", window.model, judged)]

    def _look_and_learn(
        self, state: State[Any], model: Filter, window: MetricWindow
    ) -> tuple[list[Finding], list[str], dict[str, Seen]]:
        past = history.recent(state, window.model, model.hours, model.learned, self._windows_max)
        users = state.get(f"organisations/{window.model}") or Organisations()
        seen = {
            measure.metric: one for measure in MEASURES if (one := self._look(model, measure, window, past)) is not None
        }
        findings = [finding for one in seen.values() for finding in one.findings]
        rare = combination.judge(past, model.learned, seen, self._effects, self.params.combination)
        findings += [rare] if rare else []
        window_s = (window.end_us - window.start_us) / SECOND_US
        for surge in organisations.surging(users, window, self.params.surge):
            findings += of_organisation(surge, window_s)
        if not model.opened:
            model.opened, model.last_start_us = True, window.start_us
            return findings, [], seen
        usual_window = not any(f.metric in TRAFFIC and f.detector == "arima" for f in findings)
        organisations.learn(users, window, self.params.surge, usual_window)
        state.put(f"organisations/{window.model}", users)
        return findings, self._learn(state, model, window, past, seen), seen

    def _look(self, model: Filter, measure: Measure, window: MetricWindow, past: Past) -> Seen | None:
        if measure.metric == COUNTED:
            return self._look_at_errors(model, measure, window)
        one, i = model.tracks[measure.metric], INDEX[measure.metric]
        start = max(one.since - past.first, 0)
        column = past.columns[i][start:]
        flags = [bool(bits >> i & 1) for bits in past.flags[start:]]
        effect = self._effects[measure.metric]
        seen = track.look(one, window.model, measure, measure.read(window), column, flags, self.params.track, effect)
        if seen is not None and measure.metric in LIMITED:
            self._limit_latency(seen)
        return seen

    def _look_at_errors(self, model: Filter, measure: Measure, window: MetricWindow) -> Seen | None:
        actual = measure.read(window)
        if actual is None:
            return None
        rate, limits = Rate(self.params.rate, model.rate), self.params.limits
        verdict = rate.score((window.errors, trials(window)))
        spread = max((rate.baseline / trials(window)) ** 0.5, self.params.effects.error_rate / 4)
        seen = Seen(measure, actual, actual, Baseline(rate.baseline, spread), [])
        if verdict.high is not None:
            seen.interval = (rate.baseline, 0.0, verdict.high)
        if verdict.anomalous and verdict.high is not None and seen.off_by() >= self.params.effects.error_rate:
            found = of_metric(COUNTED, "counts", verdict.score, actual, rate.baseline, 0.0, verdict.high)
            seen.findings.append(found)
        if actual > limits.error_rate and window.errors >= limits.errors_min:
            score = actual / (actual + limits.error_rate)
            seen.findings.append(
                of_metric(COUNTED, "limit", score, actual, rate.baseline, 0.0, max(limits.error_rate, rate.baseline))
            )
        return seen

    def _limit_latency(self, seen: Seen) -> None:
        """Only against a known level: a model that always takes as long is slow, not sick."""
        limits, metric = self.params.limits, seen.measure.metric
        if seen.base is None or seen.actual <= limits.latency_us:
            return
        expected = unscaled(metric, seen.base.level)
        if seen.actual >= limits.latency_times * expected:
            score = seen.actual / (seen.actual + limits.latency_us)
            seen.findings.append(
                of_metric(metric, "limit", score, seen.actual, expected, 0.0, float(limits.latency_us))
            )

    def _learn(
        self, state: State[Any], model: Filter, window: MetricWindow, past: Past, seen: dict[str, Seen]
    ) -> list[str]:
        """Take the window in; returns the metrics in which PELT sees a recent break."""
        params, breaks = self.params.track, []
        lone = len({one.measure.source for one in seen.values() if one.findings}) < 2
        values = [seen[measure.metric].value if measure.metric in seen else None for measure in MEASURES]
        flags = sum(1 << INDEX[metric] for metric, one in seen.items() if one.findings)
        self._settle(state, model, window)
        for measure, value in zip(MEASURES, values, strict=True):
            newest = track.newest_break(past.columns[INDEX[measure.metric]], value, params.pelt)
            if track.is_news(newest, measure, params.pelt, self._effects[measure.metric]):
                breaks.append(measure.metric)
            if one := model.tracks.get(measure.metric):
                track.learn(one, window.model, measure, seen.get(measure.metric), lone, params)
                track.start_over(one, newest, model.learned + 1, params)
        if trials(window):
            Rate(self.params.rate, model.rate).learn((window.errors, trials(window)))
        hour = window.start_us // HOUR_US
        model.hours = history.append(state, window.model, model.hours, hour, values, flags)
        model.learned, model.last_start_us = model.learned + 1, window.start_us
        return breaks

    def _settle(self, state: State[Any], model: Filter, window: MetricWindow) -> None:
        """Once the observation after a deployment is over, only what came after it counts; forecasts are refitted."""
        known = state.get("context")
        deployed = known.deployments.get(window.model) if known else None
        if known is None or deployed is None or deployed.settled:
            return
        if window.start_us < deployed.time_us + self.params.observe_us:
            return
        windows = (window.start_us - deployed.time_us) // max(window.end_us - window.start_us, 1)
        for one in model.tracks.values():
            one.since = max(one.since, model.learned - windows)
            one.arima.fit_due = 0
        known.deployments[window.model] = replace(deployed, settled=True)
        state.put("context", known)

    def _suppressed(self, state: State[Any], window: MetricWindow) -> str:
        known = state.get("context")
        found = context.maintained(known, window.model, window.start_us, window.end_us) if known else None
        if found is None:
            return ""
        reason = f": {found.reason}" if found.reason else ""
        return f"maintenance until {rfc3339(found.end_us)}{reason}"[:TEXT_CHARACTERS_MAX]

    def _model(self, state: State[Any], window: MetricWindow) -> Filter:
        """What is known of the window's model; those long gone make room."""
        hour = window.start_us // HOUR_US
        for name in arrived(state, window.model, hour, self.params.models_max, self.params.idle_hours):
            forgotten: Filter | None = state.get(f"filter/{name}")
            history.forget(state, name, forgotten.hours if forgotten else [])
            state.drop(f"filter/{name}")
            state.drop(f"organisations/{name}")
        known: Filter | None = state.get(f"filter/{window.model}")
        fresh = {measure.metric: track.fresh(self.params.track) for measure in MEASURES if measure.metric != COUNTED}
        return known or Filter(tracks=fresh, rate=RateState())


def _forecasts(seen: dict[str, Seen]) -> list[Forecast]:
    return [Forecast(metric, one.actual, *one.interval) for metric, one in seen.items() if one.interval is not None]


def _anomaly(id_: str, window: MetricWindow, finding: Finding) -> Anomaly:
    return Anomaly(
        id=id_,
        time_us=window.end_us,
        model=window.model,
        window_start_us=window.start_us,
        metric=finding.metric,
        detector=finding.detector,
        score=finding.score,
        actual=finding.actual,
        expected=finding.expected,
        low=finding.low,
        high=finding.high,
        explanation=finding.explanation[:TEXT_CHARACTERS_MAX],
        organisation=finding.organisation,
    )
