"""Alerting: from judged windows to one alert per incident. Reads `judged`; alerts go out and down `raised`.

    witnesses  a window counts for a family (pipeline.judging.families) when a leading metric moved and at least
               `votes_min` (2) independent witnesses agree: different sources, the multivariate score, a hard limit, one
               organisation's share; PELT's break confirms but never leads          detectors.consensus
    persists   `windows_min` of the last `windows_of` windows count (3 of 5); `hard_min` of `hard_of` (2 of 3) when
               they break a hard limit
    open       once; `update` when the severity rises, when the organisation behind it is found, and every
               `update_every` anomalous windows; `resolved` after `resolve_after` windows without a leading anomaly,
               so a flapping metric holds its alert open
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

Error bursts and latency spikes break hard limits: 2 of 3 opens them in the second window, 3 of 5 in the third, at no
false alarm either way. Here three in a row does nearly as well, since these incidents are steady; on production series
it lost a third to a half of the events, which is why 3 of 5 is the default.

Suppressed windows (maintenance) count as quiet. While a deployment is observed (`observe_us`), what a new version may
legitimately change opens with severity *info* (it informs, pages nobody, asks for no command) unless a hard limit is
broken. After every window a `Tick` with its end passes down `raised`, so that what waits for event time can move on.

State keys: `model/<model>` (about 1 kB), `context`, `models`, `cursor`.
"""

from typing import Any, ClassVar, Literal

from msgspec import Struct, field

from detectors import consensus
from detectors.consensus import ConsensusParams, ConsensusState
from pipeline.judging import context
from pipeline.judging.alerts import Open, Status, confirm, record
from pipeline.judging.context import Context
from pipeline.judging.coordinates import Cursor, next_id
from pipeline.judging.families import (
    FAMILIES,
    RANK,
    Family,
    kind,
    leading,
    severity,
    witnesses,
)
from pipeline.judging.metrics import BY_METRIC, LATENCIES, scaled
from pipeline.judging.roster import Roster, arrived
from pipeline.judging.shape import WINDOWS_MAX, is_gradual
from pipeline.stage import Batch, Output, State
from topics.control import Relayed
from topics.fields import HOUR_US, Severity
from topics.records import Alert, Anomaly, Judged
from topics.traffic import Tick


class AlertingParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Counts are of windows; see the top of this file for what each does, and the numbers behind it."""

    votes_min: int = 2
    windows_min: int = 3
    windows_of: int = 5
    hard_min: int = 2
    hard_of: int = 3
    update_every: int = 10
    resolve_after: int = 5
    fold_windows: int = 5
    observe_us: int = 24 * HOUR_US
    models_max: int = 1_000
    idle_hours: int = 7 * 24

    def __post_init__(self) -> None:
        if min(self.update_every, self.resolve_after) < 1 or self.fold_windows < 0:
            raise ValueError("update_every and resolve_after must be at least 1, fold_windows at least 0")
        self.consensus(hard=False)
        self.consensus(hard=True)

    def consensus(self, hard: bool) -> ConsensusParams:
        """Witnesses count once each, the multivariate one too; ValueError for windows that cannot be met."""
        windows_min, windows_of = (self.hard_min, self.hard_of) if hard else (self.windows_min, self.windows_of)
        return ConsensusParams(
            votes_min=self.votes_min, windows_min=windows_min, windows_of=windows_of, per_metric_max=1, weights={}
        )


class Watch(Struct):
    """One family of one model. `began`: number of the window in which the present run of counting windows began."""

    soft: ConsensusState = ConsensusState()
    hard: ConsensusState = ConsensusState()
    began: int = -1
    began_us: int = 0
    counted: int = 0
    quiet: int = 0
    open: Open | None = None


class Model(Struct, tag="model"):
    """What is watched of one model; `recent` are the last windows' latencies on the judging scale, by metric."""

    windows: int = 0
    watches: dict[str, Watch] = field(default_factory=lambda: {family.name: Watch() for family in FAMILIES})
    recent: dict[str, list[float]] = {}


