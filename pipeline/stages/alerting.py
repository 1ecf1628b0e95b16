"""Alerting: from judged windows to one alert per incident. Reads `judged`; alerts go out, to `control`, down `raised`.

    witnesses  a window counts for a family (pipeline.judging.families) when a leading metric moved and at least
               `votes_min` (2) independent witnesses agree: different sources, the multivariate score, a hard limit, one
               organisation's share; PELT's break confirms but never leads          detectors.consensus
    persists   `windows_min` of the last `windows_of` windows count (3 of 5); `hard_min` of `hard_of` (2 of 3) when
               they break a hard limit or are plain: two witnesses each out by `plain_reach` (1.2) times their own
               threshold, one by `lone_reach` (2.25) in a metric that does not jump, or errors that have added up;
               one window, or two in a row, when their evidence is overwhelming: their witnesses are out by
               `one_window` (5) or `two_windows` (5) thresholds together, or what a token takes or costs is out by
               `alone` (3) of its own                                                pipeline.judging.evidence
    open       once; `update` when the severity rises, when the organisation behind it is found, and every
               `update_every` anomalous windows; `resolved` after `resolve_after` windows without a leading anomaly,
               so a flapping metric holds its alert open
               one that is back within `reopen_windows` is the same alert, by an `update`, and from then on takes as
               many quiet windows more to resolve each time (`hold_max` times as many at most): so it stays open
               instead of being raised a hundred times
    sudden     what the fast path found (`Sudden`) opens a provisional alert at once; the first window that speaks for
               it confirms it, `withdraw_after` (2) that do not withdraw it         pipeline.judging.provisional
    sensitive  a finding speaks for a family of a model when it is out by k times its own threshold; people's feedback
               and the noise budget (`alerts_a_day` of a model, `alerts_a_day_partition` of all) move k, and every
               change is published on `thresholds`                                  pipeline.judging.sensitivity
    fold       a family that begins within `fold_windows` of an open alert's start and is no graver is that incident
               showing elsewhere: it joins as confirmation and opens none of its own

Why 3 of 5: `python -m tests.stages.persistence`, on seeds that no number was chosen on; 24 runs of five incidents each
(6 to 29 minutes, 150 to 600 requests a minute) and 8 quiet model-days (40 to 600 a minute); hard limits 2 of 3 in all:

    persistence    incidents found    of token surges    median delay of drop, surge, leak    false a quiet model-day
    3 of 5         118 of 120         22 of 24           3, 3, 11 windows                     0.25
    2 of 3         119 of 120         23 of 24           2, 2, 11                             1.25
    2 of 5         120 of 120         24 of 24           2, 2, 10                             1.25
    3 of 4         118 of 120         22 of 24           3, 3, 12                             0.125
    3 in a row     117 of 120         21 of 24           3, 3, 12                             0     (the mission's rule)

That was before evidence and habits; with them the rules hardly differ (docs/decisions/0005).

Error bursts and latency spikes break hard limits: 2 of 3 opens them in the second window, 3 of 5 in the third, at no
false alarm either way. Here three in a row does nearly as well, since these incidents are steady; on production series
it lost a third to a half of the events, which is why 3 of 5 is the default.

And on labelled weeks (docs/scenarios.md; tuning seeds 4 and 5, 78 incidents of thirteen kinds in 6.9 model-weeks):

    persistence; 2 of 3 for        found    false a week and model    median delay, of the hard ones
    3 of 5; hard limits            76       0.44                      2.8, 3.3 min
    3 of 5; and what is plain      77       0.73                      2.0, 3.0 min     (the default)
    2 of 3                         77       0.88                      2.0, 2.3 min
    3 in a row; hard limits        75       0.58                      2.8, 3.2 min     (the mission's rule)

Suppressed windows (maintenance) count as quiet. While a deployment is observed (`observe_us`), what a new version may
legitimately change opens with severity *info* (it informs, pages nobody, asks for no command) unless a hard limit is
broken. So does what an announced launch explains (pipeline.judging.context). After every window a `Tick` with its end
passes down `raised`, so that what waits for event time can move on.

What organisations do that come and go as they have before, batch jobs for one, opens no alert of tokens or traffic
(pipeline.judging.habits).

Every alert names its probable cause (pipeline.judging.causes): the region, client, tier or organisation that explains
it, the version just deployed, or the model itself; an `update` tells when a part stands out later than the alert.

State keys: `model/<model>` (about 1 kB), `shares/<model>` (up to 10 kB: the usual parts of its traffic),
`habits/<model>` (up to 10 kB: who comes and goes), `raised` (whom a verdict on an alert concerns), `today`, `context`,
`models`, `cursor`.
"""

