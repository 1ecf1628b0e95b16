"""Read this first: the table of stages. What each reads, what it is keyed by, what it writes, what it passes on.

A *log* is a topic that stages are fed from. Three logs decide everything: `traffic` (one order per organisation),
`slices` (one order per model) and `control` (one order for all that steers). A *link* joins two stages that share a
log's key: chained in one process, or over the link's internal topic when `--agents` puts them into different workers.
Control events reach a log as records of that log (the relay writes them there), so that one log decides: a crash, or
a replay, sees them at the same place again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.settings import Settings
from pipeline.stage import Stage
from pipeline.stages.alerting import Alerting
from pipeline.stages.cache import Cache
from pipeline.stages.detection import Detection
from pipeline.stages.incidents import Incidents
from pipeline.stages.mitigation import Mitigation
from pipeline.stages.quota import Quota
from pipeline.stages.relay import Relay
from pipeline.stages.safety import Safety
from pipeline.stages.scheduler import Scheduler
from pipeline.stages.slices import Slices
from pipeline.stages.windows import Windows

LOGS = ("traffic", "slices", "control")
LINKS = ("admitted", "closed", "judged", "raised")


@dataclass(frozen=True)
class Row:
    """One stage. `reads` is a log or a link; `writes` are topics; `passes` is the link to the next stage, if any."""

    stage: str
    reads: str
    keyed_by: str
    writes: tuple[str, ...]
    passes: str
    build: Callable[[Settings], Stage]
    about: str


FLOW: tuple[Row, ...] = (
    Row(
        "quota",
        "traffic",
        "organisation",
        ("decisions",),
        "admitted",
        lambda settings: Quota(settings.quota),
        "token bucket: reserve at admission, settle at completion",
    ),
    Row(
        "safety",
        "admitted",
        "organisation",
        ("decisions",),
        "",
        lambda settings: Safety(settings.safety),
        "moderation in tiers: verdict with scores and spans",
    ),
    Row(
        "slices",
        "traffic",
        "model",
        ("slices", "dead-letters"),
        "",
        lambda settings: Slices(settings.slices),
        "this partition's ten-second slices, closed by its watermark",
    ),
    Row(
        "windows",
        "slices",
        "model",
        ("windows", "dead-letters"),
        "closed",
        lambda settings: Windows(settings.windows),
        "one-minute windows over all partitions; corrections as revisions",
    ),
    Row(
        "detection",
        "closed",
        "model",
        ("anomalies",),
        "judged",
        lambda settings: Detection(settings.detection),
        "ARIMA, Isolation Forest, PELT on each model's windows",
    ),
    Row(
        "alerting",
        "judged",
        "model",
        ("alerts", "control", "thresholds"),
        "raised",
        lambda settings: Alerting(settings.alerting),
        "confirm, grade, one alert per incident: open, update, resolved",
    ),
    Row(
        "mitigation",
        "raised",
        "model",
        ("commands", "control"),
        "",
        lambda settings: Mitigation(settings.mitigation),
        "rule table from alert to command; expiry, reversal, approval",
    ),
    Row(
        "relay",
        "control",
        "all",
        ("traffic", "slices"),
        "",
        lambda settings: Relay(),
        "copies a control event into every partition of the logs it concerns",
    ),
    Row(
        "scheduler",
        "control",
        "all",
        ("jobs",),
        "",
        lambda settings: Scheduler(settings.scheduler),
        "GPU pool: frees, holds and returns GPUs, shifts and restores traffic",
    ),
    Row(
        "cache",
        "control",
        "all",
        ("invalidations",),
        "",
        lambda settings: Cache(settings.cache),
        "kills a model's cache entries by raising its epoch",
    ),
    Row(
        "incidents",
        "control",
        "all",
        ("incidents",),
        "",
        lambda settings: Incidents(settings.incidents),
        "alerts of one cause as one incident, with that cause",
    ),
)

STAGES: tuple[str, ...] = tuple(row.stage for row in FLOW)
BY_STAGE: dict[str, Row] = {row.stage: row for row in FLOW}


def reader_of(link: str) -> Row:
    """The stage that a link leads to."""
    return next(row for row in FLOW if row.reads == link)


def log_of(row: Row) -> str:
    """The log whose offsets a stage's outputs are numbered by: up the links to where the chain begins."""
    while row.reads not in LOGS:
        link = row.reads
        row = next(upstream for upstream in FLOW if upstream.passes == link)
    return row.reads