class Alerting:
    """The stage; see the top of this file."""

    values: ClassVar[Any] = Model | Context | Roster | Cursor

    def __init__(self, params: AlertingParams) -> None:
        self.params = params
        self._soft, self._hard = params.consensus(hard=False), params.consensus(hard=True)

    def step(self, state: State[Any], batch: Batch) -> list[Output]:
        """Alerts go to `alerts` and down `raised`, followed by the window's Tick; control events pass as they are."""
        outputs: list[Output] = []
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            if type(event) is Relayed:
                self._hear(state, event)
                outputs.append(Output(offset, "raised", event.event.id, event))
                continue
            for alert in self._weigh(state, batch.partition, offset, event):
                outputs.append(Output(offset, "alerts", alert.model, alert))
                outputs.append(Output(offset, "raised", alert.model, alert))
            outputs.append(Output(offset, "raised", event.window.model, Tick(time_us=event.window.end_us)))
        return outputs

    def _hear(self, state: State[Any], relayed: Relayed) -> None:
        known = state.get("context") or Context()
        if context.heard(known, relayed):
            state.put("context", known)

    def _weigh(self, state: State[Any], partition: int, offset: int, judged: Judged) -> list[Alert]:
        name = judged.window.model
        hour = judged.window.start_us // HOUR_US
        for gone in arrived(state, name, hour, self.params.models_max, self.params.idle_hours):
            state.drop(f"model/{gone}")
        model: Model = state.get(f"model/{name}") or Model()
        _remember(model, judged)
        known: Context | None = state.get("context")
        observed = known is not None and context.observed(known, name, judged.window.start_us, self.params.observe_us)
        alerts = []
        for family in FAMILIES:
            watch = model.watches[family.name]
            status = self._watch(model, family, watch, judged, bool(observed))
            if watch.open is None or not status:
                continue
            id_ = next_id(state, partition, offset, prefix="a")
            watch.open.alert = watch.open.alert or id_
            alerts.append(record(id_, status, family, watch.open, judged))
            if status == "resolved":
                watch.open = None
        model.windows += 1
        state.put(f"model/{name}", model)
        return alerts

    def _watch(
        self, model: Model, family: Family, watch: Watch, judged: Judged, observed: bool
    ) -> Status | Literal[""]:
        """Move one family on by one window; what is to be published of its alert, if anything."""
        votes = [] if judged.suppressed else witnesses(family, judged)
        watch.soft, outcome = consensus.step(watch.soft, self._soft, votes)
        hard = votes if any(vote.detector == "limit" for vote in votes) else []
        watch.hard, limits = consensus.step(watch.hard, self._hard, hard)
        self._run(model, watch, judged, counts=watch.soft.counted[-1], active=bool(votes))
        if watch.open is not None:
            return self._carry_on(family, watch, watch.open, judged, bool(votes), observed)
        if not (outcome.confirmed or limits.confirmed):
            return ""
        grade = _grade(family, judged, observed)
        if self._folded(model, family, watch, judged, grade):
            return ""
        gradual = family.name == "latency" and _gradual(model, leading(family, judged))
        watch.open = Open("", kind(family, judged, gradual), grade, watch.began_us, watch.counted)
        confirm(watch.open, family, judged)
        return "open"

    def _run(self, model: Model, watch: Watch, judged: Judged, counts: bool, active: bool) -> None:
        """Where the present run of counting windows began; it ends with as many quiet windows as resolve an alert."""
        watch.quiet = 0 if active else watch.quiet + 1
        if watch.quiet >= self.params.resolve_after:
            watch.began, watch.counted = -1, 0
        if counts and watch.began < 0:
            watch.began, watch.began_us = model.windows, judged.window.start_us
        watch.counted += counts

    def _carry_on(
        self, family: Family, watch: Watch, alert: Open, judged: Judged, active: bool, observed: bool
    ) -> Status | Literal[""]:
        if not active:
            return "resolved" if watch.quiet >= self.params.resolve_after else ""
        alert.windows += 1
        grade = _grade(family, judged, observed)
        graver = RANK[grade] > RANK[alert.severity]
        known = alert.organisation
        confirm(alert, family, judged)
        if graver:
            alert.severity = grade
        alert.told += 1
        if not graver and alert.organisation == known and alert.told < self.params.update_every:
            return ""
        alert.told = 0
        return "update"

    def _folded(self, model: Model, family: Family, watch: Watch, judged: Judged, grade: Severity) -> bool:
        """Whether another family's open alert is the same incident; then it takes this one's confirmations."""
        for other in FAMILIES:
            host = model.watches[other.name]
            if other is family or host.open is None or RANK[grade] > RANK[host.open.severity]:
                continue
            if abs(watch.began - host.began) <= self.params.fold_windows:
                confirm(host.open, family, judged)
                return True
        return False


def _remember(model: Model, judged: Judged) -> None:
    for metric in LATENCIES:
        value = scaled(metric, BY_METRIC[metric].read(judged.window))
        if value is not None:
            model.recent[metric] = [*model.recent.get(metric, []), value][-WINDOWS_MAX:]


def _gradual(model: Model, leads: list[Anomaly]) -> bool:
    """By the steadiest of the metrics that moved: p50 varies least."""
    moved = {anomaly.metric for anomaly in leads}
    steadiest = next(metric for metric in reversed(LATENCIES) if metric in moved)
    return is_gradual(model.recent.get(steadiest, []))


def _grade(family: Family, judged: Judged, observed: bool) -> Severity:
    leads = leading(family, judged)
    if observed and family.observed and not any(anomaly.detector == "limit" for anomaly in leads):
        return "info"
    return severity(family, judged)
