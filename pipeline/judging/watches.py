"""What alerting remembers of a model: each family's windows and alerts, the day's count, the shape of its latencies."""

from msgspec import Struct, field

from detectors.consensus import ConsensusState
from pipeline.judging import sensitivity
from pipeline.judging.alerts import Open
from pipeline.judging.families import FAMILIES, Family, kind, leading
from pipeline.judging.metrics import BY_METRIC, SLOWNESS, scaled
from pipeline.judging.sensitivity import DAY_US, Sensitivity, SensitivityParams
from pipeline.judging.shape import WINDOWS_MAX, is_gradual
from topics.records import Judged, Thresholds


class Watch(Struct):
    """One family of one model. `began`: number of the window in which the present run of counting windows began.

    `closed`: the alert resolved last, in window `closed_at`. `evidence`: of the last window
    (pipeline.judging.evidence).
    """

    soft: ConsensusState = ConsensusState()
    hard: ConsensusState = ConsensusState()
    began: int = -1
    began_us: int = 0
    counted: int = 0
    quiet: int = 0
    evidence: float = 0.0
    open: Open | None = None
    closed: Open | None = None
    closed_at: int = 0
    sensitivity: Sensitivity = field(default_factory=Sensitivity)


class Model(Struct, tag="model"):
    """What is watched of one model; `recent` are the last windows' latencies on the judging scale, by metric.

    `since_us`, `time_us`: ends of the first and of the last window; `alerts`: counted on `day` (since 1970, UTC).
    """

    windows: int = 0
    since_us: int = 0
    time_us: int = 0
    day: int = -1
    alerts: int = 0
    watches: dict[str, Watch] = {}
    recent: dict[str, list[float]] = {}

    def __post_init__(self) -> None:
        for family in FAMILIES:  # also of a state from before a family was there
            self.watches.setdefault(family.name, Watch())


def take_in(model: Model, judged: Judged, params: SensitivityParams) -> bool:
    """Note the window's time and latencies. Whether a day begins with it: budgets are whole again, lessons fade."""
    for metric in SLOWNESS:
        value = scaled(metric, BY_METRIC[metric].read(judged.window))
        if value is not None:
            model.recent[metric] = [*model.recent.get(metric, []), value][-WINDOWS_MAX:]
    model.time_us = max(model.time_us, judged.window.end_us)
    day = judged.window.start_us // DAY_US
    if day <= model.day:
        return False
    if model.day >= 0:
        for watch in model.watches.values():
            sensitivity.pass_days(watch.sensitivity, params, day - model.day, model.time_us)
    model.day, model.alerts = day, 0
    return True


def kind_of(model: Model, family: Family, judged: Judged) -> str:
    """The kind of alert that a family opens; a rise is gradual by the steadiest metric that moved: p50 varies least."""
    if family.name != "latency":
        return kind(family, judged, gradual=False)
    moved = {anomaly.metric for anomaly in leading(family, judged)}
    steadiest = next(metric for metric in reversed(SLOWNESS) if metric in moved)
    return kind(family, judged, is_gradual(model.recent.get(steadiest, [])))


def thresholds(
    id_: str, name: str, model: Model, params: SensitivityParams, alerts_a_day: int, windows_min: int
) -> Thresholds:
    """What is published of a model's sensitivity."""
    return Thresholds(
        id=id_,
        time_us=model.time_us,
        model=name,
        since_us=model.since_us,
        windows=model.windows,
        alerts_today=model.alerts,
        alerts_a_day=alerts_a_day,
        families=[
            sensitivity.told(family, watch.sensitivity, params, windows_min) for family, watch in model.watches.items()
        ],
    )
