"""Takes judged windows in: forecasts, thresholds, profiles, history; and learns anew what is due.

No decision waits for what is learnt anew: it is done after the window, when the model's next ten seconds come, or
before its next window where none do. The numbers are the same, since nothing that fits read is learnt in between.

A maintenance teaches nothing: its windows count as missing. Else what is usual would be the work's tenth of the traffic
for as long as it took to learn, and the service that is back an anomaly.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from detectors.arima import refit
from detectors.counts import Rate, RateParams
from detectors.pelt import Break
from detectors.seasonal import profile_at, slot_of
from pipeline.judging import history, organisations, pace, parts, price, season, track
from pipeline.judging.history import Past
from pipeline.judging.limits import Errors
from pipeline.judging.look import Look
from pipeline.judging.metrics import COUNTED, FORECAST, INDEX, MEASURES, PACE, trials
from pipeline.judging.organisations import Organisations, SurgeParams
from pipeline.judging.pace import Pace, PaceParams, Sample
from pipeline.judging.parts import PartParams, Parts
from pipeline.judging.price import Price, PriceParams
from pipeline.judging.subject import Filter, Found, Subject
from pipeline.judging.track import TrackParams
from pipeline.stage import State
from topics.fields import HOUR_US, MINUTE_US
from topics.records import MetricWindow

SEARCH_EVERY = 3  # windows: in an incident of all models a search for each metric in each would take too long
TRAFFIC = ("requests", "tokens_per_s", "cost_microusd")


class Learning:
    """What `Detection` learns from the windows of different models that it has judged together.

    `effects`: the least change that matters, by metric.
    """

    def __init__(
        self,
        params: TrackParams,
        rate: RateParams,
        surge: SurgeParams,
        parts: PartParams,
        price: PriceParams,
        pace: PaceParams,
        effects: Mapping[str, float],
    ) -> None:
        self.params, self.rate, self.surge, self.parts = params, rate, surge, parts
        self.price, self.pace = price, pace
        self._effects = effects

    def learn(self, state: State[Any], subjects: Sequence[Subject], look: Look, found: Sequence[Found]) -> None:
        """Take all windows in, but for a model's first, and note what is due to be learnt anew."""
        opened = np.repeat([subject.model.opened for subject in subjects], len(FORECAST))
        silent = look.off < -track.SILENCE
        suppressed = np.repeat([one.suppressed for one in found], len(FORECAST))
        due = look.bank.learn(np.where(opened & ~silent & ~suppressed, look.value, np.nan))
        look.bank.store()
        for at, (subject, one) in enumerate(zip(subjects, found, strict=True)):
            model = subject.model
            if model.opened and not one.suppressed:
                self._learn_organisations(state, subject, one)
                self._learn_parts(state, subject)
                self._learn_price(state, subject.window)
                self._learn_pace(state, subject.window)
                one.breaks = self._learn_metrics(subject, look, at * len(FORECAST), one)
            if model.opened:
                self._keep(state, subject, look, at * len(FORECAST), one)
            model.opened, model.last_start_us = True, subject.window.start_us
        for row in due:
            subjects[row // len(FORECAST)].model.due.append(row % len(FORECAST))
        for subject in subjects:
            state.put(f"filter/{subject.window.model}", subject.model)

    def catch_up(self, state: State[Any], name: str, model: Filter) -> bool:
        """Learn anew what is due; whether anything was. To be called before a model's next window at the latest."""
        due, model.due = model.due, []
        for metric in due:
            self._relearn(state, name, model, metric)
        return bool(due)

    def _learn_organisations(self, state: State[Any], subject: Subject, found: Found) -> None:
        users = state.get(f"organisations/{subject.window.model}") or Organisations()
        usual_window = not any(f.metric in TRAFFIC and f.detector == "arima" for f in found.findings)
        organisations.learn(users, subject.window, self.surge, usual_window)
        state.put(f"organisations/{subject.window.model}", users)

    def _learn_parts(self, state: State[Any], subject: Subject) -> None:
        if subject.window.parts:
            known = state.get(f"parts/{subject.window.model}") or Parts()
            parts.learn(known, subject.window, self.parts)
            state.put(f"parts/{subject.window.model}", known)

    def _learn_price(self, state: State[Any], window: MetricWindow) -> None:
        paid: Price = state.get(f"price/{window.model}") or Price()
        price.learn(paid, window.cost_microusd, window.input_tokens + window.output_tokens, self.price)
        state.put(f"price/{window.model}", paid)

    def _learn_pace(self, state: State[Any], window: MetricWindow) -> None:
        known: Pace = state.get(f"pace/{window.model}") or Pace()
        sample = Sample(PACE.read(window), window.completions - window.errors)
        pace.learn(known, sample, self.pace)
        state.put(f"pace/{window.model}", known)

    def _learn_metrics(self, subject: Subject, look: Look, first: int, found: Found) -> list[str]:
        """Thresholds, CUSUMs, and levels that have lasted; returns the metrics in which PELT sees a recent break."""
        params, model = self.params, subject.model
        sources = {measure.source for measure in MEASURES if measure.metric in found.by_metric}
        breaks = [COUNTED] if self._errors_broke(subject, found.errors) else []
        for i, measure in enumerate(FORECAST):
            one, row = model.tracks[measure.metric], first + i
            one.cusum = float(look.cusum[row])
            seen, level = measure.metric in found.by_metric, float(look.level[row])
            track.learn(one, seen, bool(look.beyond[row]), len(sources) < 2, params, level, model.learned)
            moved = look.may_have_broken[row] or one.run >= params.relearn_after
            one.newest = self._break_of(subject, i, look.value_of(row)) if moved else None
            news = track.is_news(one.newest, measure, params.pelt, self._effects[measure.metric])
            if news and not look.back[row]:
                breaks.append(measure.metric)
            track.start_over(one, one.newest, model.learned + 1, params)
        if found.errors is not None:
            model.piled = found.errors.piled
            Rate(self.rate, model.rate).learn((subject.window.errors, trials(subject.window)))
        return breaks

    def _errors_broke(self, subject: Subject, errors: Errors | None) -> bool:
        effect = self._effects[COUNTED]
        if errors is None or not errors.has_left(subject.past.values[-3:, INDEX[COUNTED]].tolist(), effect / 2):
            return False
        newest = self._newest_break(subject.past, INDEX[COUNTED], errors.actual)
        return track.is_news(newest, MEASURES[INDEX[COUNTED]], self.params.pelt, effect)

    def _break_of(self, subject: Subject, i: int, value: float | None) -> Break | None:
        """Searched in every third window, a model's metrics by turns; the last one found ages in between."""
        last = subject.model.tracks[FORECAST[i].metric].newest
        if (subject.model.learned + i) % SEARCH_EVERY == 0:
            return self._newest_break(subject.past, INDEX[FORECAST[i].metric], value)
        return None if last is None else replace(last, age_windows=last.age_windows + 1)

    def _newest_break(self, past: Past, column: int, value: float | None) -> Break | None:
        values = past.values[1 - self.params.pelt.history_max :, column]
        known = values[values == values].tolist()
        return track.newest_break(known if value is None else [*known, value], self.params.pelt)

    def _keep(self, state: State[Any], subject: Subject, look: Look, first: int, found: Found) -> None:
        """Remember the window's values: its row of the history, its part of the slot and of the hour.

        A window in a maintenance is kept as missing.
        """
        window, model = subject.window, subject.model
        rows = slice(first, first + len(FORECAST))
        self._next_slot(state, subject)
        for i, measure in enumerate(FORECAST):
            value = None if found.suppressed else look.value_of(first + i)
            if measure.metric not in found.by_metric and value is not None:
                error = float(look.bank.error[first + i])
                model.tracks[measure.metric].sums.learn(value + float(look.profile[first + i]), error)
        flags = sum(1 << INDEX[metric] for metric in found.by_metric)
        errors = math.nan if found.errors is None or found.suppressed else found.errors.actual
        values = np.where(found.suppressed, np.nan, look.value[rows])
        hour, within_us = divmod(window.start_us, HOUR_US)
        model.hours = history.append(
            state,
            window.model,
            model.hours,
            (hour, within_us // MINUTE_US),
            np.concatenate([[errors], values]),
            np.concatenate([[0.0], look.profile[rows]]),
            flags,
        )
        model.learned += 1

    def _next_slot(self, state: State[Any], subject: Subject) -> None:
        """Close the slot before this window's, and ask whether the profiles had foreseen it."""
        name, model, slot = subject.window.model, subject.model, slot_of(subject.window.start_us)
        if slot == model.slot:
            return
        if model.slot >= 0:
            tracks = [model.tracks[measure.metric] for measure in FORECAST]
            model.days = season.close_slot(state, name, model.days, model.slot, slot, [one.sums for one in tracks])
            season.believe(state, name, model.slot, [one.trust for one in tracks])
        model.slot = slot

    def _relearn(self, state: State[Any], name: str, model: Filter, i: int) -> None:
        """One metric's profile from the days kept, and its ARIMA from what the last hours were above it."""
        one, column = model.tracks[FORECAST[i].metric], INDEX[FORECAST[i].metric]
        if self.params.seasonal and season.relearn(state, name, model.days, i, model.slot):
            profile, weight = season.profile_of(state, name, i), one.trust.weight
            history.reprofile(state, name, model.hours, column, lambda us: weight * profile_at(profile, us))
        past = history.recent(state, name, model.hours, model.learned, self.params.arima.fit_points_max)
        values = past.values[max(one.since - past.first, 0) :, column].tolist()
        refit(one.arima, [x if x == x else None for x in values], self.params.arima)
        one.arima.fit_due = track.windows_to_fit(self.params, name, i, one.arima.learned)
