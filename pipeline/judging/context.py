"""What people and tools have said that changes how windows are judged: maintenance, deployments, launches.

A launch is growth that was announced. While it lasts, more tokens and cost than usual only inform, as long as they stay
below `factor` times what would be usual at most; at its end a fall back by as much informs only, from an hour before
the announced end (`EARLY_US`: few end on the minute) until the level of the last hours has forgotten it (`FADES_US`).
A busier service is a slower one: a token, or a median answer, that takes no more than the square root of `factor`
longer informs too, and so does a p99 beside them, as long as no hard limit is broken. Everything else is judged as
ever: growth is no excuse for errors.
"""

import math

from msgspec import Struct

from pipeline.judging.metrics import PACE, SLOWNESS, STEADY
from topics.control import Deployment, Launch, Maintenance, Relayed
from topics.fields import HOUR_US
from topics.records import Anomaly

MAINTENANCES_MAX = 256
LAUNCHES_MAX = 256
DEPLOYMENTS_MAX = 1_000
FADES_US = 2 * HOUR_US  # the baseline that a fall is measured against is a median over as long
EARLY_US = HOUR_US

Span = tuple[int, int]


class Deployed(Struct, frozen=True):
    """A version that went live at `time_us` and is yet under observation, or has been."""

    time_us: int
    version: str
    settled: bool = False


class Context(Struct, tag="context"):
    """The newest maintenances and launches, in the order they came, and each model's newest deployment."""

    maintenances: list[Maintenance] = []
    deployments: dict[str, Deployed] = {}
    launches: list[Launch] = []


def heard(context: Context, relayed: Relayed) -> bool:
    """Take one control event in; whether it concerned us. The oldest give way when there are too many."""
    match relayed.event:
        case Maintenance() as maintenance:
            context.maintenances.append(maintenance)
            del context.maintenances[:-MAINTENANCES_MAX]
        case Launch() as launch:
            context.launches.append(launch)
            del context.launches[:-LAUNCHES_MAX]
        case Deployment() as deployment:
            context.deployments.pop(deployment.model, None)
            context.deployments[deployment.model] = Deployed(deployment.time_us, deployment.version)
            for model in list(context.deployments)[:-DEPLOYMENTS_MAX]:
                del context.deployments[model]
        case _:
            return False
    return True


def maintained(context: Context, model: str, start_us: int, end_us: int) -> Maintenance | None:
    """The maintenance that a window of this model overlaps, if any."""
    for maintenance in context.maintenances:
        if maintenance.model in ("", model) and maintenance.start_us < end_us and start_us < maintenance.end_us:
            return maintenance
    return None


def observed(context: Context, model: str, time_us: int, observe_us: int) -> Deployed | None:
    """The deployment that this model is still being observed after, if any."""
    deployed = context.deployments.get(model)
    return deployed if deployed and deployed.time_us <= time_us < deployed.time_us + observe_us else None


def announced(context: Context, model: str, window: Span, upwards: bool, leads: list[Anomaly]) -> Launch | None:
    """The launch that explains all of `leads` (at least one), which moved `upwards` or down in this window, if any."""
    for launch in context.launches:
        if launch.model not in ("", model) or not leads:
            continue
        if upwards and _overlap(window, (launch.start_us, launch.end_us)):
            explained = all(_grew(launch, anomaly) for anomaly in leads)
        elif not upwards and _overlap(window, (launch.end_us - EARLY_US, launch.end_us + FADES_US)):
            explained = all(anomaly.actual * launch.factor >= anomaly.low for anomaly in leads)
        else:
            explained = False
        if explained:
            return launch
    return None


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _grew(launch: Launch, anomaly: Anomaly) -> bool:
    """As announced, and by whom. The factor is of the usual interval's upper end: the noise grows with the traffic."""
    if anomaly.metric in SLOWNESS:
        return _slowed(launch, anomaly)
    whose = launch.organisation in ("", anomaly.organisation) or not anomaly.organisation
    return whose and anomaly.actual <= launch.factor * anomaly.high


def _slowed(launch: Launch, anomaly: Anomaly) -> bool:
    """Within what the load explains: the factor's root, of what is usual for a token and of the interval's upper end
    for a median. A p99 jumps anyway, and more so under load."""
    if anomaly.detector == "limit" or anomaly.metric not in STEADY:
        return anomaly.detector != "limit"
    usual = anomaly.expected if anomaly.metric == PACE.metric else anomaly.high
    return anomaly.actual <= math.sqrt(launch.factor) * usual
