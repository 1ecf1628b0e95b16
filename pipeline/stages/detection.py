"""Detection: judges every closed one-minute window of every model once. Reads `closed`, passes `judged` on.

Detectors of a window, each an independent opinion (`Anomaly`), none an alert:

    arima              one-step forecast of each metric above its seasonal profile, adaptive k(t)
                       detectors.arima, detectors.seasonal, detectors.threshold
    cusum              slow rises of the latencies against the last two hours    pipeline.judging.baseline
    counts             errors among completions against the usual rate           detectors.counts
    accumulated        the same over several windows, for what is too little in one            pipeline.judging.limits
    limit              hard limits that hold whatever is usual: errors > 5 %, first token (p99) or completion (p50)
                       > 10 s and twice the usual. For a language model a p99 of whole completions over 10 s is normal
    isolation_forest   all of them together                                      detectors.isolation_forest
    organisation, share   one organisation uses far more tokens than it usually does, and a larger share of them
    part, elsewhere    one region, client version or tier fails, and the others do not       pipeline.judging.parts
    silence            hardly any requests in the minute, or answers while requests go on    pipeline.judging.sudden
    pace               an output token takes longer, however long the answers            pipeline.judging.pace
    price              a token costs more, whatever their number                 pipeline.judging.price
    pelt               confirms that a level has changed (`Judged.breaks`); never speaks alone

Between the minutes, the fast path: every model's ten seconds (`Moment`) go through sequential tests, which find that
requests or answers have stopped, or that most answers fail, within seconds, and that a few points more fail, as soon
as this adds up (`sequential`: pipeline.judging.sudden, detectors.sequential). What they find passes down as `Sudden`,
for a provisional alert.

Practical relevance (`Effects`): what is statistically certain but smaller is no finding, and neither is the way back to
where a metric was before a change that lasted (pipeline.judging.former). Warm-up is explicit: the first
window of a model may be partial and is not learnt, forecasts speak after `track.arima.ready_after` (20) windows, the
forest after 30, limits at once. Daily profiles are learnt once a day of windows is there, working days and weekends are
told apart after a week (pipeline.judging.season).

The windows of different models in one batch are judged together, in arrays (pipeline.judging.look). This changes no
result: a row's numbers do not depend on the others'. Windows of one model, and control events, end such a group.

Maintenance suppresses: findings are recorded and `Judged.suppressed` says why they alert nobody; nothing is learnt of
its windows. While a token takes no longer than usual, high latencies are no finding (pipeline.judging.pace). For 24 h
after a deployment (`observe_us`) everything is still judged and recorded; alerting lets statistical findings that a new
version may legitimately cause only inform, while hard limits count in full, or a bad deployment would be observed
for a day instead of rolled back. Then history counts from the deployment on and every forecast is fitted anew.

State keys: `fast/<model>` (0.5 kB), written each moment; `filter/<model>` (6 kB), `organisations/<model>` (10 kB),
`parts/<model>`, `price/<model>` and `pace/<model>` (1 kB), written each window; `history/<model>/<hour>` (up to 4 kB,
the last 240 windows); `days/<model>/<day>` (4 kB, 14 of them) and `season/<model>` (14 kB), written every five minutes
and six times a day; `models`, `context`, `cursor`.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict, replace

from detectors.counts import Rate, RateParams, RateState
from detectors.rows import Array
from pipeline.judging import combination, context, history, limits, organisations, pace, parts, price, season, track
from pipeline.judging.combination import CombinationParams
from pipeline.judging.context import Context
from pipeline.judging.coordinates import Cursor, next_id
from pipeline.judging.findings import Finding, of_organisation, of_pace, of_part, of_price
from pipeline.judging.history import Hour
from pipeline.judging.learning import Learning
from pipeline.judging.limits import Errors, Limits
from pipeline.judging.look import Look
from pipeline.judging.metrics import COMBINED_OF, COUNTED, FORECAST, LATENCIES, PACE, scaled
from pipeline.judging.organisations import Organisations, SurgeParams
from pipeline.judging.pace import Pace, PaceParams, Sample
from pipeline.judging.parts import PartParams, Parts
from pipeline.judging.price import Price, PriceParams
from pipeline.judging.roster import Roster, arrived
from pipeline.judging.season import Day, Season
from pipeline.judging.subject import Filter, Found, Subject, rows_of
from pipeline.judging.sudden import Fast, FastParams, Glance
from pipeline.judging.track import TrackParams
from pipeline.stage import Batch, Output, State
from topics.codec import rfc3339
from topics.control import Relayed
from topics.fields import HOUR_US, SECOND_US, TEXT_CHARACTERS_MAX
from topics.links import Moment, Sudden
from topics.records import Anomaly, Forecast, Judged, MetricWindow

PARTS_NAMED_MAX = 4  # of those that fail in a window
REQUESTS = [measure.metric for measure in FORECAST].index("requests")
LIMITED = ("first_token_us_p99", "duration_us_p50")


class Effects(Struct, frozen=True, forbid_unknown_fields=True):
    """The least change that matters: points for the error rate, else relative (0.5: half as much again, or 1 / 1.5)."""

    error_rate: float = 0.02
    first_token_us_p99: float = 0.5
    duration_us_p99: float = 0.5
    duration_us_p50: float = 0.3
    requests: float = 0.5
    tokens_per_s: float = 0.4
    cost_microusd: float = 0.4


class DetectionParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`models_max` per partition; the model longest without a window is forgotten first, each after `idle_hours`.

    `forecasts`: pass on what each metric was expected to be in every window, for a report; changes no decision."""

    track: TrackParams = TrackParams()
    rate: RateParams = RateParams()
    combination: CombinationParams = CombinationParams()
    surge: SurgeParams = SurgeParams()
    parts: PartParams = PartParams()
    price: PriceParams = PriceParams()
    pace: PaceParams = PaceParams()
    effects: Effects = Effects()
    limits: Limits = Limits()
    fast: FastParams = FastParams()
    observe_us: int = 24 * HOUR_US
    models_max: int = 1_000
    idle_hours: int = 7 * 24
    forecasts: bool = False