from typing import Any, ClassVar, Literal

from msgspec import Struct

from detectors import consensus
from detectors.consensus import Consensus, ConsensusParams, Vote
from pipeline.judging import causes, context, evidence, habits, raised, sensitivity
from pipeline.judging.alerts import Open, Status, confirm, notes, record, sudden_record
from pipeline.judging.causes import CauseParams, Shares
from pipeline.judging.context import Context
from pipeline.judging.coordinates import Cursor, next_id
from pipeline.judging.families import ANNOUNCED, FAMILIES, RANK, Family, leading, witnesses
from pipeline.judging.grading import grade, launch_of
from pipeline.judging.habits import HabitParams, Habits
from pipeline.judging.provisional import Raising, host_of, raised_by, unheard
from pipeline.judging.raised import Raised, Today
from pipeline.judging.roster import Roster, arrived
from pipeline.judging.sensitivity import SensitivityParams
from pipeline.judging.watches import Model, Watch, kind_of, take_in, thresholds
from pipeline.stage import Batch, Output, State
from topics.control import Feedback, Relayed
from topics.fields import HOUR_US, MINUTE_US, Severity
from topics.links import Sudden
from topics.records import Alert, Judged, Thresholds
from topics.traffic import Tick

PLAIN = Vote("plain", "plain")


class AlertingParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Counts are of windows; see the top of this file for what each does, and the numbers behind it."""

    votes_min: int = 2
    windows_min: int = 3
    windows_of: int = 5
    hard_min: int = 2
    hard_of: int = 3
    plain_reach: float = 1.2
    lone_reach: float = 2.25
    one_window: float = 5.0
    two_windows: float = 5.0
    alone: float = 3.0
    update_every: int = 10
    resolve_after: int = 5
    reopen_windows: int = 5
    hold_max: int = 4
    fold_windows: int = 5
    withdraw_after: int = 2
    observe_us: int = 24 * HOUR_US
    sensitivity: SensitivityParams = SensitivityParams()
    causes: CauseParams = CauseParams()
    habits: HabitParams = HabitParams()
    alerts_a_day: int = 6
    alerts_a_day_partition: int = 60
    alerts_remembered: int = 1_000
    models_max: int = 1_000
    idle_hours: int = 7 * 24

    def __post_init__(self) -> None:
        if min(self.update_every, self.resolve_after, self.hold_max) < 1 or self.fold_windows < 0:
            raise ValueError("update_every, resolve_after and hold_max must be at least 1, fold_windows at least 0")
        if self.withdraw_after < 1:
            raise ValueError("withdraw_after must be at least 1")
        if min(self.alerts_a_day, self.alerts_a_day_partition, self.alerts_remembered) < 1:
            raise ValueError("alerts_a_day, alerts_a_day_partition and alerts_remembered must be at least 1")
        self.consensus(hard=False)
        self.consensus(hard=True)

    def consensus(self, hard: bool) -> ConsensusParams:
        """Witnesses count once each, the multivariate one too; ValueError for windows that cannot be met."""
        windows_min, windows_of = (self.hard_min, self.hard_of) if hard else (self.windows_min, self.windows_of)
        return ConsensusParams(
            votes_min=self.votes_min, windows_min=windows_min, windows_of=windows_of, per_metric_max=1, weights={}
        )


class Alerting:
    """The stage; see the top of this file."""

    values: ClassVar[Any] = Model | Shares | Habits | Raised | Today | Context | Roster | Cursor

    def __init__(self, params: AlertingParams) -> None:
        self.params = params
        self._soft, self._hard = params.consensus(hard=False), params.consensus(hard=True)

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        """Alerts go to `alerts`, `control` and down `raised`, then the window's Tick; control events pass."""
        outputs: list[Output] = []
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            if type(event) is Relayed:
                told = self._hear(state, batch.partition, offset, event)
                outputs.append(Output(offset, "raised", event.event.id, event))
            elif type(event) is Sudden:
                alerts, told = self._raise(state, batch.partition, offset, event)
                outputs += _told(offset, alerts)
            else:
                alerts, told = self._weigh(state, batch.partition, offset, event)
                outputs += _told(offset, alerts)
                outputs.append(Output(offset, "raised", event.window.model, Tick(time_us=event.window.end_us)))
            if told is not None:
                outputs.append(Output(offset, "thresholds", told.model, told))
        return outputs

    def _hear(self, state: State[Any], partition: int, offset: int, relayed: Relayed) -> Thresholds | None:
        if isinstance(relayed.event, Feedback):
            return self._teach(state, partition, offset, relayed.event)
        known = state.get("context") or Context()
        if context.heard(known, relayed):
            state.put("context", known)
        return None

    def _teach(self, state: State[Any], partition: int, offset: int, feedback: Feedback) -> Thresholds | None:
        """Let a verdict move the threshold it concerns, at the model's own time; what to publish of it."""
        whom = raised.concerned(state, feedback)
        model: Model | None = state.get(f"model/{whom.model}") if whom else None
        if whom is None or model is None:
            return None
        watch, false = model.watches[whom.family], feedback.verdict == "false"
        sensitivity.teach(watch.sensitivity, self.params.sensitivity, false, model.time_us, whom.judged_us)
        raised.keep_verdict(state, feedback, model.time_us)
        state.put(f"model/{whom.model}", model)
        return self._thresholds(state, partition, offset, whom.model, model)

    def _raise(
        self, state: State[Any], partition: int, offset: int, sudden: Sudden
    ) -> tuple[list[Alert], Thresholds | None]:
        """What the fast path found in a model that has had windows."""
        model: Model | None = state.get(f"model/{sudden.model}")
        if model is None:
            return [], None
        known: Context = state.get("context") or Context()
        raising = Raising(self.params.fold_windows, self.params.reopen_windows, self.params.sensitivity)
        alerts, changed = [], False
        for family, watch, status, lead in raised_by(model, sudden, known, raising):
            assert watch.open is not None
            id_ = self._named(state, partition, offset, sudden.model, family, watch.open)
            said: list[str] = []
            if not watch.open.counted and watch.open.severity != "info":
                said, changed = self._spend(state, model, family, watch, watch.open), True
            alerts.append(sudden_record(id_, status, watch.open, sudden, lead, said))
        state.put(f"model/{sudden.model}", model)
        return alerts, self._thresholds(state, partition, offset, sudden.model, model) if changed else None

    def _named(self, state: State[Any], partition: int, offset: int, model: str, family: Family, alert: Open) -> str:
        """The id of the alert's next step; the first one names it."""
        id_ = next_id(state, partition, offset, prefix="a")
        if not alert.alert:
            alert.alert = id_
            raised.remember(state, id_, model, family.name, self.params.alerts_remembered)
        return id_

    def _weigh(
        self, state: State[Any], partition: int, offset: int, judged: Judged
    ) -> tuple[list[Alert], Thresholds | None]:
        """One window of one model: what happens to its alerts; its thresholds if they or the day's count changed."""
        name = judged.window.model
        hour = judged.window.start_us // HOUR_US
        for gone in arrived(state, name, hour, self.params.models_max, self.params.idle_hours):
            state.drop(f"model/{gone}")
            state.drop(f"shares/{gone}")
            state.drop(f"habits/{gone}")
        model: Model = state.get(f"model/{name}") or Model(since_us=judged.window.end_us)
        changed = take_in(model, judged, self.params.sensitivity)
        known: Context = state.get("context") or Context()
        shares, habit = self._take_in_parts(state, judged), self._take_in_habits(state, judged)
        alerts = []
        for family in FAMILIES:
            watch = model.watches[family.name]
            heard = self._heard(family, watch, judged)
            status = self._watch(model, family, watch, heard, known, habit, shares)
            if watch.open is None:
                continue
            if status not in ("resolved", "withdrawn") and self._blame(watch.open, family, shares, heard, known):
                status = status or "update"
            if not status:
                continue
            id_ = self._named(state, partition, offset, name, family, watch.open)
            said = self._said(family, watch, watch.open, heard, known)
            if not watch.open.counted and watch.open.severity != "info":
                said, changed = said + self._spend(state, model, family, watch, watch.open), True
            alerts.append(record(id_, status, family, watch.open, heard, said))
            if status == "resolved":
                watch.closed, watch.closed_at, watch.open = watch.open, model.windows, None
            elif status == "withdrawn":
                watch.open = None
        model.windows += 1
        state.put(f"model/{name}", model)
        return alerts, self._thresholds(state, partition, offset, name, model) if changed else None

    def _heard(self, family: Family, watch: Watch, judged: Judged) -> Judged:
        """The window as the family sees it; whole while it is to confirm what the fast path has raised."""
        if watch.open is not None and watch.open.provisional:
            return judged
        return sensitivity.weighed(judged, family, sensitivity.in_force(watch.sensitivity, self.params.sensitivity))

    def _take_in_parts(self, state: State[Any], judged: Judged) -> Shares:
        """What this window says of the parts of the model's traffic."""
        shares: Shares = state.get(f"shares/{judged.window.model}") or Shares()
        anomalous = bool(judged.anomalies) and not judged.suppressed
        causes.take_in(shares, judged.window, anomalous, self.params.causes)
        state.put(f"shares/{judged.window.model}", shares)
        return shares

    def _take_in_habits(self, state: State[Any], judged: Judged) -> Habits:
        """What this window says of who comes and goes; in a maintenance it says nothing."""
        known: Habits = state.get(f"habits/{judged.window.model}") or Habits()
        if not judged.suppressed:
            habits.take_in(known, judged.window.top_organisations, self.params.habits)
            state.put(f"habits/{judged.window.model}", known)
        return known

    def _blame(self, alert: Open, family: Family, shares: Shares, judged: Judged, known: Context) -> bool:
        """Find the cause of an open alert, if this window shows it; whether a part now stands out where none did.

        A part that was found is given up for another part only.
        """
        if judged.suppressed or not leading(family, judged):
            return False
        deployed = context.observed(known, judged.window.model, alert.started_us + MINUTE_US, self.params.observe_us)
        found = causes.explain(
            shares, family, alert.kind, judged.window.model, deployed, alert.organisation, self.params.causes
        )
        before = causes.is_part(alert.causes)
        if before and not causes.is_part(found):
            return False
        news = bool(alert.causes) and not before and causes.is_part(found)
        alert.causes = found
        return news

    def _thresholds(self, state: State[Any], partition: int, offset: int, name: str, model: Model) -> Thresholds:
        id_ = next_id(state, partition, offset, prefix="t")
        params = self.params
        return thresholds(id_, name, model, params.sensitivity, params.alerts_a_day, params.windows_min)

    def _spend(self, state: State[Any], model: Model, family: Family, watch: Watch, alert: Open) -> list[str]:
        """Count an alert that pages somebody; what to say, once that uses up a budget of the day."""
        alert.counted = True
        model.alerts += 1
        of_all = raised.count(state, model.day)
        if model.alerts < self.params.alerts_a_day and of_all < self.params.alerts_a_day_partition:
            return []
        sensitivity.overspent(watch.sensitivity, self.params.sensitivity)
        k = sensitivity.in_force(watch.sensitivity, self.params.sensitivity)
        of_model = model.alerts >= self.params.alerts_a_day
        whose = f"{model.alerts} of this model" if of_model else f"{of_all} of all models"
        return [
            f"With it the noise budget is used up ({whose} today): until midnight UTC, {family.name} findings speak "
            f"from {k:.3g} times their threshold on, hard limits excepted."
        ]

    def _said(self, family: Family, watch: Watch, alert: Open, judged: Judged, known: Context) -> list[str]:
        """What else a person should know of an alert while it is open."""
        params = self.params.sensitivity
        launch = launch_of(family, judged, known) if alert.kind == ANNOUNCED else None
        k, why = sensitivity.in_force(watch.sensitivity, params), sensitivity.reason(watch.sensitivity, params)
        return notes(alert, k, why, launch, self._patient(alert))

    def _watch(
        self,
        model: Model,
        family: Family,
        watch: Watch,
        judged: Judged,
        known: Context,
        habit: Habits,
        shares: Shares,
    ) -> Status | Literal[""]:
        """Move one family on by one window; what is to be published of its alert, if anything."""
        votes = [] if judged.suppressed else witnesses(family, judged)
        watch.soft, outcome = consensus.step(watch.soft, self._soft, votes)
        watch.hard, limits = consensus.step(watch.hard, self._hard, self._beyond_doubt(family, judged, votes))
        overwhelming = self._overwhelming(family, watch, judged)
        counts = watch.soft.counted[-1] or watch.hard.counted[-1] or overwhelming
        self._run(model, watch, judged, counts=counts, active=bool(votes))
        if watch.open is not None:
            return self._carry_on(model, family, watch, watch.open, judged, bool(votes), known)
        more = sensitivity.patience(watch.sensitivity, self.params.sensitivity)
        sure = overwhelming and not more
        if not (sure or _confirmed(outcome, self._soft, more) or _confirmed(limits, self._hard, more)):
            return ""
        if habits.explain(habit, shares, family, judged, self.params.habits, self.params.causes):
            return ""
        graded = grade(family, judged, known, self.params.observe_us)
        if self._folded(model, family, watch, judged, graded):
            return ""
        return self._open(model, family, watch, judged, graded, known)

    def _beyond_doubt(self, family: Family, judged: Judged, votes: list[Vote]) -> list[Vote]:
        """The votes of a window that breaks a hard limit or is plain, which is a witness of its own; else none."""
        if votes and sensitivity.plain(judged, family, self.params.plain_reach, self.params.lone_reach):
            return [*votes, PLAIN]
        return votes if any(vote.detector == "limit" for vote in votes) else []

    def _overwhelming(self, family: Family, watch: Watch, judged: Judged) -> bool:
        """Whether the evidence of this window and the last one leaves no doubt; keeps it for the next."""
        before, watch.evidence = watch.evidence, evidence.of(family, judged)
        if evidence.alone(family, judged) >= self.params.alone:
            return True
        return evidence.overwhelming(before, watch.evidence, self.params.one_window, self.params.two_windows)

    def _open(
        self, model: Model, family: Family, watch: Watch, judged: Judged, graded: Severity, known: Context
    ) -> Status:
        """A new alert, or the one that has only just been resolved."""
        again = watch.closed if model.windows - watch.closed_at <= self.params.reopen_windows else None
        watch.closed = None
        if again is not None:
            again.severity, again.told = graded, 0
            again.windows, again.reopened = again.windows + watch.counted, again.reopened + 1
            watch.open = again
        else:
            explained = launch_of(family, judged, known) is not None
            named = ANNOUNCED if explained else kind_of(model, family, judged)
            watch.open = Open("", named, graded, watch.began_us, watch.counted)
        confirm(watch.open, family, judged)
        return "update" if again else "open"

    def _patient(self, alert: Open) -> int:
        """Quiet windows that resolve an alert."""
        return self.params.resolve_after * min(1 + alert.reopened, self.params.hold_max)

    def _run(self, model: Model, watch: Watch, judged: Judged, counts: bool, active: bool) -> None:
        """Where the present run of counting windows began; it ends with as many quiet windows as resolve an alert."""
        watch.quiet = 0 if active else watch.quiet + 1
        if watch.quiet >= self.params.resolve_after:
            watch.began, watch.counted = -1, 0
        if counts and watch.began < 0:
            watch.began, watch.began_us = model.windows, judged.window.start_us
        watch.counted += counts

    def _carry_on(
        self, model: Model, family: Family, watch: Watch, alert: Open, judged: Judged, active: bool, known: Context
    ) -> Status | Literal[""]:
        if alert.provisional and not active:
            return "withdrawn" if unheard(watch, alert, judged, self.params.withdraw_after) else ""
        if not active:
            return "resolved" if watch.quiet >= self._patient(alert) else ""
        alert.windows += 1
        graded = grade(family, judged, known, self.params.observe_us)
        graver = RANK[graded] > RANK[alert.severity]
        named = alert.organisation
        confirm(alert, family, judged)
        if graver:
            alert.severity = graded
            alert.kind = kind_of(model, family, judged) if alert.kind == ANNOUNCED else alert.kind
        alert.told += 1
        confirmed, alert.provisional = alert.provisional, False
        if not (graver or confirmed) and alert.organisation == named and alert.told < self.params.update_every:
            return ""
        alert.told = 0
        return "update"

    def _folded(self, model: Model, family: Family, watch: Watch, judged: Judged, grade: Severity) -> bool:
        """Whether another family's open alert is the same incident; then it takes this one's confirmations."""
        host = host_of(model, family, watch.began, grade, self.params.fold_windows)
        if host is not None:
            confirm(host, family, judged)
        return host is not None


def _told(offset: int, alerts: list[Alert]) -> list[Output]:
    """To subscribers, into the control log for incidents, and to mitigation, step by step."""
    return [
        Output(offset, to, key, alert)
        for alert in alerts
        for to, key in (("alerts", alert.model), ("control", alert.id), ("raised", alert.model))
    ]


def _confirmed(outcome: Consensus, params: ConsensusParams, more: int) -> bool:
    """Whether enough windows count when `more` of them are asked for than usual."""
    return outcome.confirmed and outcome.windows >= min(params.windows_min + more, params.windows_of)