class Detection:
    """The stage. All it remembers is in its state; forests are grown again from history (remembered by content)."""

    values: ClassVar[Any] = (
        Filter | Fast | Hour | Day | Season | Organisations | Parts | Price | Pace | Roster | Context | Cursor
    )

    def __init__(self, params: DetectionParams) -> None:
        self.params = params
        self._effects: dict[str, float] = asdict(params.effects)
        self._fast = Glance(params.fast)
        self._learning = Learning(
            params.track, params.rate, params.surge, params.parts, params.price, params.pace, self._effects
        )
        self._windows_max = max(
            combination.windows_needed(params.combination),
            params.track.pelt.history_max,
            2 * params.track.drift.windows,
        )

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        """Judge the windows of `batch` in order; anomalies go to `anomalies`, one Judged a window down `judged`."""
        outputs: list[Output] = []
        group: dict[str, tuple[int, MetricWindow]] = {}
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            if type(event) is Relayed:
                outputs += self._judge(state, batch.partition, group)
                self._hear(state, event)
                outputs.append(Output(offset, "judged", event.event.id, event))
                continue
            if type(event) is Moment:
                if group:
                    outputs += self._judge(state, batch.partition, group)
                outputs += self._glance(state, batch.partition, offset, event)
                continue
            gone = arrived(
                state, event.model, event.start_us // HOUR_US, self.params.models_max, self.params.idle_hours
            )
            if gone or event.model in group:
                outputs += self._judge(state, batch.partition, group)
                self._forget(state, gone)
            group[event.model] = (offset, event)
        return outputs + self._judge(state, batch.partition, group)

    def _hear(self, state: State[Any], relayed: Relayed) -> None:
        known = state.get("context") or Context()
        if context.heard(known, relayed):
            state.put("context", known)

    def _glance(self, state: State[Any], partition: int, offset: int, moment: Moment) -> list[Output]:
        """The fast path: the sequential tests on ten seconds of a model that has had a window."""
        fast: Fast | None = state.get(f"fast/{moment.model}")
        known: Filter | None = state.get(f"filter/{moment.model}")
        if fast is None or known is None or moment.start_us <= fast.last_start_us:
            return []
        self._between(state, moment.model, known)
        found = self._fast.look(fast, moment, Rate(self.params.rate, known.rate))
        state.put(f"fast/{moment.model}", fast)
        if not found:
            return []
        anomalies = [_anomaly(next_id(state, partition, offset), moment, one.finding) for one in found]
        passed = Sudden(
            model=moment.model,
            time_us=moment.end_us,
            anomalies=anomalies,
            started_us=[one.started_us for one in found],
            suppressed=self._suppressed(state, moment),
        )
        published = [Output(offset, "anomalies", moment.model, anomaly) for anomaly in anomalies]
        return [*published, Output(offset, "judged", moment.model, passed)]

    def _between(self, state: State[Any], name: str, model: Filter) -> None:
        """What a window need not wait for: fits and forests that are due before the next."""
        if self._learning.catch_up(state, name, model):
            state.put(f"filter/{name}", model)
        if combination.due(name, model.learned, self.params.combination):
            past = history.recent(state, name, model.hours, model.learned, self._windows_max)
            combination.prepare(past, name, model.learned, self.params.combination)

    def _judge(self, state: State[Any], partition: int, group: dict[str, tuple[int, MetricWindow]]) -> list[Output]:
        """Judge windows of different models together and empty the group."""
        outputs: list[Output] = []
        found = self._look_and_learn(state, [window for _, window in group.values()])
        for offset, window in group.values():
            one = found.get(window.model) or Found()
            anomalies = [_anomaly(next_id(state, partition, offset), window, finding) for finding in one.findings]
            judged = Judged(
                id=next_id(state, partition, offset),
                time_us=window.end_us,
                window=window,
                anomalies=anomalies,
                breaks=one.breaks,
                suppressed=self._suppressed(state, window),
                forecasts=one.forecasts,
            )
            outputs += [Output(offset, "anomalies", window.model, anomaly) for anomaly in anomalies]
            outputs.append(Output(offset, "judged", window.model, judged))
        group.clear()
        return outputs

    def _look_and_learn(self, state: State[Any], windows: Sequence[MetricWindow]) -> dict[str, Found]:
        """By model; a window is judged once, in the order of time."""
        subjects = [subject for window in windows if (subject := self._subject(state, window)) is not None]
        if not subjects:
            return {}
        look = self._look(state, subjects)
        found = [self._find(state, subject, look, at * len(FORECAST)) for at, subject in enumerate(subjects)]
        self._learning.learn(state, subjects, look, found)
        return {subject.window.model: one for subject, one in zip(subjects, found, strict=True)}

    def _subject(self, state: State[Any], window: MetricWindow) -> Subject | None:
        params, name = self.params.track, window.model
        model: Filter | None = state.get(f"filter/{name}")
        if model is None:
            tracks = {measure.metric: track.fresh(params, name, i) for i, measure in enumerate(FORECAST)}
            model = Filter(tracks=tracks, rate=RateState())
        if window.start_us <= model.last_start_us:
            return None
        if model.opened:
            self._learning.catch_up(state, name, model)
            self._settle(state, model, window)
        past = history.recent(state, name, model.hours, model.learned, self._windows_max)
        return Subject(window, model, past, [measure.read(window) for measure in FORECAST])

    def _look(self, state: State[Any], subjects: Sequence[Subject]) -> Look:
        """All forecast metrics of all subjects as one array."""
        profiles, noises, pasts, flags = [], [], [], []
        for window, model, past, _ in subjects:
            profile, noise = self._usual(state, window, model)
            profiles.append(profile)
            noises.append(noise)
            values, flagged = rows_of(past, model, self._windows_max)
            pasts.append(values)
            flags.append(flagged)
        formers = [
            math.nan
            if (level := subject.model.tracks[measure.metric].former.at(subject.model.learned)) is None
            else level
            for subject in subjects
            for measure in FORECAST
        ]
        logs = [
            math.nan if (value := scaled(measure.metric, actual)) is None else value
            for subject in subjects
            for measure, actual in zip(FORECAST, subject.actual, strict=True)
        ]
        effects = np.array([self._effects[measure.metric] for measure in FORECAST])
        return Look(
            [subject.model.tracks[measure.metric] for subject in subjects for measure in FORECAST],
            np.array(logs),
            np.concatenate(profiles),
            np.concatenate(noises),
            np.concatenate(pasts),
            np.concatenate(flags),
            np.array(formers),
            np.tile(effects, len(subjects)),
            self.params.combination.sigmas_min,
            self.params.track,
        )

    def _usual(self, state: State[Any], window: MetricWindow, model: Filter) -> tuple[Array, Array]:
        """The profile at this moment as far as it is believed, and the hour's noise, of each forecast metric."""
        known = season.usual(state, window.model, window.start_us, window.start_us // HOUR_US)
        if known is None:
            return np.zeros(len(FORECAST)), np.ones(len(FORECAST))
        weights = np.array([model.tracks[measure.metric].trust.weight for measure in FORECAST])
        return weights * known.profile, known.noise

    def _find(self, state: State[Any], subject: Subject, look: Look, first: int) -> Found:
        """All findings of one window; `first` is its first row in `look`."""
        window, model, actual = subject.window, subject.model, subject.actual
        found, with_band = Found(), self.params.forecasts
        effect = self.params.effects.error_rate
        found.errors = limits.of_errors(
            Rate(self.params.rate, model.rate), model.piled, window, effect, self.params.limits, with_band
        )
        if found.errors is not None and found.errors.findings:
            found.by_metric[COUNTED] = found.errors.findings
        found.suppressed = bool(self._suppressed(state, window))
        if found.errors is not None and found.suppressed:
            found.errors = found.errors._replace(piled=limits.Piled())
        for i, measure in enumerate(FORECAST):
            if (value := actual[i]) is not None and (
                seen := self._of_metric(look, first + i, value, window.completions)
            ):
                found.by_metric[measure.metric] = seen
        known = state.get(f"parts/{window.model}") or Parts()
        failing = parts.failing(known, window, self.params.parts)[:PARTS_NAMED_MAX]
        slow = self._of_pace(state, window, found, bool(failing))
        found.findings = [finding for findings in found.by_metric.values() for finding in findings]
        found.findings += slow
        found.findings += self._of_moments(state, window, model, look.was(first + REQUESTS))
        found.findings += self._of_all(subject, look, first, found.errors)
        users = state.get(f"organisations/{window.model}") or Organisations()
        window_s = (window.end_us - window.start_us) / SECOND_US
        for surge in organisations.surging(users, window, self.params.surge):
            found.findings += of_organisation(surge, window_s)
        for part in failing:
            found.findings += of_part(part)
        tokens = window.input_tokens + window.output_tokens
        paid: Price = state.get(f"price/{window.model}") or Price()
        if dear := price.score(paid, window.cost_microusd, tokens, self.params.price):
            found.findings.append(of_price(dear, window.cost_microusd, tokens))
        if with_band:
            found.forecasts = _forecasts(subject, look, first, found.errors)
        return found

    def _of_moments(self, state: State[Any], window: MetricWindow, model: Filter, were: float | None) -> list[Finding]:
        """A model's first window opens its fast path; later ones confirm, or not, what its moments have told.

        `were`: requests a window before a change that lasted; when they come back to that, it is no silence.
        """
        fast: Fast | None = state.get(f"fast/{window.model}")
        if fast is None:
            state.put(f"fast/{window.model}", Fast())
            return []
        self._fast.expect(fast, window, were)
        state.put(f"fast/{window.model}", fast)
        return self._fast.minute(fast, window, Rate(self.params.rate, model.rate))

    def _of_pace(self, state: State[Any], window: MetricWindow, found: Found, failing: bool) -> list[Finding]:
        """What a token takes; where that is as ever, high latencies are those of longer answers, and no finding.

        While answers fail too (`failing`: those of a part) they are: a part that is slow moves the whole only a little.
        """
        known: Pace = state.get(f"pace/{window.model}") or Pace()
        sample = Sample(PACE.read(window), window.completions - window.errors)
        judged = pace.judge(known, sample, self.params.pace)
        if judged.usual and not failing and COUNTED not in found.by_metric:
            for metric in LATENCIES:
                if kept := [one for one in found.by_metric.pop(metric, []) if not _longer(one)]:
                    found.by_metric[metric] = kept
        return [] if judged.slow is None else [of_pace(judged.slow, sample.us_per_token or 0.0)]

    def _of_metric(self, look: Look, row: int, actual: float, completions: int) -> list[Finding]:
        found = look.findings(row, actual) if look.found[row] else []
        metric = FORECAST[row % len(FORECAST)].metric
        if metric in LIMITED and actual > self.params.limits.latency_us:
            limit = limits.of_latency(metric, actual, look.expected(row), completions, self.params.limits)
            found += [] if limit is None else [limit]
        return found

    def _of_all(self, subject: Subject, look: Look, first: int, errors: Errors | None) -> list[Finding]:
        """What the forest finds, asked only where some metric stands out."""
        params = self.params.combination
        name, learned = subject.window.model, subject.model.learned
        if combination.due(name, learned, params):
            combination.prepare(subject.past, name, learned, params)
        out = {
            measure.metric: look.sigmas[first + i]
            for i, measure in enumerate(FORECAST)
            if measure.metric in COMBINED_OF and look.standing_out[first + i]
        }
        if errors is not None and errors.stands_out(self.params.effects.error_rate, params.sigmas_min):
            out[COUNTED] = abs(errors.actual - errors.usual) / errors.spread
        if not out:
            return []
        values: dict[str, float | None] = {COUNTED: None if errors is None else errors.actual}
        values |= {measure.metric: look.value_of(first + i) for i, measure in enumerate(FORECAST)}
        window = [values[metric] for metric in COMBINED_OF]
        rare = combination.judge(subject.past, name, learned, window, max(out, key=out.__getitem__), params)
        return [] if rare is None else [rare]

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

    def _suppressed(self, state: State[Any], window: MetricWindow | Moment) -> str:
        known = state.get("context")
        found = context.maintained(known, window.model, window.start_us, window.end_us) if known else None
        if found is None:
            return ""
        reason = f": {found.reason}" if found.reason else ""
        return f"maintenance until {rfc3339(found.end_us)}{reason}"[:TEXT_CHARACTERS_MAX]

    def _forget(self, state: State[Any], names: Sequence[str]) -> None:
        for name in names:
            forgotten: Filter | None = state.get(f"filter/{name}")
            if forgotten is not None:
                history.forget(state, name, forgotten.hours)
                season.forget(state, name, forgotten.days)
            state.drop(f"filter/{name}")
            state.drop(f"organisations/{name}")
            state.drop(f"parts/{name}")
            state.drop(f"price/{name}")
            state.drop(f"pace/{name}")
            state.drop(f"fast/{name}")


def _longer(finding: Finding) -> bool:
    """Whether it is only that answers took longer than usual; a hard limit holds whatever the reason."""
    return finding.actual > finding.expected and finding.detector != "limit"


def _forecasts(subject: Subject, look: Look, first: int, errors: Errors | None) -> list[Forecast]:
    known = (
        []
        if errors is None or errors.high is None
        else [Forecast(COUNTED, errors.actual, errors.usual, 0.0, errors.high)]
    )
    for i, (measure, actual) in enumerate(zip(FORECAST, subject.actual, strict=True)):
        if actual is not None and (interval := look.interval(first + i)) is not None:
            known.append(Forecast(measure.metric, actual, *interval))
    return known


def _anomaly(id_: str, window: MetricWindow | Moment, finding: Finding) -> Anomaly:
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
